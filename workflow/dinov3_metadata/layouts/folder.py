"""The layout ``folder``: class folders with images of any name, nested or not."""

from ..addresses import LABELLED
from .part import Part, class_folders_of, has_images, is_picture, names_of, places
from .split_folders import Folders


def recognise(dataset: str, folders: Folders) -> bool:
    """Return whether there are class folders with images in the folder of TRAIN or of VAL.

    Images that torchvision passes over count, so that ``link_view`` can say it.
    """
    return any(
        has_images(path, is_one=is_picture)
        for split in LABELLED
        for name in names_of(split, folders)
        for path in class_folders_of(f"{dataset}/{name}")
    )


def list_part(dataset: str, split: str, folders: Folders) -> Part:
    """Return where the images are. TEST has no classes."""
    folder, shards, note = places(split, folders)
    return Part(folder, shards, classes=split in LABELLED, own_names=True, note=note)


def explain() -> str:
    """Describe the layout in one line."""
    return "train/<class>/ and val/<class>/ with images of any name, nested or not; test/"
