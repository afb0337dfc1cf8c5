"""Part: the interface of a layout, which says where the images of a split are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..addresses import is_image
from ..paths import MARK, WORK

LOOKED_AT = 20  # class folders to look at, spread over a split


@dataclass(frozen=True)
class Part:
    """Where the images of a split are.

    Attributes:
        folder: The path below the dataset of the folder that contains the class folders, or
            directly the images.
        classes: Whether it contains class folders, which are named by class id.
        inside: The path of the images below each class folder.
        whole: Whether the images already have DINOv3's names, so that a view can link whole
            folders.
        annotations: The path below the dataset of a file that lists the classes of the images;
            empty if the images are in class folders or have no classes.
        read: Returns an image and its class id from a line of that file.
        others: Folders directly in ``folder`` that belong to other splits.
        class_id: The single class of all images, if there are no class folders.
        own_names: Whether the names of class folders serve as class names if there is no labels
            file.
        optional: Whether the split is left out if it has no folder and was never published.
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
    """The functions that each module of a layout contains."""

    def recognise(self, dataset: str) -> bool:
        """Return whether a folder has the layout."""

    def list_part(self, dataset: str, split: str) -> Part:
        """Return where the images of a split are in a dataset with the layout."""

    def explain(self) -> str:
        """Describe the layout in one line, for a user who is looking for a mistake."""


def class_folders_of(folder: str) -> list[str]:
    """Return the paths of some class folders, spread over a split; empty if there are none."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
    return [f"{folder}/{name}" for name in names[:: max(1, len(names) // LOOKED_AT)]]


def may_hold_images(folder: str, name: str) -> bool:
    """Return whether a view takes images from a subfolder: not if it is hidden, nor if it is a view
    or contains a work folder."""
    made = any(os.path.lexists(f"{folder}/{name}/{own}") for own in (MARK, WORK))
    return not name.startswith(".") and not made


def has_images(folder: str, onerror: Callable[[OSError], object] | None = None) -> bool:
    """Return whether there is an image in a folder, or in a folder below it.

    Args:
        folder: The folder.
        onerror: Called with the error if a folder cannot be listed; None passes it over.
    """
    return any(is_image(name) for _, _, names in os.walk(folder, onerror=onerror) for name in names)
