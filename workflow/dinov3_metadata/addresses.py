"""Addresses: where DINOv3 looks for an image, given a row of the metadata, and back.

Source: ``get_image_relpath`` in facebookresearch/dinov3, ``dinov3/data/datasets/image_net.py``.
"""

from __future__ import annotations

import os
from collections.abc import Collection

SPLITS = ("TRAIN", "VAL", "TEST")
LABELLED = ("TRAIN", "VAL")  # splits with one folder per class; TEST is one flat folder

MAX_INDEX = 2**32 - 1  # actual_index is stored as <u4

# As torchvision.datasets.folder.IMG_EXTENSIONS, which is too slow to import (a test compares).
IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def split_folder(split: str) -> str:
    """The folder of a split below root: ``train``, ``val`` or ``test``."""
    return split.lower()


def is_image(name: str) -> bool:
    """Whether torchvision counts a file as an image, judging by its name."""
    return name.lower().endswith(IMG_EXTENSIONS)


def name_parts(split: str, class_id: str) -> tuple[str, int]:
    """The text before the number in an image's name, and the number's minimum count of digits."""
    return (f"{class_id}_", 1) if split == "TRAIN" else (f"ILSVRC2012_{split.lower()}_", 8)


def image_name(split: str, class_id: str, actual_index: int) -> str:
    """The file name that DINOv3 opens in the class folder (TEST: in ``test/``)."""
    prefix, digits = name_parts(split, class_id)
    return f"{prefix}{actual_index:0{digits}d}.JPEG"


def image_path(split: str, class_id: str, actual_index: int) -> str:
    """The path below root that DINOv3 opens; ``class_id`` is empty for TEST."""
    folder = f"{split_folder(split)}/{class_id}" if class_id else split_folder(split)
    return f"{folder}/{image_name(split, class_id, actual_index)}"


def trailing_number(image: str) -> int | None:
    """The number that ends an image's name, before the suffix, if ``actual_index`` can hold it.

    Example:
        >>> trailing_number("holiday/IMG_0012.jpg")
        12
    """
    stem, _, suffix = image.rpartition(".")
    digits = "" if "/" in suffix else stem[len(stem.rstrip("0123456789")) :]
    number = digits.lstrip("0") or digits[:1]
    short = 0 < len(number) <= len(str(MAX_INDEX))
    return int(number) if short and int(number) <= MAX_INDEX else None


def index_of(split: str, class_id: str, name: str) -> int | None:
    """The ``actual_index`` for which ``image_name`` gives ``name``; None if there is none.

    An image with such a name, in the folder of its class, is addressable.
    """
    number = trailing_number(name)
    good = number is not None and image_name(split, class_id, number) == name
    return number if good else None


def why_not_addressable(name: str, split: str, class_id: str, known: Collection[int]) -> str:
    """Why DINOv3 cannot open an image, for the message that names it.

    Args:
        name: The image's path below the folder of its class.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        class_id: Its class; empty for TEST.
        known: The numbers of the addressable images in the same folder.
    """
    try:
        number = int(os.path.splitext(name)[0].split("_")[-1])  # as the reference finds it
    except ValueError:
        return "no number before the suffix"
    if number > MAX_INDEX:
        return f"its number is above {MAX_INDEX}"
    if number < 0:
        return "its number is below 0"
    rebuilt = image_name(split, class_id, number)
    where = f"{class_id}/{rebuilt}" if class_id else rebuilt
    return f"DINOv3 would open {where}" + (", another image" if number in known else "")
