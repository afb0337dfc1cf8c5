"""Layouts: detect how a dataset is laid out on disk.

Each layout has a module in this package and a line in ``LAYOUTS``.
"""

import os

from ..addresses import LABELLED
from ..holdout import Holdout
from ..paths import StrPath
from . import flat, folder, imagenet, kaggle, tars, tiny_imagenet
from .kaggle import SOLUTION, data_of_kaggle, top_of_kaggle
from .part import (
    SYSTEM,
    Layout,
    Part,
    class_folders_of,
    folders_with_images,
    has_images,
    hold_out,
    holds_images,
    images_in,
    may_hold_images,
)
from .split_folders import Folders, find_folders, folders_like_splits, may_be, split_of

__all__ = [
    "LAYOUTS",
    "SOLUTION",
    "SYSTEM",
    "Folders",
    "Layout",
    "Part",
    "class_folders_of",
    "data_of_kaggle",
    "find_folders",
    "folders_like_splits",
    "folders_with_images",
    "has_images",
    "holds_images",
    "images_in",
    "is_class",
    "may_be",
    "may_hold_images",
    "part_of",
    "recognise",
    "split_of",
    "top_of_kaggle",
]

LAYOUTS: dict[str, Layout] = {
    "imagenet": imagenet,
    "kaggle": kaggle,
    "tiny-imagenet": tiny_imagenet,
    "folder": folder,
    "flat": flat,
    "tars": tars,
}
"""Name in config.yaml -> module."""

TRIED = ("tiny-imagenet", "imagenet", "kaggle", "folder", "flat", "tars")
"""The order in which ``recognise`` tries them: Tiny ImageNet's own files tell more than names of
images, which another layout may have, too."""


def recognise(dataset: StrPath, folders: Folders | None = None) -> str:
    """Return the first layout that a dataset has.

    If it has none, return ``imagenet``, whose stages explain best what is wrong.

    Args:
        dataset: The dataset's folder.
        folders: See ``split_folders``.
    """
    path, known = os.fspath(dataset), folders or {}
    fitting = (name for name in TRIED if LAYOUTS[name].recognise(path, known))
    return next(fitting, "imagenet")


def part_of(
    dataset: str,
    layout: str,
    split: str,
    folders: Folders | None = None,
    holdout: Holdout | None = None,
) -> Part:
    """Return where the images of a split are.

    Args:
        dataset: The dataset's folder.
        layout: Its layout.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        folders: See ``split_folders``. With ``holdout``, those of VAL are those of TRAIN.
        holdout: Which images of TRAIN are VAL. It changes how they are linked, not where they are.
    """
    part = LAYOUTS[layout].list_part(dataset, split, folders or {})
    return hold_out(part, holdout) if holdout and split in LABELLED else part


def is_class(layout: str, folder: str, name: str, in_view: bool) -> bool:
    """Return whether a folder that contains class folders has a class of some name.

    In the layout ``imagenet``, each folder is one, as in ImageFolder. But a view leaves out those
    that are hidden or made by a system.

    Args:
        layout: The layout.
        folder: The folder with the class folders.
        name: The name of a folder in it.
        in_view: Whether DINOv3 reads the dataset through a view.
    """
    if layout == "imagenet" and not in_view:
        return True
    return may_hold_images(folder, name)
