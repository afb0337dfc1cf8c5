"""Image numbers: give each image of a class its number in a view, and decide which links to retire.

The numbers are read from the links themselves. So an image keeps its number while others are added
or removed, from when it is published. Links that were made by a run that published nothing do not
count, see ``numbered``.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import count as count_from
from threading import Lock
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..addresses import LABELLED, image_name, index_of, owner_of_number, trailing_number
from ..names import check_length
from .links import ViewFolder


class Published(NamedTuple):
    """The numbers of the images that were published last; nothing if none were published.

    Attributes:
        linked: Class -> numbers, if they were published by a view, whose links lead to the images.
        tabled: Class -> path -> number, if they were published by a table.
    """

    linked: Mapping[str, np.ndarray] = MappingProxyType({})
    tabled: Mapping[str, Mapping[str, int]] = MappingProxyType({})


class ImageNumbers:
    """The links of one split in a view. Several threads can link different classes at once.

    Args:
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        folder: The folder of the view; methods may be called only inside its ``with`` block.
        retired: The attribute ``retired`` after the previous run.
        published: The numbers to keep; None to keep those of all links.

    Attributes:
        added: How many links were made.
        retired: The links to remove after the next publication, and the folders of classes that no
            longer exist, by their path below the split's folder.
        less: How many links are retired.
    """

    def __init__(
        self,
        split: str,
        folder: ViewFolder,
        retired: Iterable[str],
        published: Published | None,
    ) -> None:
        self.split, self.folder, self.published = split, folder, published
        self.added = 0
        self._counting = Lock()
        self._gone: dict[str, int] = {}  # class whose folder is retired -> its links
        self._old: dict[str, set[str]] = {}  # other class -> its retired links
        for path in retired:
            above, _, name = path.rpartition("/")
            if above or split not in LABELLED:
                self._old.setdefault(above, set()).add(name)
            else:
                self._gone[name] = 1

    @property
    def retired(self) -> list[str]:
        below = (
            self._below(class_id, name) for class_id in self._old for name in self._old[class_id]
        )
        return sorted([*self._gone, *below])

    @property
    def less(self) -> int:
        return sum(self._gone.values()) + sum(map(len, self._old.values()))

    def is_retired(self, class_id: str) -> bool:
        """Return whether the whole folder of a class is retired."""
        return class_id in self._gone

    def put(self, folder: int, class_id: str, name: str, target: str) -> None:
        """Make a link to ``target`` if there is none yet.

        Args:
            folder: The open folder of the class.
            class_id: The class; empty if ``folder`` is that of the split.
            name: The name of the link.
            target: The path that the link shall lead to, below that of the dataset.
        """
        below = f"{self.folder.folder}/{self._below(class_id, name)}"
        made = self.folder.put(folder, below, target)
        with self._counting:
            self.added += made

    def link_class(self, class_id: str, images: Iterable[str]) -> int:
        """Link to the images of a class, and retire all other links in its folder.

        A new image takes the number at the end of its own name if no other image has or claims it,
        or if only its name is the one that DINOv3 uses for this number, see
        ``addresses.owner_of_number``; and the smallest free number otherwise. The number of a
        published image that was removed is reused only for an image that has this number in its
        name.

        Args:
            class_id: The class; empty for TEST.
            images: The paths of all images of the class.

        Returns:
            How many images the class has.

        Raises:
            MetadataError: The name of the class is too long, or something in the
                folder is not a link made by this program.
        """
        check_length(self.split, class_id)
        below = f"{self.folder.folder}/{class_id}".rstrip("/")
        self.folder.make(below)
        wanted = set(images)
        with self.folder.opened(below) as folder:
            numbers, others = self._numbers(folder, class_id, wanted)
            known = self.published.tabled.get(class_id, {}) if self.published else {}
            used = set(numbers.values())
            for image in sorted(wanted.intersection(known).difference(numbers)):
                if known[image] not in used:
                    numbers[image] = known[image]
                    used.add(known[image])
                    name = image_name(self.split, class_id, known[image])
                    self.put(folder, class_id, name, image)
                    others.discard(name)
            new = sorted(wanted - numbers.keys())
            own = [trailing_number(image) for image in new]
            claims: dict[int | None, list[str]] = {}
            for image, number in zip(new, own, strict=True):
                claims.setdefault(number, []).append(image)
            owners = {
                some[0] if len(some) == 1 else owner_of_number(self.split, class_id, some)
                for some in claims.values()
            }
            held = {*filter(self._kept(class_id), map(trailing_number, others)), *known.values()}
            free = (i for i in count_from() if not (i in used or i in claims or i in held))
            for image, number in zip(new, own, strict=True):
                if number is None or number in used or image not in owners:
                    number = next(free)
                used.add(number)
                name = image_name(self.split, class_id, number)
                self.put(folder, class_id, name, image)
                others.discard(name)
        self._old.pop(class_id, None)
        if others:
            self._old[class_id] = others
        return len(wanted)

    def _numbers(
        self, folder: int, class_id: str, wanted: set[str]
    ) -> tuple[dict[str, int], set[str]]:
        """Read which numbers the wanted images already have.

        A link that leads to an earlier path of the dataset, or is absolute and shall be relative,
        or the other way round, is replaced.

        Args:
            folder: The open folder of the class.
            class_id: The class; empty for TEST.
            wanted: The images of the class.

        Returns:
            Image -> number, for the wanted images that have a link whose number is kept, and the
            names of all other links. If several links lead to an image, one with its current path
            is preferred, and the rest are among the others, as are links whose names DINOv3 does
            not use.
        """
        links: list[tuple[bool, str, str]] = []
        for name in self.folder.names(folder):
            below = f"{self.folder.folder}/{self._below(class_id, name)}"
            image, exact = self.folder.image_behind(folder, below)
            links.append((not exact, name, image))
        links.sort()
        numbers: dict[str, int] = {}
        others: set[str] = set()
        is_kept = self._kept(class_id)
        for moved, name, image in links:
            number = index_of(self.split, class_id, name)
            good = image in wanted and image not in numbers
            if number is None or not (good and is_kept(number)):
                others.add(name)
                continue
            numbers[image] = number
            if moved:
                self.put(folder, class_id, name, image)
        return numbers, others

    def _kept(self, class_id: str) -> Callable[[int | None], bool]:
        """Return a function that says whether the image behind a link with a number keeps it."""
        if self.published is None:
            return lambda number: True
        return {*self.published.linked.get(class_id, np.empty(0)).tolist()}.__contains__

    def retire_classes(self, used: Iterable[str]) -> None:
        """Retire the classes of the view that the dataset no longer has.

        Args:
            used: The classes of the dataset.
        """
        if "" in used:
            return
        self._gone = {}
        with self.folder.opened(self.folder.folder) as folder:
            for name in self.folder.names(folder) - set(used):
                self._old.pop(name, None)
                links = self.folder.check(folder, f"{self.folder.folder}/{name}")
                self._gone[name] = max(1, len(links))

    def _below(self, class_id: str, name: str) -> str:
        """Return the path of a link below the split's folder."""
        return f"{class_id}/{name}" if class_id else name
