"""Tiny ImageNet as it is distributed (tiny-imagenet-200)."""

import os

from .part import Part


def recognise(dataset: str) -> bool:
    """Whether Tiny ImageNet's own files and folders lie in root."""
    return os.path.isfile(f"{dataset}/wnids.txt") and os.path.isdir(f"{dataset}/val/images")


def list_part(dataset: str, split: str) -> Part:
    """Images lie one folder deeper than in ImageNet; ``val`` is flat, a file tells the classes."""
    if split == "TRAIN":
        return Part("train", inside="images", whole=True)
    if split == "VAL":
        annotations = "val/val_annotations.txt"
        return Part("val/images", classes=False, annotations=annotations, read=read_annotation)
    return Part("test/images", classes=False)


def explain() -> str:
    """What the layout is."""
    return "train/<wnid>/images/, val/images/ with val/val_annotations.txt, test/images/, wnids.txt"


def read_annotation(line: str) -> tuple[str, str]:
    """Image and class id, from ``val_0.JPEG<tab>n03444034<tab>0<tab>32<tab>44<tab>62``."""
    image, class_id, *_ = line.split("\t")
    return image, class_id
