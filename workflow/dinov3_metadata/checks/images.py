"""Images: list the images of a split, as arrays, without a Python object per image."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..access import check_readable
from ..addresses import LABELLED, index_of, is_image, split_folder, trailing_number
from ..fingerprint import UNREAD, State, class_folders
from ..look import in_threads
from ..path_table import PathTable
from ..progress import progress
from ..readdir import DANGLING, Listing, list_folder, special_kind

NUMBER = 1 << 32
"""A key of an image is the position of its class times this, plus its number."""


@dataclass
class Images:
    """The images of a split on the disk.

    Attributes:
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        folder: The split folder.
        class_ids: The names of the class folders, sorted; for TEST, one empty string.
        counts: (classes,), ``<i8``: the number of addressable images in each.
        actual_index: (images,), ``<u4``: their numbers, class by class in the order of ImageFolder.
        others: (others,), ``<i8``: the keys of the images that are not addressable but end with a
            number: the class whose folder they are in, and that number.
        moved: (moved,), ``<i8``: for those with the name of an image of another class, the keys
            that they would have there.
        moved_to: (moved,), ``<i8``: the positions of the classes whose folders they are in.
        unnumbered: (classes,), ``<i8``: how many others in each do not end with a number, or are no
            files, such as a FIFO.
        dangling: (dangling,), ``<i8``: the keys of links to nothing that have a good name.
        left_out: How many of the others a selection left out.
        table: The paths of the rows, if DINOv3 does not rebuild them.
    """

    split: str
    folder: str
    class_ids: list[str]
    counts: np.ndarray
    actual_index: np.ndarray
    others: np.ndarray
    moved: np.ndarray
    moved_to: np.ndarray
    unnumbered: np.ndarray
    dangling: np.ndarray
    left_out: int = 0
    table: PathTable | None = None

    @property
    def not_addressable(self) -> int:
        """The number of images that DINOv3 cannot open under any number."""
        others = len(self.others) + int(self.unnumbered.sum()) - self.left_out
        return others + len(self.dangling)

    def keys(self) -> np.ndarray:
        """Return the keys of the addressable images, in order: (images,), ``<i8``."""
        classes = np.repeat(np.arange(len(self.counts), dtype="<i8"), self.counts)
        classes *= NUMBER
        classes += self.actual_index
        return classes

    def empty_classes(self) -> list[str]:
        """Return the class folders without any image."""
        others = np.bincount(self.others // NUMBER, minlength=len(self.counts))
        return [
            class_id
            for class_id, many, more in zip(self.class_ids, self.counts, others, strict=True)
            if not many + more
        ]


@dataclass
class _Part:
    """What a class folder contains, see ``Images``."""

    actual_index: np.ndarray
    others: np.ndarray
    moved: list[tuple[str, int]]
    unnumbered: int
    dangling: np.ndarray


def list_images(root: str, split: str, threads: int) -> Images | None:
    """List the images of a split; return None if it has no folder.

    Args:
        root: The folder that DINOv3 uses as root.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        threads: How many folders may be listed at once, if it takes long to list one.

    Raises:
        MetadataError, OSError: A folder cannot be listed.
    """
    folder = os.path.join(root, split_folder(split))
    if not can_be_listed(folder, split in LABELLED):
        return None
    class_ids = sorted(class_folders(folder)) if split in LABELLED else [""]
    position = {class_id: i for i, class_id in enumerate(class_ids)}
    listed = in_threads(partial(_list_class, folder, split), class_ids, threads)
    parts = list(progress(listed, len(class_ids), f"list {split}"))
    numbers = [part.actual_index for part in parts]
    if split not in LABELLED:
        numbers = [np.sort(numbers[0])]
    others, dangling = (
        [vars(part)[name] + i * NUMBER for i, part in enumerate(parts)]
        for name in ("others", "dangling")
    )
    moved = [
        (position[class_id] * NUMBER + number, i)
        for i, part in enumerate(parts)
        for class_id, number in part.moved
        if class_id in position
    ]
    keys, places = np.array(moved, "<i8").reshape(-1, 2).T
    nothing = np.empty(0, "<u4")
    return Images(
        split,
        folder,
        class_ids,
        np.array(list(map(len, numbers)), "<i8"),
        np.concatenate([nothing, *numbers]),
        np.concatenate([nothing.astype("<i8"), *others]),
        keys,
        places,
        np.array([part.unnumbered for part in parts], "<i8"),
        np.concatenate([nothing.astype("<i8"), *dangling]),
    )


def can_be_listed(folder: str, classes: bool = False) -> bool:
    """Return whether a folder exists.

    Args:
        folder: The folder.
        classes: Whether it contains class folders, which may be links.

    Raises:
        OSError: It or a class folder exists, but cannot be examined, so nothing can be said about
            what is in it.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries if classes else ():
                if entry.is_symlink():
                    _mode_behind(entry.path)
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False


def _mode_behind(link: str) -> int:
    """Return the mode of what a link leads to; 0 if it leads to nothing.

    Raises:
        OSError: It cannot be found out.
    """
    try:
        return os.stat(link).st_mode
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return 0


def _list_class(folder: str, split: str, class_id: str) -> _Part:
    """List a class folder and the folders below it."""
    path = f"{folder}/{class_id}" if class_id else folder
    linked = False

    def note_links(_: str) -> State:
        nonlocal linked
        linked = True
        return UNREAD  # so that links named like images are not followed here

    check_readable([path])  # a folder can be listed although its files cannot be opened
    try:
        listed = list_folder(path, split, class_id, note_links)
    except (FileNotFoundError, NotADirectoryError):  # it vanished
        return _Part(np.empty(0, "<u4"), np.empty(0, "<i8"), [], 0, np.empty(0, "<i8"))
    broken = set(_broken_links(path)) if linked else set()
    actual_index = listed.actual_index
    gone: list[int] = []
    dangling: list[int] = []
    for name in sorted(broken):
        number = index_of(split, class_id, name)
        if number is not None:
            gone.append(number)
            if special_kind(f"{path}/{name}") == DANGLING:
                dangling.append(number)
                broken.remove(name)
    if gone:
        actual_index = actual_index[~np.isin(actual_index, gone)]
    numbers: list[int] = []
    moved: list[tuple[str, int]] = []
    unnumbered = 0
    for name in _other_images(path, listed, broken):
        number = trailing_number(name)
        if number is None or index_of(split, class_id, name) is not None:  # a FIFO or the like
            unnumbered += 1
            continue
        numbers.append(number)
        owner = name.rpartition("_")[0]
        if split == "TRAIN" and owner != class_id and index_of(split, owner, name) is not None:
            moved.append((owner, number))
    return _Part(
        actual_index, np.array(numbers, "<i8"), moved, unnumbered, np.array(dangling, "<i8")
    )


def _broken_links(path: str) -> Iterator[str]:
    """Yield the links in a folder that are named like images but lead to no file.

    Raises:
        OSError: It cannot be found out where a link leads to.
    """
    with os.scandir(path) as entries:
        for entry in entries:
            is_link = entry.is_symlink() and is_image(entry.name)
            if is_link and not stat.S_ISREG(_mode_behind(entry.path)):
                yield entry.name


def _other_images(path: str, listed: Listing, broken: set[str]) -> Iterator[str]:
    """Yield the paths below a class folder of the images that DINOv3 cannot open."""
    images = list(filter(is_image, listed.files))
    yield from images
    yield from listed.special
    yield from (name for name in broken.difference(images) if special_kind(f"{path}/{name}"))
    if listed.subfolders:
        above = [os.path.realpath(path), os.path.realpath(os.path.dirname(path))]
        yield from _nested(path, listed, "", above)


def _nested(path: str, listed: Listing, below: str, above: list[str]) -> Iterator[str]:
    """Yield the paths of the images in the folders below a folder.

    Args:
        path: The class folder.
        listed: What the folder contains.
        below: Its path below the class folder, with a slash at the end, or empty.
        above: The real paths of the folders that lead to it. Links back to them are passed over.
    """
    for name in listed.subfolders:
        inner = f"{path}/{below}{name}"
        real = os.path.realpath(inner)
        if real in above:
            continue
        try:
            found = list_folder(inner, "TRAIN", None)
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield from (f"{below}{name}/{image}" for image in found.files if is_image(image))
        yield from (f"{below}{name}/{image}" for image in found.special)
        yield from _nested(path, found, f"{below}{name}/", [*above, real])


def others_in(images: Images, class_id: str) -> Iterator[tuple[str, int | None]]:
    """Yield the images in a class folder that are not addressable.

    Yields:
        The path below root, and the number at the end of the name, if the name is not that of an
        addressable image and ends with a number.
    """
    root, _, split = images.folder.rpartition("/")
    folders = [f"{split}/{class_id}" if class_id else split]
    seen = {os.path.realpath(os.path.dirname(f"{root}/{folders[0]}"))}
    for folder in folders:  # which grows meanwhile
        real = os.path.realpath(f"{root}/{folder}")
        if real in seen:
            continue
        seen.add(real)
        with suppress(OSError), os.scandir(real) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = f"{folder}/{entry.name}"
                named = folder == folders[0] and (
                    index_of(images.split, class_id, entry.name) is not None
                )
                if entry.is_dir():
                    folders.append(path)
                elif is_image(entry.name) and not named:
                    yield path, trailing_number(entry.name)
                elif named and special_kind(entry.path):
                    yield path, None
