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
from pathlib import Path
from typing import NamedTuple

from .errors import MetadataError, count, logger
from .fingerprint import RECORD, State, folder_state, read_record, read_retired, update_record
from .layout import WORK, StrPath
from .scan import wait_for_a_tick
from .viewfolder import ViewFolder


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


def sweep(extra: StrPath, origin: dict[str, str], states: dict[str, dict[str, str]]) -> None:
    """Remove the retired links of the views of some splits. To be called after the publication of
    these states, under the lock of the run.

    What cannot be removed is named in a warning and stays retired: the metadata is right anyway.

    Args:
        extra: The folder for the metadata.
        origin: See ``Chain.origin``.
        states: Split -> the names of its state, see ``Chain.state``.
    """
    work = Path(extra, WORK)
    for split, state in states.items():
        if not state["view"]:
            continue
        view = work / "views" / split / state["view"] / RECORD
        scan = work / split / state["tree"] / RECORD
        retired = read_retired(view)
        if not retired or retired != read_retired(scan):
            continue
        try:
            with ViewFolder(origin["root"], split, os.fspath(extra), origin["dataset"]) as folder:
                left, touched = _remove(folder, sorted(retired), _trusts_timestamps(view))
                removed = retired.difference(left)
                _note(view, f"{folder.path}/", removed, left, touched)
                _note(scan, "", removed, left, touched)
                folder.old_links = bool(left)
        except (OSError, MetadataError) as error:
            logger.warning("%s: old links of the view stay (%s).", origin["root"], error)
        else:
            logger.info("%s: %s removed", folder.path, count(len(removed), "old link"))


def _trusts_timestamps(record: Path) -> bool:
    """Whether the states in a record are times of folders, not digests of names."""
    folders = (read_record(record) or {"folders": {}})["folders"]
    return not any(state and isinstance(state[0], str) for state in folders.values())


def _remove(
    view: ViewFolder, retired: list[str], trust_timestamps: bool
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
            before = folder_state(f"{view.view}/{below}", trust_timestamps)
            for name in there.intersection(names):
                try:
                    view.remove(folder, f"{below}/{name}")
                    there.remove(name)
                except MetadataError as error:
                    left.append(f"{above}/{name}".lstrip("/"))
                    logger.warning("%s", error)
            now = folder_state(f"{view.view}/{below}", trust_timestamps)
            touched[above] = _Touched(before, there, now)
    view.bring_to_disk()
    if trust_timestamps:
        wait_for_a_tick([one.now for one in touched.values()])
    for above, one in [*touched.items()]:
        with view.opened(f"{view.folder}/{above}".rstrip("/")) as folder:
            if set(os.listdir(folder)) != one.names:
                del touched[above]
    return sorted(left), touched


def _note(
    record: Path,
    prefix: str,
    removed: Iterable[str],
    left: list[str],
    touched: dict[str, _Touched],
) -> None:
    """Put the new states of folders into a record that held the ones before.

    Args:
        record: The record.
        prefix: What the paths of the split's folders begin with in this record.
        removed: The links and folders that are no longer there.
        left: Those that are still retired.
        touched: The folders in which they were.
    """
    noted = read_record(record)
    folders = dict(noted["folders"]) if noted else {}
    for name in removed:
        folders.pop(f"{prefix}{name}", None)
    for above, one in touched.items():
        path = f"{prefix}{above}" if above else prefix.rstrip("/")
        if folders.get(path) == one.before:
            folders[path] = one.now
    update_record(record, {"folders": folders, "retired": left})
