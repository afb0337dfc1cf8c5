"""The layout ``kaggle``: Kaggle's ImageNet-1k (imagenet-object-localization-challenge)."""

import os

from ..addresses import SPLITS, split_folder
from .part import Part

DATA = "ILSVRC/Data/CLS-LOC"


def recognise(dataset: str) -> bool:
    """Return whether root contains Kaggle's folders."""
    return any(os.path.isdir(f"{dataset}/{DATA}/{split_folder(split)}") for split in SPLITS)


def list_part(dataset: str, split: str) -> Part:
    """Return where the images are. ``val`` is flat, and a CSV file lists the classes."""
    folder = f"{DATA}/{split_folder(split)}"
    if split == "VAL":
        return Part(folder, classes=False, annotations="LOC_val_solution.csv", read=read_solution)
    return Part(folder, classes=split == "TRAIN", whole=True)


def explain() -> str:
    """Describe the layout in one line."""
    return f"{DATA}/train/<wnid>/, {DATA}/val and test flat, LOC_val_solution.csv"


def read_solution(line: str) -> tuple[str, str]:
    """Return image and class id, from ``ILSVRC2012_val_00048981,n03995372 85 1 499 272``."""
    image, boxes = line.split(",")
    return f"{image}.JPEG", boxes.split()[0]
