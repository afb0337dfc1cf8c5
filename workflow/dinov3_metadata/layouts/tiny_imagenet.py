"""The layout ``tiny-imagenet``: Tiny ImageNet as it is distributed (tiny-imagenet-200), or partly
sorted by a user."""

import os
import re

from ..addresses import LABELLED
from ..look import finds, finds_file, finds_folder
from .part import Part, class_folders_of, has_images
from .split_folders import Folders

ANNOTATIONS, IDS = "val/val_annotations.txt", "wnids.txt"


def recognise(dataset: str, folders: Folders) -> bool:
    """Return whether root contains Tiny ImageNet's own files and folders, and no others of TRAIN
    and VAL are known. If every image has DINOv3's name by now, the layout is ``imagenet``."""
    known = not folders.keys().isdisjoint(LABELLED)
    if known or not finds_file(f"{dataset}/{IDS}"):
        return False
    train, val = f"{dataset}/train", f"{dataset}/val"
    nested = any(os.path.isdir(f"{folder}/images") for folder in class_folders_of(train))
    return nested or any(map(_holds_own_names, [val, *class_folders_of(val)]))


def list_part(dataset: str, split: str, folders: Folders) -> Part:
    """Return where the images are.

    They are one folder deeper than in ImageNet. ``val`` is flat, and a file lists the classes.
    Users have moved the images of ``train``, ``val`` or ``test`` up, and sorted ``val`` into class
    folders. So the images of ``val`` and ``test`` may be at any depth.
    """
    if split == "TRAIN":
        return Part("train", inside="images", whole=True)
    if split == "TEST":
        return Part("test", classes=False)
    val = f"{dataset}/val"
    if not finds(f"{dataset}/{ANNOTATIONS}"):
        is_sorted = any(os.path.basename(folder) != "images" for folder in class_folders_of(val))
        if is_sorted and not has_images(f"{val}/images"):
            note = f"The classes of VAL are the folders in val/, because there is no {ANNOTATIONS}."
            return Part("val", others=("images",), note=note)
    return Part("val", classes=False, annotations=ANNOTATIONS, read=read_annotation, ids=IDS)


def explain() -> str:
    """Describe the layout in one line."""
    return "train/<wnid>/images/, val/images/ with val/val_annotations.txt, test/images/, wnids.txt"


def read_annotation(line: str) -> tuple[str, str]:
    """Return image and class id, from ``val_0.JPEG<tab>n03444034<tab>0<tab>32<tab>44<tab>62``."""
    image, class_id, *_ = line.split("\t")
    return image, class_id


def _holds_own_names(folder: str) -> bool:
    """Return whether ``val``, a folder in it, or the one named ``images`` in that contains an image
    with the name that Tiny ImageNet gave it."""
    for path in (folder, f"{folder}/images"):
        if finds_folder(path):
            with os.scandir(path) as entries:
                if any(re.fullmatch(r"val_\d+\.JPEG", entry.name) for entry in entries):
                    return True
    return False
