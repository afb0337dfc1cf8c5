"""Scan: which classes and images a split folder holds, in ImageFolder's order."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import SHOWN, MetadataError, count, listing
from .files import write_atomically
from .layout import LABELLED, MAX_INDEX, image_name, name_parts, split_folder
from .log import logger, progress

# As torchvision.datasets.folder.IMG_EXTENSIONS, which is too slow to import (a test compares).
IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Scan:
    """The images of a split, class after class in the order of ``ImageFolder``.

    Attributes:
        class_ids: (classes,), ``<U``: the sorted folder names. For TEST one empty string.
        counts: (classes,), ``<i8``: images of each class, all above 0.
        actual_index: (images,), ``<u4``: the number in each image's file name.
        skipped: Images passed over because DINOv3 could not address them.
    """

    class_ids: np.ndarray
    counts: np.ndarray
    actual_index: np.ndarray
    skipped: int = 0

    def save(self, path: str | os.PathLike) -> None:
        """Write the scan to ``path``, an uncompressed ``.npz``."""
        with write_atomically(path) as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Scan":
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(
                arrays["class_ids"],
                arrays["counts"],
                arrays["actual_index"],
                int(arrays["skipped"]),
            )

    def class_index(self) -> np.ndarray:
        """(images,), ``<u4``: the position of each image's class in ``class_ids``."""
        return np.repeat(np.arange(len(self.counts), dtype="<u4"), self.counts)


def scan_split(
    root: str | os.PathLike, split: str, *, engine: str = "scandir", unaddressable: str = "refuse"
) -> Scan:
    """Scan a split folder.

    Classes, images and their order are those of ``torchvision.datasets.ImageFolder``; TEST is flat
    and in ascending order of ``actual_index``.

    Args:
        root: The dataset's folder.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        engine: ``scandir`` lists the folders with our own code, ``torchvision`` lets ImageFolder
            do it, many times slower. The result is the same. TEST is always listed by us.
        unaddressable: ``refuse`` raises for images that DINOv3 could not open by the path it
            rebuilds; ``skip`` passes them over and counts them.

    Raises:
        MetadataError: The split folder is missing, empty or not of the layout that is due, a class
            has no images, or images are not addressable.
    """
    folder = Path(root, split_folder(split))
    if not folder.is_dir():
        raise MetadataError(
            f"The {split} split folder {folder} does not exist. `root` must be the folder that "
            f"holds {split_folder(split)}/; `splits` in config.yaml says which splits are wanted."
        )
    if split not in LABELLED:
        classes, listed = [""], iter([list_images(folder)])
    else:
        classes = find_classes(folder, split)
        listed = (
            list_with_image_folder(folder, classes)
            if engine == "torchvision"
            else (list_images(folder / class_id) for class_id in classes)
        )

    numbers: list[np.ndarray] = []
    offenders = Offenders()
    empty: list[str] = []
    for class_id, images in progress(
        zip(classes, listed, strict=True), len(classes), f"scan {split}"
    ):
        indices = parse_names(images, split, class_id)
        if indices is None:
            indices = offenders.part(images, split, class_id)
        logger.debug("%s: %s", class_id or folder, count(len(indices), "image"))
        if not len(indices):
            empty.append(class_id)
        numbers.append(indices)

    if offenders.total:
        text = offenders.message(folder, split)
        if unaddressable == "refuse":
            raise MetadataError(text)
        logger.warning("%s", text)
    if empty:
        what = "addressable images" if offenders.total else "images"
        if split not in LABELLED:
            raise MetadataError(f"The {split} split folder {folder} holds no {what}.")
        raise MetadataError(
            f"{split}: {count(len(empty), 'class folder')} in {folder} without {what}:\n"
            f"{listing(empty, len(empty))}\n"
            "Fill or remove them. A hidden folder (.ipynb_checkpoints) counts as a class too."
        )
    if split not in LABELLED:
        numbers[0].sort()
    scan = Scan(
        np.array(classes),
        np.array([len(part) for part in numbers], "<i8"),
        np.concatenate(numbers),
        offenders.total,
    )
    logger.info(
        "%s: %s in %s", folder, count(len(scan.actual_index), "image"),
        count(len(classes), "class", "classes"),
    )  # fmt: skip
    return scan


def find_classes(folder: Path, split: str) -> list[str]:
    """The class folders of a split, sorted by code point, as torchvision's ``find_classes``.

    Raises:
        MetadataError: The folder is missing, empty, or flat where class folders are due.
    """
    classes, files = list_folder(folder)
    images = [name for name in files if is_image(name)]
    if not classes and images:
        raise MetadataError(
            f"The {split} split folder {folder} is flat: {count(len(images), 'image')} "
            f"(for instance {min(images)}) and no class folders. Kaggle's val/ comes like this: "
            "sort the images into one folder per class id first, by LOC_val_solution.csv."
        )
    if not classes:
        raise MetadataError(f"The {split} split folder {folder} is empty: no class folders in it.")
    if images:
        logger.warning(
            "%s in %s itself are passed over: they belong to no class.",
            count(len(images), "image"), folder,
        )  # fmt: skip
    return sorted(classes)


def list_images(folder: Path) -> list[str]:
    """The images below a folder as paths relative to it, in the order of ``make_dataset``.

    Links to files and folders are followed, but not round in circles.

    Raises:
        MetadataError: A folder is missing or can not be listed.
    """
    subfolders, files = list_folder(folder)
    images = sorted(filter(is_image, files))
    if subfolders:
        images += list(_nested_images(folder, subfolders))
    return images


def _nested_images(folder: Path, subfolders: list[str]) -> Iterator[str]:
    below: dict[str, list[str]] = {}
    pending = [(Path(name), {_identity(folder)}) for name in subfolders]
    while pending:
        relative, above = pending.pop()
        if (identity := _identity(folder / relative)) in above:
            continue
        deeper, files = list_folder(folder / relative)
        below[str(relative)] = sorted(filter(is_image, files))
        pending += [(relative / name, above | {identity}) for name in deeper]
    for relative in sorted(below):
        yield from (f"{relative}/{name}" for name in below[relative])


def _identity(folder: Path) -> tuple[int, int]:
    state = os.stat(folder)
    return state.st_dev, state.st_ino


def list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the subfolders and of everything else in a folder, links followed, unsorted.

    Raises:
        MetadataError: The folder is missing or can not be listed.
    """
    subfolders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (subfolders if _is_folder(entry) else files).append(entry.name)
    except FileNotFoundError:
        raise MetadataError(f"The folder {folder} does not exist.") from None
    except NotADirectoryError:
        raise MetadataError(f"{folder} is not a folder.") from None
    except OSError as error:
        raise MetadataError(f"The folder {folder} can not be listed: {error.strerror}.") from None
    return subfolders, files


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in circles is no folder, as in os.walk
        return False


def is_image(name: str) -> bool:
    """Whether torchvision takes the name for an image's."""
    return name.lower().endswith(IMG_EXTENSIONS)


def list_with_image_folder(folder: Path, classes: list[str]) -> Iterator[list[str]]:
    """For each class, what ``list_images`` gives, but found by torchvision's ImageFolder."""
    from torchvision.datasets import ImageFolder

    dataset = ImageFolder(folder, allow_empty=True)
    images: list[list[str]] = [[] for _ in classes]
    for path, class_index in dataset.samples:
        images[class_index].append(os.path.relpath(path, folder / classes[class_index]))
    yield from images


def parse_names(images: list[str], split: str, class_id: str) -> np.ndarray | None:
    """The numbers in the names of a class's images.

    Returns:
        (images,), ``<u4``, or None if any image is not addressable, that is, not at the path that
        DINOv3 rebuilds from its number.
    """
    prefix, digits = name_parts(split, class_id)
    start = len(prefix)
    try:
        numbers = [int(name[start:-5]) for name in images]
    except ValueError:
        return None
    rebuilt = (
        [f"{prefix}{number}.JPEG" for number in numbers]
        if digits == 1
        else [f"{prefix}{number:0{digits}d}.JPEG" for number in numbers]
    )
    if rebuilt != images or (numbers and not 0 <= min(numbers) <= max(numbers) <= MAX_INDEX):
        return None
    return np.array(numbers, "<u4")


@dataclass
class Offenders:
    """The images of a split that are not addressable: how many, and why the first ones are not."""

    total: int = 0
    shown: list[str] = field(default_factory=list)

    def part(self, images: list[str], split: str, class_id: str) -> np.ndarray:
        """Note the offenders among a class's images and return the numbers of the others."""
        names = set(images)
        numbers = []
        for name in images:
            index = parse_names([name], split, class_id)
            if index is not None:
                numbers.append(index[0])
                continue
            self.total += 1
            if len(self.shown) < SHOWN:
                where = f"{class_id}/{name}" if class_id else name
                self.shown.append(f"{where} ({_why(name, names, split, class_id)})")
        return np.array(numbers, "<u4")

    def message(self, folder: Path, split: str) -> str:
        """The refusal: which rule is broken, the first ten, the total, what to do."""
        pattern = "<class_id>/<class_id>_<number>" if split == "TRAIN" else (
            f"{'<class_id>/' if split in LABELLED else ''}ILSVRC2012_{split.lower()}_<8 digits>"
        )  # fmt: skip
        return (
            f"{split}: DINOv3 can not address {count(self.total, 'image')} in {folder}. "
            f"It opens only {pattern}.JPEG:\n"
            f"{listing(self.shown, self.total)}\n"
            "Rename, move or remove them, or set `scan: unaddressable: skip` to leave them out."
        )


def _why(name: str, names: set[str], split: str, class_id: str) -> str:
    """Why an image is not addressable. The number is found as the reference finds it."""
    stem = os.path.splitext(os.path.basename(name))[0]
    try:
        number = int(stem.split("_")[-1])
    except ValueError:
        return "no number before the suffix"
    if number > MAX_INDEX:
        return f"its number is above {MAX_INDEX}"
    if number < 0:
        return "its number is below 0"
    rebuilt = image_name(split, class_id, number)
    where = f"{class_id}/{rebuilt}" if class_id else rebuilt
    return f"DINOv3 would open {where}" + (", another image" if rebuilt in names else "")
