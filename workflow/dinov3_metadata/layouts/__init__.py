"""Layouts: how datasets are laid out on disk. One module each, and a line in ``LAYOUTS``."""

import os

from ..paths import StrPath
from . import flat, folder, imagenet, kaggle, tiny_imagenet
from .part import Layout, Part, has_images

__all__ = ["LAYOUTS", "Layout", "Part", "has_images", "recognise"]

LAYOUTS: dict[str, Layout] = {
    "imagenet": imagenet,
    "kaggle": kaggle,
    "tiny-imagenet": tiny_imagenet,
    "folder": folder,
    "flat": flat,
}
"""Name in config.yaml -> module, in the order in which they are tried."""


def recognise(dataset: StrPath) -> str:
    """The first layout that a folder has; ``imagenet``, whose stages explain best, if none."""
    path = os.fspath(dataset)
    return next((name for name, one in LAYOUTS.items() if one.recognise(path)), "imagenet")
