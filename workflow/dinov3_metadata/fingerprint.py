"""Fingerprints: name the state of code, files and folders, cheaply enough for every start.

The path of a work file contains the fingerprints of its inputs, so a stage has work to do exactly
when the file for the current inputs does not exist. Snakemake's own records are not enough for
that: they note the new state even if a job failed (snakemake#3808), and do not follow the work
folder to another working directory.

This module is imported at every start and uses the standard library alone.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from .disk import read_file, read_json
from .errors import DatasetChangedError
from .files import write_atomically
from .look import ask, in_threads
from .paths import StrPath


class FolderState(NamedTuple):
    """What is compared to find out whether a folder's names, or the targets of its links, changed.

    Attributes:
        mtime, ctime: The timestamps in ns; 0 if they are not used.
        inode: The inode; 0 if the timestamps are not used.
        names: A digest of the names and their file types, links followed. It is used if timestamps
            are unreliable or the links lead into too many folders; otherwise it is empty.
        watched: Folder -> state, for the folders that contain the files which the links lead to. It
            shows when such a file is replaced by a folder.
    """

    mtime: int = 0
    ctime: int = 0
    inode: int = 0
    names: str = ""
    watched: Mapping[str, "State"] = {}


State = FolderState | None
"""The state of a folder; None if nothing is there."""

A_FILE = FolderState(inode=-1)  # there is a file where the folder should be
UNREAD = FolderState(mtime=-1)  # the next look must list this folder again
TOO_MANY = FolderState(names="?")  # list it again and compare its names


def was_folder(state: State) -> bool:
    """Return whether there was a folder."""
    return state is not None and state != A_FILE


def has_times(state: State) -> bool:
    """Return whether a state contains the timestamps of a folder."""
    return was_folder(state) and state != UNREAD and state is not None and not state.names


def digest(*parts: object) -> str:
    """Return twelve hexadecimal digits: a hash of the ``repr`` of some plain values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


@lru_cache
def of_code(*modules: str) -> str:
    """Return the fingerprint of some modules of this package.

    After an upgrade, the stages that use changed modules therefore run again.
    """
    folder = Path(__file__).parent
    return digest([(folder / f"{module}.py").read_bytes() for module in modules])


def of_content(path: StrPath) -> str:
    """Return the fingerprint of a small file's content. Touching the file does not change it."""
    try:
        return digest(read_file(path))
    except OSError:
        return digest(None)  # the stage that reads the file says what is wrong


def check_content(path: StrPath, now: str, expected: str | None) -> None:
    """Check that a file has not changed since its content was read or its fingerprint was taken.

    Otherwise a run might publish metadata that was not right at any time.

    Args:
        path: The file, for the message.
        now: Its fingerprint.
        expected: Its former fingerprint; empty or None if a change does not matter.

    Raises:
        DatasetChangedError: It has changed.
    """
    if expected and now != expected:
        raise DatasetChangedError(f"{path} changed during this run. Run the same command again.")


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, links followed.

    An entry that cannot be examined counts as a folder. A dangling link and a link loop do not.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        return error.errno != errno.ELOOP


def _kind(entry: os.DirEntry[str]) -> int:
    """Return the file type of an entry, links followed; for a broken link the error number."""
    for is_kind, kind in ((entry.is_file, stat.S_IFREG), (entry.is_dir, stat.S_IFDIR)):
        if is_kind(follow_symlinks=False):
            return kind
    try:
        return stat.S_IFMT(entry.stat().st_mode)
    except OSError as error:
        return error.errno or 0


def folder_state(folder: StrPath, trust_timestamps: bool = True) -> State:
    """Return the state of a folder, without its subfolders and the folders its links lead into.

    mtime and ctime change when a name is added, removed or replaced. ctime cannot be set back, and
    the inode distinguishes the folder from another one that was put in its place.

    Args:
        folder: The folder.
        trust_timestamps: False uses a digest of the names instead of the timestamps, for file
            systems whose timestamps are unreliable.
    """
    try:
        if trust_timestamps:
            found = ask(folder)
            if not stat.S_ISDIR(found.mode):
                return A_FILE
            return FolderState(found.mtime, found.ctime, found.inode)
        with os.scandir(folder) as entries:
            names = digest(sorted((entry.name, _kind(entry)) for entry in entries))
            return FolderState(names=names)
    except NotADirectoryError:
        return A_FILE
    except (OSError, ValueError):  # a forged record may contain an impossible path
        return None


def tar_state(path: StrPath) -> State:
    """Return the state of a tar: its times, its inode and, as ``names``, its size."""
    try:
        found = ask(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.mode):
        return None
    return FolderState(found.mtime, found.ctime, found.inode, f"{TAR}{found.size}")


def tar_names(folder: StrPath) -> list[str]:
    """Return the sorted names of the tars in a folder, without hidden ones; nothing if it cannot be
    listed."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(".tar")]
    except OSError:
        return []
    return sorted((name for name in names if name[0] != "."), key=lambda name: name[: -len(".tar")])


def tar_states(folder: StrPath) -> dict[str, State]:
    """Return the states of the tars in a folder and, under the empty string, what they are called.

    The times of the folder do not count, because it may be that for the metadata, too.
    """
    names = tar_names(folder)
    states = in_threads(tar_state, [os.path.join(folder, name) for name in names])
    return {"": _called(names), **dict(zip(names, states, strict=True))}


def _called(names: list[str]) -> FolderState:
    return FolderState(names=f"{TARS}{digest(names)}")


TAR, TARS = "tar of ", "tars "
"""How ``names`` begins in the state of a tar, and in that of a folder of tars."""


def state_as_noted(
    folder: StrPath,
    noted: State,
    trust_timestamps: bool = True,
    state_of: Callable[[str], State] = folder_state,
) -> State:
    """Return the state of a folder, taken in the same way as ``noted``; equal if nothing changed.

    Args:
        folder: The folder.
        noted: An earlier state of it.
        trust_timestamps: See ``folder_state``.
        state_of: Returns the state of a folder that links lead into. A function that remembers its
            results saves time where many links lead into the same folder.
    """
    if noted and noted.names.startswith(TAR):
        return tar_state(folder)
    if noted and noted.names.startswith(TARS):
        return _called(tar_names(folder))
    by_names = noted is not None and bool(noted.names)
    state = folder_state(folder, trust_timestamps and not by_names)
    if noted and noted.watched and state and has_times(state):
        return state._replace(watched={path: state_of(path) for path in noted.watched})
    return state


def states_as_noted(
    folder: StrPath,
    noted: Mapping[str, State],
    trust_timestamps: bool = True,
    state_of: Callable[[str], State] = folder_state,
) -> dict[str, State]:
    """Do the same as ``state_as_noted`` for several folders, by their paths below ``folder``."""

    def look_again(name: str) -> State:
        path = os.path.join(folder, name)
        return state_as_noted(path, noted[name], trust_timestamps, state_of)

    return dict(zip(noted, in_threads(look_again, [*noted]), strict=True))


def has_links(folder: StrPath) -> bool:
    """Return whether a folder contains links, whose targets can change without its timestamps."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.is_symlink() for entry in entries)
    except OSError:
        return False


def folders_in(folder: StrPath) -> list[str]:
    """Return the names of the folders in a folder, links followed; unsorted.

    Raises:
        OSError: It cannot be listed.
    """
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if is_folder(entry)]


def class_folders(folder: StrPath) -> list[str]:
    """Return ``folders_in`` a split folder; nothing if it cannot be listed."""
    try:
        return folders_in(folder)
    except OSError:
        return []


def folder_states(
    folder: StrPath,
    classes: bool = True,
    trust_timestamps: bool = True,
    tops: Sequence[str] = ("",),
) -> dict[str, State]:
    """Return the states of a split folder, under the empty string, and of its class folders.

    Args:
        folder: The split folder.
        classes: Whether there are class folders in it; otherwise it is flat.
        trust_timestamps: See ``folder_state``.
        tops: The paths below ``folder`` to take in its place, if the split is in several folders.
    """
    above = os.fspath(folder)
    names = [*tops, *(class_folders(folder) if classes else ())]
    paths = [f"{above}/{name}" if name else above for name in names]
    state_of = partial(folder_state, trust_timestamps=trust_timestamps)
    return dict(zip(names, in_threads(state_of, paths), strict=True))


def changed_folders(one: dict[str, State], other: dict[str, State]) -> list[str]:
    """Return the folders whose states differ and those that only one side has, sorted."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


Others = Mapping[str, tuple[int, str]]
"""What was left out of a folder -> how many, and the name of one.

It is the suffix of files that look like images, or the name of a folder that a system made, with a
slash at its end.
"""


class Record(NamedTuple):
    """What a stage notes about the folders that it visited, in ``folders.json`` next to its files.

    Attributes:
        settings: The fingerprint of everything else that the stage depends on.
        folders: Path below the split folder (or absolute) -> state.
        after: What else it was made from: the name of the view for a scan, the fingerprint of the
            annotations for a view.
        retired: The links and folders of a view that will be removed after the next publication, by
            their path below the split folder. A scan of the view leaves them out.
        others: Folder -> what it contains beside images, see ``Others``.
        notes: What a user should know about the split, one sentence each.
    """

    settings: str
    folders: dict[str, State]
    after: str = ""
    retired: tuple[str, ...] = ()
    others: Mapping[str, Others] = {}
    notes: tuple[str, ...] = ()


def write_record(path: StrPath, record: Record) -> None:
    """Write a record."""
    with write_atomically(path) as file:
        file.write(_to_json(record))


def rewrite_record(path: StrPath, record: Record) -> None:
    """Write a record but keep the timestamps of its file.

    Otherwise Snakemake would consider the files that were made from it out of date.
    """
    before = os.stat(path)
    with write_atomically(path) as file:
        file.write(_to_json(record))
        file.flush()
        os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))


def _to_json(record: Record) -> bytes:
    return json.dumps(record._asdict()).encode()


def read_record(path: StrPath) -> Record | None:
    """Read what ``write_record`` wrote; return None if the file is missing or damaged."""
    noted = read_json(path)
    settings, folders, after, retired, others, notes = map(noted.get, Record._fields)
    if not (isinstance(settings, str) and isinstance(folders, dict)):
        return None
    try:
        states = {name: _parse_state(value) for name, value in folders.items()}
        beside = {name: _parse_others(value) for name, value in (others or {}).items()}
    except (AttributeError, TypeError, ValueError):
        return None
    left_out = tuple(sorted(_texts(retired)))
    made_from = after if isinstance(after, str) else ""
    return Record(settings, states, made_from, left_out, beside, tuple(_texts(notes)))


def _texts(value: Any) -> list[str]:
    """Return the texts in a list from JSON; nothing if it is no list."""
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _parse_others(value: Any) -> Others:
    """Convert ``Others`` from JSON.

    Raises:
        AttributeError, TypeError, ValueError: It is something else.
    """
    others = {}
    for what, (many, example) in value.items():
        if type(many) is not int or not isinstance(example, str):
            raise ValueError("not what a folder contains")
        others[what] = (many, example)
    return others


def _parse_state(value: Any) -> State:
    """Convert a state from JSON.

    Raises:
        TypeError, ValueError: It is not a state.
    """
    if value is None:
        return None
    mtime, ctime, inode, names, watched = value
    numbers = type(mtime) is type(ctime) is type(inode) is int
    if not (numbers and type(names) is str and type(watched) is dict):
        raise ValueError("not the state of a folder")
    if watched:
        watched = {path: _parse_state(state) for path, state in watched.items()}
    return FolderState(mtime, ctime, inode, names, watched)


def read_retired(path: StrPath) -> frozenset[str]:
    """Return what a record notes as retired; nothing if the path is empty or has no record."""
    record = read_record(path) if path else None
    return frozenset(record.retired) if record else frozenset()


def last_records(paths: Iterable[str], settings: str) -> Iterator[tuple[str, Record]]:
    """Yield the paths and records that were made with these settings, the newest first."""
    for path in sorted(paths, key=lambda path: os.stat(path).st_mtime_ns, reverse=True):
        record = read_record(path)
        if record and record.settings == settings:
            yield path, record


def view_in(names: Iterable[str]) -> str:
    """Return the split folder of a view, from the names in its record; empty if it is no view's."""
    return min(filter(os.path.isabs, names), key=len, default="")


def changed_since(
    records: dict[str, str], contents: dict[str, str], here: Callable[[str], str] | None = None
) -> list[str]:
    """Return the paths of the folders and files that differ from what was noted, sorted.

    If the list is empty, all of them were as noted at one moment: when this function was called.
    "The view of" a folder in the dataset stands for the folder of the view with the links to it.

    Args:
        records: Folder -> the record of the states of that folder and of others.
        contents: File -> its fingerprint, see ``of_content``.
        here: Returns where a folder is now that a record names by its absolute path; None if all
            are where they were.
    """
    changed = {path for path, content in contents.items() if of_content(path) != content}
    noted = dict[str, Record]()
    state_of = lru_cache(maxsize=None)(folder_state)
    for folder, path in records.items():
        record = read_record(path)
        if not record:
            changed |= {folder, path}
            continue
        if here:
            named = {}
            for name, at in record.folders.items():
                if at and at.watched:
                    at = at._replace(watched={here(one): was for one, was in at.watched.items()})
                named[here(name) if os.path.isabs(name) else name] = at
            record = record._replace(folders=named)
        noted[folder] = record
        now = states_as_noted(folder, record.folders, state_of=state_of)
        changed.update(os.path.join(folder, name) for name in changed_folders(record.folders, now))
    views = {view_in(record.folders): folder for folder, record in noted.items()} if changed else {}
    for view in filter(None, views):
        for path in [path for path in changed if f"{path}/".startswith(f"{view}/")]:
            changed.remove(path)
            behind = f"{views[view]}{path[len(view) :]}"
            if behind not in changed:
                changed.add(f"the view of {behind}")
    return sorted(changed)
