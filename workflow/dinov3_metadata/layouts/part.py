"""What every layout says: where the images of a split are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..addresses import is_image

LOOKED_AT = 20  # class folders, spread over a split


@dataclass(frozen=True)
class Part:
    """Where the images of a split are.

    Attributes:
        folder: The path below the dataset of the folder with the class folders, or all the images.
        classes: Whether there are class folders in it, named by class id.
        inside: The path of the images below each class folder.
        whole: Whether the images already have DINOv3's names.
        annotations: The path below the dataset of a file with the classes of the images; empty if
            their folders are their classes, or there are none.
        read: Reads an image and its class id from a line of that file.
        others: Folders right in ``folder`` that belong to other splits.
        class_id: The one class of all images, if they have no classes.
        own_names: Whether the names of class folders serve as class names if there is no labels
            file.
        optional: Whether the split is left out if it has no folder and never had one.
    """

    folder: str
    classes: bool = True
    inside: str = ""
    whole: bool = False
    annotations: str = ""
    read: Callable[[str], tuple[str, str]] | None = None
    others: tuple[str, ...] = ()
    class_id: str = ""
    own_names: bool = False
    optional: bool = False


class Layout(Protocol):
    """What each module of a layout has."""

    def recognise(self, dataset: str) -> bool:
        """Whether a folder has the layout."""

    def list_part(self, dataset: str, split: str) -> Part:
        """Where the images of a split are in it."""

    def explain(self) -> str:
        """What the layout is, for somebody who looks for a mistake."""


def class_folders_of(folder: str) -> list[str]:
    """The paths of some class folders, spread over a split, if there are any."""
    try:
        with os.scandir(folder) as entries:
            paths = sorted(entry.path for entry in entries if entry.is_dir())
    except OSError:
        return []
    return paths[:: max(1, len(paths) // LOOKED_AT)]


def has_images(folder: str) -> bool:
    """Whether there is an image in a folder, or in one below it."""
    return any(is_image(name) for _, _, names in os.walk(folder) for name in names)
