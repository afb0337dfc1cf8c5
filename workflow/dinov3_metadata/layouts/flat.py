"""Unlabelled images: one class, named as the folder is."""

import os

from ..folder import is_image
from ..layout import split_folder
from . import Part

ORDER = 50


def recognise(root: str) -> bool:
    """Whether images lie right in root, or in its ``train``: deeper ones may be of a dataset whose
    root is meant."""
    return any(map(is_image, os.listdir(_folder(root))))


def list_part(root: str, split: str) -> Part:
    """All images of TRAIN are one class; so are those of VAL, if there are any."""
    folder = os.path.basename(_folder(root)) if split == "TRAIN" else split_folder(split)
    folder = folder.lstrip(".") or "images"  # hidden folders are no classes
    below = "" if _folder(root) == root and split == "TRAIN" else split_folder(split)
    others = () if below else ("train", "val", "test")
    return Part(
        below,
        classes=False,
        others=others,
        class_id="" if split == "TEST" else folder,
        own_names=True,
        optional=split != "TRAIN",
    )


def explain() -> str:
    """What the layout is."""
    return "images of any name in root or in train/, nested or not: one class"


def _folder(root: str) -> str:
    return f"{root}/train" if os.path.isdir(f"{root}/train") else root
