"""ImageNet as DINOv3 reads it: the only layout that needs no view."""

import os
from collections.abc import Iterator
from itertools import islice

from ..folder import is_image, list_folder
from . import Part

LOOKED_AT = 20  # class folders, spread over a split


def recognise(root: str) -> bool:
    """Whether some class folder of ``train`` or ``val`` holds an image that DINOv3 can address."""
    return any(
        list_folder(path, split, os.path.basename(path)).actual_index.size
        for split in ("TRAIN", "VAL")
        for path in class_folders_of(f"{root}/{split.lower()}")
    )


def list_part(root: str, split: str) -> Part:
    """The split folders themselves."""
    return Part(split.lower(), classes=split != "TEST", whole=True)


def explain() -> str:
    """What the layout is."""
    return "train/<class>/<class>_<n>.JPEG, val/<class>/ILSVRC2012_val_<8 digits>.JPEG, test/ flat"


def class_folders_of(folder: str) -> list[str]:
    """The paths of some class folders, spread over a split, if there are any."""
    try:
        with os.scandir(folder) as entries:
            paths = sorted(entry.path for entry in entries if entry.is_dir())
    except OSError:
        return []
    return paths[:: max(1, len(paths) // LOOKED_AT)]


def has_images(folder: str) -> bool:
    """Whether an image lies in a folder, or in one below it."""
    return any(True for _ in islice(_images(folder), 1))


def _images(folder: str) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from filter(is_image, names)
