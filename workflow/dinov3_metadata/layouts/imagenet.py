"""The layout ``imagenet``: ImageNet as DINOv3 reads it. It needs no view, unless the folders of the
splits are called otherwise."""

import os
from collections.abc import Sequence
from contextlib import suppress

from ..addresses import LABELLED, index_of, is_image
from .part import Part, class_folders_of, names_of, places
from .split_folders import Folders

ENOUGH = 1000  # images to look at


def recognise(dataset: str, folders: Folders) -> bool:
    """Return whether at least half of the images in some class folders have DINOv3's names."""
    return _are_named(dataset, folders, LABELLED)


def _are_named(dataset: str, folders: Folders, splits: Sequence[str]) -> bool:
    named = others = 0
    for split in splits:
        folder = names_of(split, folders)[0]
        for path in class_folders_of(f"{dataset}/{folder}"):
            class_id = os.path.basename(path)
            with suppress(OSError), os.scandir(path) as entries:
                for name in (entry.name for entry in entries if entry.is_file()):
                    good = index_of(split, class_id, name) is not None
                    named += good
                    others += is_image(name) and not good
                    if named + others > ENOUGH:
                        break
            if named + others > ENOUGH:
                break
    return 0 < named >= others


def list_part(dataset: str, split: str, folders: Folders) -> Part:
    """Return where the images are: in the split folders themselves."""
    folder, shards, note = places(split, folders)
    whole = not shards  # the same class may be in several of them
    if whole and folders and split in LABELLED:  # only a view can have other images, too
        whole = _are_named(dataset, folders, [split])
    return Part(folder, shards, classes=split in LABELLED, whole=whole, note=note)


def explain() -> str:
    """Describe the layout in one line."""
    return "train/<class>/<class>_<n>.JPEG, val/<class>/ILSVRC2012_val_<8 digits>.JPEG, test/ flat"
