"""Unfit: what has the name of an image, but is none that DINOv3 could open.

A scan refuses such images, and classes without images. If a selection follows the scan, it may
leave them out. Then it is the last stage of the selection that refuses the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..addresses import LABELLED, index_of, is_image, split_folder, why_not_addressable
from ..artefacts import Scan
from ..choice import Choice
from ..errors import SHOWN
from ..fingerprint import Record
from ..image_paths import Places
from ..paths import StrPath
from ..readdir import Listing, behind, why_no_image
from ..walk import visit
from .refusals import inside_of, no_images_in, not_addressable


class Unfit(NamedTuple):
    """An image that DINOv3 could not open.

    Attributes:
        link: Its path below root.
        path: Its path as the user knows it, below the split's folder.
        why: The reason, as a phrase.
        class_id: Its class; empty for TEST.
        special: Whether it leads to no file, see ``readdir.Listing.special``.
        number: Its number; None if DINOv3 cannot rebuild its name.
    """

    link: str
    path: str
    why: str
    class_id: str
    special: bool
    number: int | None


def unfit_in(
    folder: Path, split: str, source: str, name: str, listed: Listing, images: Sequence[str]
) -> list[Unfit]:
    """Describe images that DINOv3 could not open.

    Args:
        folder, split: The split folder, and the split.
        source: If the folder belongs to a view, the folder of the dataset behind it.
        name: The path of the images' folder below the split folder.
        listed: What is in that folder.
        images: The names of the images.
    """
    class_id, _, inside = name.partition("/") if split in LABELLED else ("", "", name)
    known = () if inside else listed.actual_index
    found = []
    for image in images:
        link = path = f"{name}/{image}".lstrip("/")
        if source:
            path = behind(folder, link).removeprefix(f"{source}/")
            path = path.removeprefix(f"{os.path.realpath(source)}/").removeprefix(f"{folder}/")
        special = image in listed.special
        if special:
            why = why_no_image(os.path.join(source or folder, path))
        else:
            why = why_not_addressable(image, split, class_id, known)
        number = None if inside else index_of(split, class_id, image)
        found.append(Unfit(f"{split_folder(split)}/{link}", path, why, class_id, special, number))
    return found


class Leftover:
    """The unfit images of a split, of which a choice may leave some out.

    Args:
        places: All images of the split that DINOv3 can open.
        record: That of the scan's folders.
        root: The folder that DINOv3 uses as root.
        source: If DINOv3 reads the images by a view or a table, their folder in the dataset.
        unaddressable, empty_classes: The settings: whether to refuse unfit images, and classes
            without images.
        choice: The choice; None for all images.
    """

    def __init__(
        self,
        places: Places,
        record: Record | None,
        *,
        root: StrPath,
        source: str,
        unaddressable: str,
        empty_classes: str,
        choice: Choice | None = None,
    ) -> None:
        self.places, self.split, self.source, self.root = places, places.split, source, root
        self.is_view = bool(source) and not places.tabled
        self.choice = choice or Choice.of(places.scan)
        self.folder = Path(root, split_folder(self.split))
        self.skip, self.keep_empty = unaddressable == "skip", empty_classes == "keep"
        self.others = record.others if record else {}
        self.retired = {*record.retired} if record else set()

    @cached_property
    def images(self) -> list[Unfit]:
        """All unfit images of the split, class by class."""
        scan, found = self.choice.scan, list[Unfit]()
        for name in [] if self.places.tabled else scan.folders[scan.skipped > 0].tolist():
            found += self._images_in(name)
        for link, class_id, number in self.places.unopened():
            why = why_no_image(os.path.join(self.root, link))
            path = os.path.relpath(os.path.join(self.root, link), self.source)
            found.append(Unfit(link, path, why, class_id, True, number))
        return sorted(found, key=lambda one: one.class_id)

    def _images_in(self, name: str) -> list[Unfit]:
        class_id = name.partition("/")[0] if self.split in LABELLED else ""
        known = class_id if name == class_id else None  # other folders have no addressable images
        listed = visit(self.folder, self.split, name, None, known)
        if not listed:
            return []
        images = [
            image
            for image in sorted([*filter(is_image, listed.files), *listed.special])
            if f"{name}/{image}".lstrip("/") not in self.retired
        ]
        return unfit_in(self.folder, self.split, self.source, name, listed, images)

    def left(self) -> list[Unfit]:
        """Return those that nothing has left out: not the settings, not the choice."""
        if self.skip:
            return []
        taken = {*self.choice.scan.class_ids[self.choice.taken].tolist()}
        gone = {link for link, _ in self.choice.others}
        return [one for one in self.images if one.class_id in taken and one.link not in gone]

    def leave_out(self, gone: Iterable[Unfit], reason: str) -> int:
        """Leave out some of those that are left, and return how many."""
        own = {*self.left()}.intersection(gone)
        self.choice.others += [(one.link, reason) for one in self.images if one in own]
        self.choice.unfit += len(own)
        return len(own)

    def without_classes(self, before: int) -> int:
        """Note that a rule left out classes, and return how many unfit images these have.

        Args:
            before: How many images were left before.
        """
        gone = before - len(self.left())
        self.choice.unfit += gone
        return gone

    def paths(self, dataset: str) -> list[str]:
        """Return the path of each image below the dataset."""
        if not self.is_view:
            return [one.link for one in self.images]
        start = self.source.removeprefix(dataset).lstrip("/")
        return [f"{start}/{one.path}".lstrip("/") for one in self.images]

    def refuse(self) -> None:
        """Refuse the images that are left, and classes that had no images before the selection.

        Raises:
            MetadataError: There are some.
        """
        folder = self.source or os.fspath(self.folder)
        if left := self.left():
            shown = [f"{one.path} ({one.why})" for one in left[:SHOWN]]
            special = all(one.special for one in left)
            raise not_addressable(folder, self.split, shown, len(left), special, self.is_view)
        scan = self.choice.scan
        empty = scan.class_ids[self.choice.taken & (scan.counts == 0)].tolist()
        if empty and not self.keep_empty:
            raise no_images_in(self.split, folder, inside_of(empty, self.others))


def as_scan(images: Sequence[Unfit]) -> Scan:
    """Return some images, class by class, as a scan. A name that DINOv3 cannot rebuild gets 0."""
    class_ids = [one.class_id for one in images]
    ids, counts = np.unique(class_ids, return_counts=True) if class_ids else ([""], [0])
    numbers = np.array([one.number or 0 for one in images], "<u4")
    no_folder = np.array([""]), np.zeros(1, "<i8")
    return Scan(np.array(ids), np.array(counts, "<i8"), numbers, *no_folder)
