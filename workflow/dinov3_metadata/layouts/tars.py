"""The layout ``tars``: a tar for each class, as DINOv3's ``ImageNet22k`` reads them."""

from ..addresses import SPLITS
from ..fingerprint import tar_names
from ..look import finds_folder
from .part import Part, names_of
from .split_folders import Folders


def recognise(dataset: str, folders: Folders) -> bool:
    """Return whether there are tars in root, and no folder of a split."""
    places = [name for split in SPLITS for name in names_of(split, folders)]
    return bool(tar_names(dataset)) and not any(finds_folder(f"{dataset}/{one}") for one in places)


def list_part(dataset: str, split: str, folders: Folders) -> Part:
    """Return where the images are: in the tars in root. There are no splits."""
    return Part("", classes=False, own_names=True)


def explain() -> str:
    """Describe the layout in one line."""
    return "<class>.tar, one a class, without splits: ImageNet-22k as DINOv3 reads it"
