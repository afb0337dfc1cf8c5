"""The layout ``flat``: unlabelled images, which become one class with the name of their folder."""

import os
from itertools import islice

from ..addresses import SPLITS, split_folder
from ..look import finds_folder
from .part import Part, folders_with_images, is_picture, names_of, places
from .split_folders import Folders


def recognise(dataset: str, folders: Folders) -> bool:
    """Return whether there are images directly in root, or in the folder of TRAIN.

    Images further down do not count. They may belong to a dataset whose own folder should be root.
    If several folders with images are beside the images in root, these folders may be classes.
    """
    folder = _folder(dataset, folders)
    try:
        with os.scandir(f"{dataset}/{folder}") as entries:
            below, images = set[str](), False
            for entry in entries:
                if entry.is_dir():
                    below.add(entry.name)
                images = images or is_picture(entry.name)
    except OSError:
        return False
    below.difference_update(*(names_of(split, folders) for split in SPLITS))
    return images and (bool(folder) or len([*islice(folders_with_images(dataset, below), 2)]) < 2)


def list_part(dataset: str, split: str, folders: Folders) -> Part:
    """Return where the images are. Those of TRAIN are one class; so are those of VAL, if any."""
    below, shards, note = places(split, folders)
    if split == "TRAIN" and not shards:
        below = _folder(dataset, folders)
    others = () if below or shards else tuple(n for s in SPLITS for n in names_of(s, folders) if n)
    left = [one for one in others if finds_folder(f"{dataset}/{one}")]
    if left:
        shown = " and ".join(f"{one}/" for one in left)
        note = f"{split} is made without {shown}, which {_are(left)} of other splits."
    name = os.path.basename(f"{dataset}/{below}".rstrip("/")).lstrip(".")  # no class is hidden
    return Part(
        below,
        shards,
        classes=False,
        others=others,
        class_id="" if split == "TEST" else name or "images",
        own_names=True,
        optional=split != "TRAIN",
        note=note if below or shards or left else "",
    )


def explain() -> str:
    """Describe the layout in one line."""
    return "images of any name in root or in train/, nested or not: one class"


def _are(some: list[str]) -> str:
    return "is" if len(some) == 1 else "are"


def _folder(dataset: str, folders: Folders) -> str:
    """Return the folder of TRAIN below the dataset; empty if it is the dataset itself."""
    name = names_of("TRAIN", folders)[0]
    there = "TRAIN" in folders or finds_folder(f"{dataset}/{split_folder('TRAIN')}")
    return name if there else ""
