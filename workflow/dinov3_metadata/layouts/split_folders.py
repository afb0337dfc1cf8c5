"""Split folders: find the folders of the splits, whatever they are called.

DINOv3 reads ``train/``, ``val/`` and ``test/``. Datasets have ``Training/``, ``valid/`` or
``imagenet21k_train/`` instead, or a split in several parts such as ``train.X1/`` to ``train.X4/``.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence

from ..addresses import SPLITS, split_folder
from ..errors import MetadataError
from ..look import finds, finds_folder

Folders = Mapping[str, Sequence[str]]
"""Split -> the paths of its folders below the dataset, for the splits that are not in the folders
that DINOv3 reads."""

WORDS = {
    "TRAIN": {"train", "training", "trainset", "traindata", "trn"},
    "VAL": {"val", "valid", "validation", "valset", "validset", "dev"},
    "TEST": {"test", "testing", "testset", "testdata", "tst"},
}
"""Split -> the words that its folder may be called by."""

OTHER_WORDS = {
    *("imagenet", "ilsvrc", "in", "k", "cls", "loc", "winter", "fall"),
    *("image", "images", "img", "imgs", "pic", "pics", "photos", "jpg", "jpeg", "png"),
    *("data", "dataset", "set", "split", "folder", "seg", "raw", "resized", "original", "orig"),
    *("full", "large", "big", "huge", "medium", "half", "small", "mini", "tiny", "subset"),
    *("part", "shard", "x", "px", "final"),
}
"""The words that may be beside it, as may numbers: ``imagenet21k_train``, ``train.X1``.

A folder with any other word may be a class: ``bullet_train``.
"""


def split_of(name: str) -> str:
    """Return the split that a folder with some name is, going by its words; empty if it is none.

    Example:
        >>> split_of("ILSVRC2012_img_train"), split_of("Validation"), split_of("bullet_train")
        ('TRAIN', 'VAL', '')
    """
    words = _words(name) - OTHER_WORDS
    return next((split for split in SPLITS if len(words) == 1 and words <= WORDS[split]), "")


def may_be(name: str, split: str) -> bool:
    """Return whether a folder's name contains a word of a split, and none of another one."""
    words = _words(name)
    return [one for one in SPLITS if not words.isdisjoint(WORDS[one])] == [split]


def _words(name: str) -> set[str]:
    """Return the words of a name. A byte that is not UTF-8 is a letter in some other encoding."""
    return {*re.findall(r"(?:[^\W\d_]|[\udc80-\udcff])+", name.casefold())}


def folders_like_splits(dataset: str) -> dict[str, list[str]]:
    """Return split -> the sorted names of the folders in a dataset that are called like it."""
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    try:
        with os.scandir(dataset) as entries:
            for entry in entries:
                split = split_of(entry.name)
                if split and not entry.name.startswith(".") and entry.is_dir():
                    found[split].append(entry.name)
    except OSError:  # the first stage that lists the dataset says why
        return found
    return {split: sorted(names) for split, names in found.items()}


def find_folders(
    dataset: str,
    given: Folders,
    splits: Collection[str],
    inside: str = "",
) -> dict[str, list[str]]:
    """Find the folders of the splits that are not in the folders that DINOv3 reads.

    Args:
        dataset: The dataset's folder.
        given: The setting ``folders``.
        splits: The splits to make metadata for, and those by whose classes they are numbered.
        inside: The path below the dataset of a folder that may contain the folders of the splits.

    Returns:
        What is given. For each other split whose own folder is missing, its folder in ``inside``,
        or the only folder that is called like the split, if there is one.

    Raises:
        MetadataError: Several folders are called like one of ``splits``, or two of those that are
            given for a split are the same, or one is in the other.
    """
    folders = {split: [*paths] for split, paths in given.items()}
    for split, paths in folders.items():
        _refuse_overlaps(dataset, split, paths)
    unknown = [
        split
        for split in splits
        if split not in folders and not finds(f"{dataset}/{split_folder(split)}")
    ]
    if not unknown:
        return folders
    like = folders_like_splits(dataset)
    taken = {path.partition("/")[0] for paths in folders.values() for path in paths}
    for split in unknown:
        names = [name for name in like[split] if name not in taken]
        own = f"{inside}/{split_folder(split)}"
        if inside and finds_folder(f"{dataset}/{own}"):
            names = [own]
        if len(names) > 1:
            raise MetadataError(
                f"{dataset} contains no {split_folder(split)}/, but {len(names)} folders that may "
                f"be {split}: {', '.join(f'{name}/' for name in names)}. If one of them is, set "
                f"`folders: {{{split}: {names[0]}}}`. If all are parts of it, set "
                f"`folders: {{{split}: [{', '.join(names)}]}}`."
            )
        if len(names) == 1:
            folders[split] = names
    return folders


def _refuse_overlaps(dataset: str, split: str, paths: Sequence[str]) -> None:
    """Refuse several folders of a split with images in common."""
    real = {path: f"{os.path.realpath(os.path.join(dataset, path))}/" for path in paths}
    for one, inner in real.items():
        for other, outer in real.items():
            if one != other and inner.startswith(outer):
                raise MetadataError(
                    f"config: folders: {split}: {one!r} is {other!r}, or in it, so the images "
                    "would count twice."
                )
