"""Part: the interface of a layout, which says where the images of a split are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from ..addresses import SPLITS, index_of, is_image, other_suffix, split_folder
from ..fingerprint import class_folders
from ..holdout import Holdout
from ..paths import MARK, WORK, StrPath
from .split_folders import Folders

LOOKED_AT = 20  # class folders to look at, spread over a split
ENOUGH = 1000  # images to look at in them

SYSTEM = {
    "@eadir": "where a Synology NAS keeps its thumbnails",
    "#recycle": "the recycle bin of a Synology NAS",
    "#snapshot": "where a Synology NAS keeps its snapshots",
    "@recycle": "the recycle bin of a QNAP NAS",
    "@recently-snapshot": "where a QNAP NAS keeps its snapshots",
    "__macosx": "what macOS puts into its archives",
    "lost+found": "where a repair of the file system puts what it finds",
    "$recycle.bin": "the recycle bin of Windows",
    "system volume information": "where Windows keeps data about the drive",
    ".thumbs": "where a program keeps its thumbnails",
    ".thumbnails": "where a program keeps its thumbnails",
}
"""Name in lower case -> what it is, for the folders that a system leaves among a user's."""


@dataclass(frozen=True)
class Part:
    """Where the images of a split are.

    Attributes:
        folder: The path below the dataset of the folder that contains the class folders, or
            directly the images.
        shards: The paths below ``folder`` of several folders, each of which contains class folders
            or images; empty if ``folder`` itself does.
        classes: Whether there are class folders, which are named by class id.
        inside: The path of the images below each class folder, if they are not directly in it.
        whole: Whether the images already have DINOv3's names, so that a view can link whole
            folders.
        annotations: The path below the dataset of a file that lists the classes of the images;
            empty if the images are in class folders or have no classes.
        read: Returns an image and its class id from a line of that file.
        ids: The path below the dataset of a file with the ids of all classes, if there may be one.
        others: Folders directly in ``folder`` that belong to other splits.
        class_id: The single class of all images, if there are no class folders.
        own_names: Whether the names of class folders serve as class names if there is no labels
            file.
        optional: Whether the split is left out if it has no folder and was never published.
        note: What a user should know about where the images are, in one sentence; empty if they
            are where the layout says.
        held: The same about what is held out of TRAIN as VAL; empty if nothing is.
    """

    folder: str
    shards: tuple[str, ...] = ()
    classes: bool = True
    inside: str = ""
    whole: bool = False
    annotations: str = ""
    read: Callable[[str], tuple[str, str]] | None = None
    ids: str = ""
    others: tuple[str, ...] = ()
    class_id: str = ""
    own_names: bool = False
    optional: bool = False
    note: str = ""
    held: str = ""

    @property
    def notes(self) -> list[str]:
        """What a user should know about the images, one sentence each."""
        return [*filter(None, [self.held, self.note])]

    @property
    def tops(self) -> tuple[str, ...]:
        """The paths below ``folder`` of the folders that contain the class folders or images."""
        return self.shards or ("",)

    def class_of(self, folder: str) -> str:
        """Return the class of the images in a folder, given by its path below ``folder``."""
        if not self.classes:
            return self.class_id
        top = next((top for top in self.shards if f"{folder}/".startswith(f"{top}/")), "")
        return folder[len(top) :].strip("/").partition("/")[0]

    @property
    def paths(self) -> list[str]:
        """The same below the dataset."""
        return [f"{self.folder}/{top}".strip("/") for top in self.tops]


class Layout(Protocol):
    """The functions that each module of a layout contains."""

    def recognise(self, dataset: str, folders: Folders) -> bool:
        """Return whether a folder has the layout. See ``split_folders`` for ``folders``."""

    def list_part(self, dataset: str, split: str, folders: Folders) -> Part:
        """Return where the images of a split are in a dataset with the layout."""

    def explain(self) -> str:
        """Describe the layout in one line, for a user who is looking for a mistake."""


def hold_out(part: Part, holdout: Holdout) -> Part:
    """Return the part of TRAIN or VAL if VAL is the held-out part of TRAIN.

    Each image is linked by itself, because its folder also contains images of the other split.

    Args:
        part: Where the images of both are.
        holdout: Which of them are VAL.
    """
    where = " and ".join(f"{path}/" if path else "root" for path in part.paths)
    # `held` names the folders; only the layout `flat` has more to say.
    note = part.note if part.others else ""
    return replace(part, whole=False, note=note, held=holdout.describe(where))


def names_of(split: str, folders: Folders) -> list[str]:
    """Return the paths of a split's folders below the dataset."""
    return [*folders.get(split, [split_folder(split)])]


def places(split: str, folders: Folders) -> tuple[str, tuple[str, ...], str]:
    """Return ``folder``, ``shards`` and ``note`` of a part whose folders are ``names_of`` it."""
    names = names_of(split, folders)
    shown = " and ".join(f"{name}/" for name in names)
    same = [
        one for one in SPLITS if one != split and not {*names}.isdisjoint(names_of(one, folders))
    ]
    also = f", as {' and '.join(same)} {'is' if len(same) == 1 else 'are'}" if same else ""
    note = (
        ""
        if names == [split_folder(split)] and not same
        else f"{split} is made from {shown}{also}."
    )
    return ("", tuple(names), note) if len(names) > 1 else (names[0], (), note)


def class_folders_of(folder: str) -> list[str]:
    """Return the paths of some class folders, spread over a split; empty if there are none."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.lower() not in SYSTEM and entry.is_dir()
            )
    except OSError:
        return []
    return [f"{folder}/{name}" for name in names[:: max(1, len(names) // LOOKED_AT)]]


def count_names(folder: str, split: str, most: int = ENOUGH) -> tuple[int, int]:
    """Return how many of the first images in some class folders have DINOv3's names, and how many
    have others.

    Args:
        folder: The folder that contains the class folders.
        split: ``TRAIN`` or ``VAL``.
        most: How many images to look at.
    """
    named = others = 0
    for path in class_folders_of(folder):
        class_id = os.path.basename(path)
        with suppress(OSError), os.scandir(path) as entries:
            for name in (entry.name for entry in entries if entry.is_file()):
                good = index_of(split, class_id, name) is not None
                named += good
                others += is_image(name) and not good
                if named + others > most:
                    return named, others
    return named, others


def may_hold_images(folder: str, name: str) -> bool:
    """Return whether a view takes images from a subfolder: not if it is hidden or a system's, nor
    if it is a view or contains a work folder."""
    if name.startswith(".") or name.lower() in SYSTEM:
        return False
    return not any(os.path.lexists(f"{folder}/{name}/{own}") for own in (MARK, WORK))


def holds_images(folder: str) -> bool:
    """Return whether there is an image directly in a folder."""
    try:
        with os.scandir(folder) as entries:
            return any(is_image(entry.name) and entry.name[0] != "." for entry in entries)
    except OSError:
        return False


def images_in(folder: StrPath) -> list[str]:
    """Return the sorted names of the images directly in a folder, without hidden ones.

    The list is empty if the folder cannot be listed.
    """
    with suppress(OSError):
        return sorted(name for name in os.listdir(folder) if is_image(name) and name[0] != ".")
    return []


def is_picture(name: str) -> bool:
    """Return whether a file is an image, be it one with a suffix that torchvision passes over."""
    return is_image(name) or bool(other_suffix(name))


def has_images(
    folder: str,
    onerror: Callable[[OSError], object] | None = None,
    is_one: Callable[[str], bool] = is_image,
) -> bool:
    """Return whether there is an image in a folder or below it, where ``may_hold_images`` allows.

    Args:
        folder: The folder.
        onerror: Called with the error if a folder cannot be listed; None passes it over.
        is_one: Returns whether a file is an image, judging by its name.
    """
    for above, subfolders, names in os.walk(folder, onerror=onerror):
        subfolders[:] = [name for name in subfolders if may_hold_images(above, name)]
        if any(map(is_one, names)):
            return True
    return False


def folders_with_images(folder: str, names: Iterable[str] | None = None) -> Iterator[str]:
    """Yield the sorted names of the folders in a folder that have images in them or below, where
    ``may_hold_images`` allows.

    Args:
        folder: The folder.
        names: The folders in it to look into; None for all of them.
    """
    for name in sorted(class_folders(folder) if names is None else names):
        if may_hold_images(folder, name) and has_images(f"{folder}/{name}"):
            yield name
