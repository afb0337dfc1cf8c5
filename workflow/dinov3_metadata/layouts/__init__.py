"""Layouts: how datasets lie on disks. One module each, and nothing else to edit for a new one.

Each has ``ORDER``, its place among those that are tried, and three functions: ``recognise(root)``
tells whether a folder has the layout, ``list_part(root, split)`` where the images of a split lie in
it, and ``explain()`` what it is, for the person who looks for a mistake.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from ..layout import StrPath

LOOKED_AT = 20  # class folders, spread over a split


@dataclass(frozen=True)
class Part:
    """Where the images of a split lie.

    Attributes:
        folder: The path below root of the folder that holds the class folders, or all the images.
        classes: Whether there are class folders in it, named by class id.
        inside: The path below each class folder where its images lie.
        whole: Whether the images have DINOv3's names already.
        annotations: The path below root of a file that tells the classes of the images; empty if
            the folders do, or there are none.
        read: Takes an image and its class id from a line of that file.
        others: Folders right in ``folder`` that belong to other splits.
        class_id: The one class of all the images, where nothing tells them apart.
        own_names: Whether the names of class folders will do as class names, without a labels file.
        optional: Whether the split is passed over where it has no folder and never had one.
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


def layout_of(name: str) -> ModuleType:
    """The module of a layout; its name may be written with a hyphen."""
    return import_module(f"{__name__}.{name.replace('-', '_')}")


def names() -> list[str]:
    """All layouts, in the order in which they are tried."""
    found = (module.name.replace("_", "-") for module in iter_modules(__path__))
    return sorted(found, key=lambda name: layout_of(name).ORDER)


def is_layout(name: str) -> bool:
    """Whether there is a layout of that name; no module is imported for the answer."""
    return name.replace("-", "_") in {module.name for module in iter_modules(__path__)}


def recognise(root: StrPath) -> str:
    """The first layout that a folder has; ``imagenet``, whose stages explain best, if none."""
    found = (name for name in names() if layout_of(name).recognise(os.fspath(root)))
    return next(found, "imagenet")


def class_folders_of(folder: str) -> list[str]:
    """The paths of some class folders, spread over a split, if there are any."""
    try:
        with os.scandir(folder) as entries:
            paths = sorted(entry.path for entry in entries if entry.is_dir())
    except OSError:
        return []
    return paths[:: max(1, len(paths) // LOOKED_AT)]


def has_images(folder: str) -> bool:
    """Whether an image lies in a folder, or in one below it."""
    from ..folder import is_image  # it needs numpy, and this module is imported at every start

    return any(is_image(name) for _, _, names in os.walk(folder) for name in names)
