"""Layouts: detect how a dataset is laid out on disk.

Each layout has a module in this package and a line in ``LAYOUTS``.
"""

import os

from ..paths import StrPath
from . import flat, folder, imagenet, kaggle, tiny_imagenet
from .part import Layout, Part, has_images, may_hold_images

__all__ = ["LAYOUTS", "Layout", "Part", "has_images", "may_hold_images", "recognise"]

LAYOUTS: dict[str, Layout] = {
    "imagenet": imagenet,
    "kaggle": kaggle,
    "tiny-imagenet": tiny_imagenet,
    "folder": folder,
    "flat": flat,
}
"""Name in config.yaml -> module, in the order in which they are tried."""


def recognise(dataset: StrPath) -> str:
    """Return the first layout that a folder has.

    If it has none, return ``imagenet``, whose stages explain best what is wrong.
    """
    path = os.fspath(dataset)
    return next((name for name, layout in LAYOUTS.items() if layout.recognise(path)), "imagenet")
