"""Where DINOv3 looks for an image: the paths that it rebuilds from a row of the metadata.

Source: ``get_image_relpath`` in facebookresearch/dinov3, ``dinov3/data/datasets/image_net.py``.
"""

import os
from typing import Union

StrPath = Union[str, "os.PathLike[str]"]  # of an environment with Python 3.9, too

SPLITS = ("TRAIN", "VAL", "TEST")
LABELLED = ("TRAIN", "VAL")  # splits with one folder per class; TEST is one flat folder

WORK = ".dinov3-metadata"  # the folder below extra for everything that is not published

MAX_INDEX = 2**32 - 1  # actual_index is stored as <u4


def split_folder(split: str) -> str:
    """The folder of a split below root: ``train``, ``val`` or ``test``."""
    return split.lower()


def name_parts(split: str, class_id: str) -> tuple[str, int]:
    """What stands before the number in an image's name, and the number's least count of digits."""
    return (f"{class_id}_", 1) if split == "TRAIN" else (f"ILSVRC2012_{split.lower()}_", 8)


def image_name(split: str, class_id: str, actual_index: int) -> str:
    """The file name that DINOv3 opens in the class folder (TEST: in ``test/``)."""
    prefix, digits = name_parts(split, class_id)
    return f"{prefix}{actual_index:0{digits}d}.JPEG"


def image_path(split: str, class_id: str, actual_index: int) -> str:
    """The path below root that DINOv3 opens; ``class_id`` is empty for TEST."""
    folder = f"{split_folder(split)}/{class_id}" if class_id else split_folder(split)
    return f"{folder}/{image_name(split, class_id, actual_index)}"
