"""Since: find out what changed since metadata was published, wherever the dataset is now.

What moved, or is mounted elsewhere, keeps its inodes and times. So nothing counts as unchanged that
merely has the same names. Only links can be dead although no folder changed.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from .documents import load
from .errors import MetadataError
from .fingerprint import changed_since, folder_state, read_record
from .formats import Description
from .look import finds
from .paths import StrPath, absolute, path_of, work_folder
from .preflight import dataset_of, is_same
from .published import Noted, changed_classes, published_state, records_of
from .watched import Watched, image_states


def changed_since_published(root: str, extra: str, split: str, about: Description) -> list[str]:
    """Return the paths of folders and files that changed since the metadata was made from them.

    These are the folders of root, those of the dataset behind a view, and the files with labels and
    annotations.

    Args:
        root: The folder that DINOv3 takes as root, where it is now.
        extra: The folder with the metadata files.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        about: The content of ``metadata-SPLIT.json``.

    Raises:
        MetadataError: The work folder has no record of them, or they are in another place and are
            not those folders: the dataset is a copy, or another one.
    """
    root = absolute(root)
    noted, moves = published_state(extra, split), _moves(root, about)
    here = partial(_here, moves)
    dataset, records = here(about.dataset), {}
    if noted:
        records = records_of(
            noted.state,
            extra,
            root=root,
            dataset=dataset,
            layout=about.layout,
            folders=about.folders,
        )
    if not noted or not all(map(read_record, records.values())):
        raise MetadataError(
            f"{work_folder(extra)} has no record of the dataset from which the published metadata "
            f"of {split} was made. Run snakemake or dinov3_metadata.dump_extra again."
        )
    if moves and not _has_moved(records, here):
        raise MetadataError(
            f"The metadata of {split} in {extra} was made from {about.dataset}, not from "
            f"{dataset}. Correct root or extra. Or, to replace the metadata, run snakemake or "
            "dinov3_metadata.dump_extra again."
        )
    contents = {
        here(path) if finds(here(path)) else path: content
        for path, content in noted.contents.items()
    }
    changed = {
        *changed_since(records, contents, here),
        *changed_classes(dataset, about.layout, noted.classes, about.folders),
        *_repaired(extra, noted, here),
    }
    if moves and root != dataset:
        changed |= {*_dead_links(path_of(extra, "view", **noted.state), here, dataset)}
    return sorted(changed)


def repaired(extra: StrPath, split: str) -> list[str]:
    """Return the images that were left out by an audit and that have changed since."""
    noted = published_state(extra, split)
    return _repaired(extra, noted, str) if noted else []


def _repaired(extra: StrPath, noted: Noted, here: Callable[[str], str]) -> list[str]:
    """Do the same as ``repaired``, from what a receipt says.

    Args:
        extra: The folder with the metadata files.
        noted: What the receipt says about the split.
        here: Returns where a path is now.
    """
    if noted.state["sound"] == "all":
        return []
    watched = load(Watched, path_of(extra, "watched", **noted.state))
    images = {here(path): state for path, state in watched.images.items()} if watched else {}
    return [path for path, state in image_states(images).items() if images[path] != state]


def _moves(root: str, about: Description) -> dict[str, str]:
    """Return the former paths of root and the dataset -> those that they have now."""
    if is_same(root, about.root):
        return {}
    if about.root == about.dataset:
        return {about.dataset: root}
    return {about.root: root, about.dataset: dataset_of(root, about) or about.dataset}


def _has_moved(records: Mapping[str, str], here: Callable[[str], str]) -> bool:
    """Return whether a folder is the one that a record names, although at another path now.

    Args:
        records: Folder, where it is now -> the record of its state and of others.
        here: Returns where a path is now.
    """
    for folder, path in records.items():
        record = read_record(path)
        for name, noted in record.folders.items() if record else ():
            now = folder_state(os.path.join(folder, here(name) if os.path.isabs(name) else name))
            if noted and now and (noted.names or noted.inode == now.inode):
                return True
    return False


def _here(moves: Mapping[str, str], path: str) -> str:
    for before, now in moves.items():
        if f"{path}/".startswith(f"{before}/"):
            return now + path[len(before) :]
    return path


def _dead_links(record: str, here: Callable[[str], str], dataset: str) -> list[str]:
    """Return the folders of a view that moved with its dataset whose first link does not lead into
    it, as absolute links do not.

    Args:
        record: The record of the view.
        here: Returns where a path is now.
        dataset: The dataset's folder now.
    """
    noted, inside = read_record(record), f"{os.path.realpath(dataset)}/"
    dead = []
    for folder in filter(os.path.isabs, noted.folders if noted else ()):
        with suppress(OSError), os.scandir(here(folder)) as entries:
            link = next((entry.path for entry in entries if entry.is_symlink()), "")
            if link and not f"{os.path.realpath(link)}/".startswith(inside):
                dead.append(here(folder))
    return dead
