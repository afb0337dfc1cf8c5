"""Preflight: check the folders, the layout and the labels setting before a run starts."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice

from .addresses import SPLITS, is_image, split_folder
from .errors import MetadataError
from .fingerprint import class_folders
from .formats import Description
from .layouts import (
    LAYOUTS,
    Folders,
    folders_like_splits,
    folders_with_images,
    holds_images,
    may_be,
    may_hold_images,
    part_of,
    split_of,
    top_of_kaggle,
)
from .look import finds, finds_folder
from .paths import LABEL_FILES, MARK, StrPath

MAPPING = LABEL_FILES[1]
"""Kaggle's labels file, which lies beside ``ILSVRC``."""

LOOKED_AT = 1000  # files of a folder to look at for images at most
LONGEST = 2500  # most bytes of a path; Snakemake's record of it is a third longer, below 4096


def find_labels(dataset: StrPath, labels: str, own_names: bool = False) -> str:
    """Find the labels file for a setting.

    Args:
        dataset: The dataset's folder.
        labels: A path, relative to the dataset or absolute; ``auto`` for the first of
            ``LABEL_FILES`` that exists, or for Kaggle's, if the dataset is a folder below it;
            ``folders`` for no file.
        own_names: Whether ``auto`` may find no file, because the class folders' own names will do.

    Returns:
        A path, whether or not the file exists; empty if no file is to be used.
    """
    if labels == "folders":
        return ""
    names = LABEL_FILES if labels == "auto" else [os.path.expanduser(labels)]
    paths = [os.path.join(dataset, name) for name in names]
    top = top_of_kaggle(os.fspath(dataset)) if labels == "auto" else ""
    inside = [f"{top}/{MAPPING}"] if top else []
    nothing = "" if labels == "auto" and (own_names or top) else paths[0]
    return next(filter(finds, [*paths, *inside]), nothing)


def is_same(one: str, other: str) -> bool:
    """Return whether two paths lead to the same folder."""
    return os.path.realpath(one) == os.path.realpath(other)


def view_of(dataset: str, about: Description) -> str:
    """Return the view through which DINOv3 reads a dataset, even if both were moved together since
    the metadata was made.

    Args:
        dataset: The dataset's folder.
        about: The content of ``metadata-SPLIT.json``.

    Returns:
        An empty text if the metadata was not made from this dataset, or without a view.
    """
    if about.root == about.dataset:
        return ""
    if is_same(dataset, about.dataset):
        return about.root
    moved = os.path.normpath(f"{dataset}/{os.path.relpath(about.root, about.dataset)}")
    is_there = os.path.lexists(f"{moved}/{MARK}-{about.split}") and not is_same(moved, about.root)
    return moved if is_there else ""


def dataset_of(view: str, about: Description) -> str:
    """Return the dataset that a view leads to, if both were moved together since the metadata was
    made; otherwise an empty text.

    Args:
        view: The folder of the view.
        about: The content of ``metadata-SPLIT.json``.
    """
    if about.root == about.dataset or not os.path.lexists(f"{view}/{MARK}-{about.split}"):
        return ""
    way = os.path.relpath(about.dataset, about.root)
    moved = os.path.normpath(os.path.join(os.path.realpath(view), way))
    return "" if is_same(view, about.root) or not finds_folder(moved) else moved


def through_view(dataset: str, view: str, layout: str) -> str:
    """Return the message for a user who gives DINOv3 a dataset as root that it cannot read."""
    why = f"its layout is {layout}"
    if layout == "imagenet":
        why = "its splits are not in train/, val/ and test/"
    return (
        f"DINOv3 cannot read the images in {dataset}, because {why}. It reads them through links "
        f"in a view: train with root={view}"
    )


def check_layout(
    layout: str, dataset: str, extra: str, folders: Folders, given: bool = False
) -> None:
    """Check the layout, and that ``extra`` and ``folders`` are suitable for it.

    Args:
        layout, dataset, extra: The layout, the dataset's folder, and that for the metadata.
        folders: See ``layouts.split_folders``.
        given: Whether the user has set ``folders``.

    Raises:
        MetadataError: There is no such layout, it does not take ``folders``, or the metadata files
            would be among the images.
    """
    if layout not in LAYOUTS:
        raise MetadataError(f"config: layout: {layout!r} is not one of auto, {', '.join(LAYOUTS)}.")
    if given and layout in ("kaggle", "tiny-imagenet"):
        raise MetadataError(
            f"config: folders: the layout {layout} has folders of its own. To use others, set "
            "`layout: folder`."
        )
    for paths in folders.values():
        for path in (os.path.realpath(os.path.join(dataset, path)) for path in paths):
            if os.path.commonpath([os.path.realpath(extra), path]) == path:
                raise _inside_split(extra, path)
    among = "" in part_of(dataset, layout, "TRAIN", folders).paths
    if among and is_same(dataset, extra):
        raise MetadataError(
            f"config: extra: the metadata files cannot be among the images in {dataset}. Choose a "
            "folder below it or elsewhere."
        )


def hold_out_val(
    dataset: str, layout: str, folders: Mapping[str, list[str]], given: bool
) -> dict[str, list[str]]:
    """Return the folders of the splits if VAL is a part of TRAIN: those of TRAIN for VAL, too.

    Args:
        dataset, layout: The dataset's folder and its layout.
        folders: See ``layouts.split_folders``; with VAL, if a folder is called like it.
        given: Whether the user has set the folder of VAL.

    Raises:
        MetadataError: VAL has a folder of its own.
    """
    if layout in ("kaggle", "tiny-imagenet"):
        path = part_of(dataset, layout, "VAL", folders).folder
        raise MetadataError(
            f"config: holdout: the layout {layout} has a folder of VAL, {path}/. Remove `holdout`. "
            "Or set `layout: folder`, and move that folder out of root."
        )
    own = f"{dataset}/{folders.get('VAL', [split_folder('VAL')])[0]}"
    if "VAL" in folders or finds(own):
        cure = "remove VAL from `folders`" if given else "move that folder out of root"
        raise MetadataError(
            f"config: holdout: VAL has a folder of its own, {own}. Remove `holdout`, or {cure}."
        )
    return {**folders, "VAL": part_of(dataset, layout, "TRAIN", folders).paths}


def check_root(dataset: str, known: bool = False) -> None:
    """Check that a root whose layout was not detected contains at least one split folder, and not
    beside those of VAL and TEST alone some folders that may be classes.

    Args:
        dataset: The dataset's folder.
        known: Whether TRAIN is not asked for, or is in a folder with another name.

    Raises:
        MetadataError: It does not. The message suggests what the user may have meant.
    """
    names = list(map(split_folder, SPLITS))
    beside = any(finds(f"{dataset}/{name}") for name in names[1:])
    if not known and beside and not finds(f"{dataset}/{names[0]}"):
        full = _like_classes(dataset)
        if len(full) > 1:
            raise MetadataError(
                f"config: root: {dataset} contains no {names[0]}/, but folders with images "
                f"({_some(full)}). If these are classes, move them to {dataset}/{names[0]}/. If "
                "they are not, set `layout: flat`."
            )
    if not known and not any(finds_folder(f"{dataset}/{name}") for name in names):
        raise MetadataError(
            f"config: root: {dataset} contains none of {', '.join(f'{one}/' for one in names)}. "
            f"{_meant(dataset)}"
        )


def check_flat(dataset: str, train: str) -> None:
    """Check that no folders beside a TRAIN without class folders may be classes, as it may be one.

    Args:
        dataset: The dataset's folder.
        train: The path of TRAIN's folder below it; empty if it is the dataset itself.

    Raises:
        MetadataError: Some folders may be.
    """
    if train and (full := _like_classes(dataset)):
        raise MetadataError(
            f"config: root: {dataset} has images in {train}/ and in folders beside it "
            f"({_some(full)}). If these are classes, and {train}/ is one of them, move all of them "
            "to a new folder in root and set `folders: {TRAIN: <FOLDER>}`. If only the images in "
            f"{train}/ are meant, set `layout: flat` or `folders: {{TRAIN: {train}}}`."
        )


def _like_classes(dataset: str) -> list[str]:
    """Return the sorted names of the folders in a dataset that have images directly in them, and
    are not called like splits."""
    return sorted(
        one
        for one in class_folders(dataset)
        if may_hold_images(dataset, one)
        and not any(may_be(one, split) for split in SPLITS)
        and _starts_with_images(f"{dataset}/{one}")
    )


def _starts_with_images(folder: str) -> bool:
    """Return whether there is an image among the first files of a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        return any(is_image(entry.name) for entry in islice(entries, LOOKED_AT))
    return False


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if names[3:] else "")


def _meant(dataset: str) -> str:
    """Return what the user may have meant by a root without a split folder."""
    parent, name = os.path.split(dataset)
    if split_of(name):
        return f"Use the folder that contains {name}/: {parent}."
    below = sorted(one for one in class_folders(dataset) if not split_of(one))
    for one in below:
        like = folders_like_splits(f"{dataset}/{one}")
        if may_hold_images(dataset, one) and any(like.values()):
            return f"{dataset}/{one} does: use it as `root`."
    full = [*folders_with_images(dataset, below)]
    shown = _some(full)
    direct = [one for one in full if holds_images(f"{dataset}/{one}")]
    if len(direct) > 1:
        return (
            f"If its folders ({_some(direct)}) are classes, move them to {dataset}/train/. If they "
            "are not, set `layout: flat`."
        )
    if direct:
        train = direct[0] if direct[0].isprintable() else "<FOLDER>"
        others = [one for one in full if one not in direct]
        return (
            f"If the images in {direct[0]}/ are meant, set `folders: {{TRAIN: {train}}}`, which "
            "makes them one class."
        ) + (f" To take those below {_some(others)} with them, set `layout: flat`." * bool(others))
    train = next((one for one in full if may_be(one, "TRAIN") and one.isprintable()), "<FOLDER>")
    if full:
        from .nested import deeper  # only this message needs it

        if train != "<FOLDER>":
            train = deeper(dataset, train)
        return (
            f"Its images are in folders below {shown}. If one of these contains class folders, set "
            f"`folders: {{TRAIN: {train}}}`. If none does, set `layout: flat`."
        )
    return "Use the folder that contains them."


def check_folders(dataset: str, extra: str) -> None:
    """Check what a schema cannot: that the folders exist and can be used together.

    Raises:
        MetadataError: ``root`` is not a folder, or ``extra`` is in a split folder or has a path
            that Snakemake cannot handle.
    """
    if "\0" in dataset + extra:
        raise MetadataError(
            "config: root or extra contains a NUL character, which a path cannot contain."
        )
    if not finds_folder(dataset):
        raise MetadataError(f"config: root: {dataset} is not a folder.")
    if os.path.exists(extra) and not os.path.isdir(extra):
        raise MetadataError(f"config: extra: {extra} is a file, but must be a folder.")
    if "{" in extra or "}" in extra:
        raise MetadataError(
            f"config: extra: {extra} has braces, which Snakemake reads as wildcards in a path. "
            "Choose a folder without them."
        )
    try:
        extra.encode()
    except UnicodeEncodeError:
        raise MetadataError(
            f"config: extra: {extra} has bytes that are not UTF-8. Choose a folder without them."
        ) from None
    if not extra.isprintable():
        raise MetadataError(
            f"config: extra: {extra} has a control character, which Snakemake would print. "
            "Choose a folder without it."
        )
    if len(extra.encode()) > LONGEST:
        raise MetadataError(
            f"config: extra: the path is too long: {len(extra.encode()):,} bytes, but "
            f"Snakemake can handle only {LONGEST:,}. Choose a folder with a shorter path."
        )
    real = os.path.realpath(extra)
    for split in SPLITS:
        folder = os.path.realpath(os.path.join(dataset, split_folder(split)))
        if os.path.commonpath([real, folder]) == folder:
            raise _inside_split(extra, folder)


def _inside_split(extra: str, folder: str) -> MetadataError:
    return MetadataError(
        f"config: extra: {extra} is in the split folder {folder}. Choose root itself or a folder "
        "elsewhere."
    )
