"""Sweep: remove the retired links of a view once no published row needs them any more.

A link is removed only if it leads into the dataset and the records of the view and of its scan both
list it as retired. Removing links changes the timestamps of their folders, so the new states are
written into these records. Otherwise the next run would list all these folders again. If anything
but the retired links changed in a folder, its old state stays in the records, and the next run does
list it again.

If a run is killed before the sweep, the links stay, and every scan leaves them out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from ..errors import MetadataError, count, logger
from ..fingerprint import State, folder_state, read_record, rewrite_record
from ..paths import StrPath, path_of
from ..published import States
from ..walk import wait_for_a_tick
from .links import ViewFolder


class _Touched(NamedTuple):
    """A folder of the view from which links were removed.

    Attributes:
        before: The state of the folder just before.
        names: All names that it should still contain.
        now: The state of the folder just after.
    """

    before: State
    names: set[str]
    now: State


def sweep(extra: StrPath, root: str, dataset: str, states: States) -> None:
    """Remove the retired links from the views of some splits.

    Call this after these states have been published, while the run still holds its lock. A link
    that cannot be removed is named in a warning and stays retired, which does no harm to the
    metadata.

    Args:
        extra: The folder for the metadata.
        root: The folder of the view, which DINOv3 uses as root.
        dataset: The dataset's folder.
        states: Split -> the names of its state, see ``present.Present.state``.
    """
    for split, state in states.items():
        if not state["view"]:
            continue
        paths = [path_of(extra, name, **state) for name in ("view", "folders")]
        view, scan = map(read_record, paths)
        if not view or not scan or not view.retired or view.retired != scan.retired:
            continue
        by_names = any(noted and noted.names for noted in view.folders.values())
        try:
            with ViewFolder(root, split, os.fspath(extra), dataset) as folder:
                left, touched = _remove(folder, view.retired, trust_timestamps=not by_names)
                removed = set(view.retired).difference(left)
                _note(paths[0], f"{folder.path}/", removed, left, touched)
                _note(paths[1], "", removed, left, touched)
                folder.old_links = bool(left)
        except (OSError, MetadataError) as error:
            logger.warning("%s: old links of the view could not be removed (%s).", root, error)
        else:
            logger.info("view of %s: %s removed", split, count(len(removed), "old link"))


def _remove(
    view: ViewFolder, retired: Iterable[str], trust_timestamps: bool
) -> tuple[list[str], dict[str, _Touched]]:
    """Remove retired links.

    Args:
        view: The view, inside its ``with`` block.
        retired: The links and folders of links to remove, by their path below the split's folder.
        trust_timestamps: How to read the states of folders, see ``fingerprint.folder_state``.

    Returns:
        The links that could not be removed, and path -> folder from which links were removed. All
        paths are below the split's folder. Folders in which anything else changed are left out.
    """
    groups: dict[str, list[str]] = {}
    for path in retired:
        above, _, name = path.rpartition("/")
        groups.setdefault(above, []).append(name)
    left: list[str] = []
    touched: dict[str, _Touched] = {}
    for above, names in groups.items():
        below = f"{view.folder}/{above}".rstrip("/")
        with suppress(FileNotFoundError), view.opened(below) as folder:
            there = set(os.listdir(folder))
            before = folder_state(f"{view.root}/{below}", trust_timestamps)
            for name in there.intersection(names):
                try:
                    view.remove(folder, f"{below}/{name}")
                    there.remove(name)
                except MetadataError as error:
                    left.append(f"{above}/{name}".lstrip("/"))
                    logger.warning("%s", error)
            now = folder_state(f"{view.root}/{below}", trust_timestamps)
            touched[above] = _Touched(before, there, now)
    view.bring_to_disk()
    if trust_timestamps:
        wait_for_a_tick(swept.now for swept in touched.values())
    for above, swept in [*touched.items()]:
        with view.opened(f"{view.folder}/{above}".rstrip("/")) as folder:
            if set(os.listdir(folder)) != swept.names:
                del touched[above]
    return sorted(left), touched


def _note(
    path: str,
    prefix: str,
    removed: Iterable[str],
    left: list[str],
    touched: dict[str, _Touched],
) -> None:
    """Replace the states of swept folders in a record.

    A state is replaced only if the record has the state that the folder had before the sweep.

    Args:
        path: The record.
        prefix: The start of the paths of the split's folders in this record.
        removed: The links and folders that were removed.
        left: The links and folders that stay retired.
        touched: Path -> folder from which links were removed, see ``_remove``.
    """
    record = read_record(path)
    if record is None:
        return
    folders = dict(record.folders)
    for name in removed:
        folders.pop(f"{prefix}{name}", None)
    for above, swept in touched.items():
        folder = f"{prefix}{above}" if above else prefix.rstrip("/")
        if folders.get(folder) == swept.before:
            folders[folder] = swept.now
    rewrite_record(path, record._replace(folders=folders, retired=tuple(left)))
