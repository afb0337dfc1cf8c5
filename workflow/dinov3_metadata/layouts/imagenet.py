"""The layout ``imagenet``: ImageNet as DINOv3 reads it. It needs no view, unless the folders of the
splits are called otherwise."""

from collections.abc import Sequence

from ..addresses import LABELLED
from .part import ENOUGH, Part, count_names, names_of, places
from .split_folders import Folders


def recognise(dataset: str, folders: Folders) -> bool:
    """Return whether at least half of the images in some class folders have DINOv3's names."""
    return _are_named(dataset, folders, LABELLED)


def _are_named(dataset: str, folders: Folders, splits: Sequence[str]) -> bool:
    named = others = 0
    for split in splits:
        folder = f"{dataset}/{names_of(split, folders)[0]}"
        some = count_names(folder, split, ENOUGH - named - others)
        named, others = named + some[0], others + some[1]
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
