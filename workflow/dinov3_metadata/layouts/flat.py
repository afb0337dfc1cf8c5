"""The layout ``flat``: unlabelled images, which become one class with the name of their folder."""

import os

from ..addresses import is_image, split_folder
from .part import Part


def recognise(dataset: str) -> bool:
    """Return whether there are images directly in root, or in its ``train``.

    Images further down do not count. They may belong to a dataset whose own folder should be root.
    """
    return any(map(is_image, os.listdir(_folder(dataset))))


def list_part(dataset: str, split: str) -> Part:
    """Return where the images are. Those of TRAIN are one class; so are those of VAL, if any."""
    folder = os.path.basename(_folder(dataset)) if split == "TRAIN" else split_folder(split)
    folder = folder.lstrip(".") or "images"  # hidden folders are not classes
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
    """Describe the layout in one line."""
    return "images of any name in root or in train/, nested or not: one class"


def _folder(dataset: str) -> str:
    return f"{dataset}/train" if os.path.isdir(f"{dataset}/train") else dataset
