"""Unlabelled images: one class, named as the folder is."""

import os

from ..addresses import is_image, split_folder
from .part import Part


def recognise(dataset: str) -> bool:
    """Whether images lie right in root, or in its ``train``: deeper ones may be of a dataset whose
    root is meant."""
    return any(map(is_image, os.listdir(_folder(dataset))))


def list_part(dataset: str, split: str) -> Part:
    """All images of TRAIN are one class; so are those of VAL, if there are any."""
    folder = os.path.basename(_folder(dataset)) if split == "TRAIN" else split_folder(split)
    folder = folder.lstrip(".") or "images"  # hidden folders are no classes
    below = "" if _folder(dataset) == dataset and split == "TRAIN" else split_folder(split)
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


def _folder(dataset: str) -> str:
    return f"{dataset}/train" if os.path.isdir(f"{dataset}/train") else dataset
