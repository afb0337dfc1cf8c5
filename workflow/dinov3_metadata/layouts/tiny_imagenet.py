"""The layout ``tiny-imagenet``: Tiny ImageNet as it is distributed (tiny-imagenet-200)."""

import os

from .part import Part


def recognise(dataset: str) -> bool:
    """Return whether root contains Tiny ImageNet's own files and folders."""
    return os.path.isfile(f"{dataset}/wnids.txt") and os.path.isdir(f"{dataset}/val/images")


def list_part(dataset: str, split: str) -> Part:
    """Return where the images are.

    They are one folder deeper than in ImageNet. ``val`` is flat, and a file lists the classes.
    """
    if split == "TRAIN":
        return Part("train", inside="images", whole=True)
    if split == "VAL":
        annotations = "val/val_annotations.txt"
        return Part("val/images", classes=False, annotations=annotations, read=read_annotation)
    return Part("test/images", classes=False)


def explain() -> str:
    """Describe the layout in one line."""
    return "train/<wnid>/images/, val/images/ with val/val_annotations.txt, test/images/, wnids.txt"


def read_annotation(line: str) -> tuple[str, str]:
    """Return image and class id, from ``val_0.JPEG<tab>n03444034<tab>0<tab>32<tab>44<tab>62``."""
    image, class_id, *_ = line.split("\t")
    return image, class_id
