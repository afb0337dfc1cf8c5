"""Sweep: remove the retired links of a view, when the rows that needed them are published no more.

A link is removed only if the records of the view and of its scan note it, and it leads into the
dataset. The removal changes the folders whose states these records hold, so the new states are put
into them: or else the next run would look at everything that was swept again. That is done only for
a folder in which nothing but the retired links changed; any other is looked at by the next run.

A run that is killed before this leaves the links where they are, and every scan leaves them out.
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
        before: Its state, just before.
        names: All names that are in it now.
        now: Its state, just after.
    """

    before: State
    names: set[str]
    now: State


def sweep(extra: StrPath, root: str, dataset: str, states: States) -> None:
    """Remove the retired links of the views of some splits. To be called after the publication of
    these states, under the lock of the run.

    What cannot be removed is named in a warning and stays retired: the metadata is right anyway.

    Args:
        extra: The folder for the metadata.
        root: The folder of the view, which DINOv3 takes for root.
        dataset: The dataset's folder.
        states: Split -> the names of its state, see ``chain.Present.state``.
    """
    for split, state in states.items():
        if not state["view"]:
            continue
        paths = [path_of(extra, name, **state) for name in ("view", "folders")]
        view, scan = map(read_record, paths)
        if not view or not scan or not view.retired or view.retired != scan.retired:
            continue
        by_names = any(one and one.names for one in view.folders.values())
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
            logger.info("%s: %s removed", folder.path, count(len(removed), "old link"))


def _remove(
    view: ViewFolder, retired: Iterable[str], trust_timestamps: bool
) -> tuple[list[str], dict[str, _Touched]]:
    """Remove retired links.

    Returns:
        Those that are left, and the folders from which others were removed, by their path below the
        split's folder.
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
        wait_for_a_tick(one.now for one in touched.values())
    for above, one in [*touched.items()]:
        with view.opened(f"{view.folder}/{above}".rstrip("/")) as folder:
            if set(os.listdir(folder)) != one.names:
                del touched[above]
    return sorted(left), touched


def _note(
    path: str,
    prefix: str,
    removed: Iterable[str],
    left: list[str],
    touched: dict[str, _Touched],
) -> None:
    """Put the new states of folders into a record that held the ones before.

    Args:
        path: The record.
        prefix: What the paths of the split's folders begin with in this record.
        removed: The links and folders that are no longer there.
        left: Those that are still retired.
        touched: The folders in which they were.
    """
    record = read_record(path)
    if record is None:
        return
    folders = dict(record.folders)
    for name in removed:
        folders.pop(f"{prefix}{name}", None)
    for above, one in touched.items():
        folder = f"{prefix}{above}" if above else prefix.rstrip("/")
        if folders.get(folder) == one.before:
            folders[folder] = one.now
    rewrite_record(path, record._replace(folders=folders, retired=tuple(left)))
