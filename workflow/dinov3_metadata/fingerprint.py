"""Fingerprints: names for the state of code, files and folders, cheap enough for every start.

The path of a work file contains the fingerprints of its inputs, so a stage has work to do exactly
when the file for the current inputs does not exist. That holds whatever happened to Snakemake's own
records: they note the new state even for a job that failed (snakemake#3808), and do not follow the
work folder to another working directory.

This module is imported at every start and uses the standard library alone.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from .disk import read_file, read_json
from .errors import DatasetChangedError, count, printable
from .files import write_atomically
from .paths import StrPath


class FolderState(NamedTuple):
    """What shows that the names in a folder are still the same, and what its links lead to.

    Attributes:
        mtime, ctime: In ns; 0 where timestamps are not used.
        inode: 0 likewise.
        names: A digest of the names and of what each of them is, links followed, where timestamps
            are unreliable or the links lead into too many folders; empty otherwise.
        watched: Folder -> state of the folders that hold the files which the links lead to, so that
            a file that is replaced by a folder there is noticed.
    """

    mtime: int = 0
    ctime: int = 0
    inode: int = 0
    names: str = ""
    watched: Mapping[str, "State"] = {}


State = FolderState | None
"""The state of a folder; None if nothing is there."""

A_FILE = FolderState(inode=-1)  # in the place of a folder
UNREAD = FolderState(mtime=-1)  # of a folder that the next look must list again
TOO_MANY = FolderState(names="?")  # likewise, and by its names: its links lead into many folders


def was_folder(state: State) -> bool:
    """Whether a folder was there."""
    return state is not None and state != A_FILE


def has_times(state: State) -> bool:
    """Whether a state holds the timestamps of a folder."""
    return was_folder(state) and state != UNREAD and state is not None and not state.names


def digest(*parts: object) -> str:
    """Twelve hexadecimal digits that stand for the ``repr`` of some plain values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


@lru_cache
def of_code(*modules: str) -> str:
    """The state of some modules of this package: an upgrade redoes the stages that use them."""
    folder = Path(__file__).parent
    return digest([(folder / f"{module}.py").read_bytes() for module in modules])


def of_content(path: StrPath) -> str:
    """The state of a small file: its content, so that touching it is no change."""
    try:
        return digest(read_file(path))
    except OSError:
        return digest(None)  # the stage that reads the file says what is wrong


def check_content(path: StrPath, now: str, expected: str | None) -> None:
    """Check that a file is still what was read or named, so that nothing is published that was
    never true at one time.

    Args:
        path: The file, for the message.
        now: Its fingerprint.
        expected: What its fingerprint was; empty or None if it does not matter.

    Raises:
        DatasetChangedError: It has changed.
    """
    if expected and now != expected:
        raise DatasetChangedError(f"{path} changed during this run. Run the same command again.")


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, links followed, or may be one that cannot be looked at.

    A link that leads nowhere, or to itself, is not.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        return error.errno != errno.ELOOP


def _kind(entry: os.DirEntry[str]) -> int:
    """The file type of an entry, links followed, or the error number of a link that fails."""
    for is_kind, kind in ((entry.is_file, stat.S_IFREG), (entry.is_dir, stat.S_IFDIR)):
        if is_kind(follow_symlinks=False):
            return kind
    try:
        return stat.S_IFMT(entry.stat().st_mode)
    except OSError as error:
        return error.errno or 0


def folder_state(folder: StrPath, trust_timestamps: bool = True) -> State:
    """The state of a folder, without the folders in it and those that its links lead into.

    Every name that is added, removed or replaced changes mtime and ctime. ctime cannot be set back,
    and the inode distinguishes a folder from another that was put in its place.

    Args:
        folder: The folder.
        trust_timestamps: False makes a digest of the names instead, for file systems whose
            timestamps are unreliable.
    """
    try:
        if trust_timestamps:
            found = os.stat(folder)
            if not stat.S_ISDIR(found.st_mode):
                return A_FILE
            return FolderState(found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        with os.scandir(folder) as entries:
            names = digest(sorted((entry.name, _kind(entry)) for entry in entries))
            return FolderState(names=names)
    except NotADirectoryError:
        return A_FILE
    except (OSError, ValueError):  # a forged record may name what cannot be a path
        return None


def state_as_noted(
    folder: StrPath,
    noted: State,
    trust_timestamps: bool = True,
    state_of: Callable[[str], State] = folder_state,
) -> State:
    """The state of a folder, made as ``noted`` was, so that both are equal if nothing changed.

    Args:
        folder: The folder.
        noted: An earlier state of it.
        trust_timestamps: See ``folder_state``.
        state_of: Reads the state of a folder that links lead into. A function that remembers its
            results saves time where many links lead into the same folder.
    """
    by_names = noted is not None and bool(noted.names)
    state = folder_state(folder, trust_timestamps and not by_names)
    if noted and noted.watched and state and has_times(state):
        return state._replace(watched={path: state_of(path) for path in noted.watched})
    return state


def has_links(folder: StrPath) -> bool:
    """Whether a folder has links in it; none of its timestamps change when their targets do."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.is_symlink() for entry in entries)
    except OSError:
        return False


def class_folders(folder: StrPath) -> list[str]:
    """The names of the folders in a split folder, links followed; unsorted."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if is_folder(entry)]
    except OSError:
        return []


def folder_states(
    folder: StrPath, classes: bool = True, trust_timestamps: bool = True
) -> dict[str, State]:
    """The states of a split folder, named by the empty string, and of its class folders.

    Args:
        folder: The split folder.
        classes: Whether there are class folders in it; otherwise it is flat.
        trust_timestamps: See ``folder_state``.
    """
    return {"": folder_state(folder, trust_timestamps)} | {
        name: folder_state(f"{os.fspath(folder)}/{name}", trust_timestamps)
        for name in (class_folders(folder) if classes else ())
    }


def changed_folders(one: dict[str, State], other: dict[str, State]) -> list[str]:
    """The folders whose states differ, and those that only one of the two has, sorted."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


class Record(NamedTuple):
    """What a stage notes of the folders that it visited: ``folders.json`` beside its files.

    Attributes:
        settings: The fingerprint of everything else that the stage depends on.
        folders: Path below the split folder (or absolute) -> state.
        after: What else it was made from: for a scan the view, for a view the annotations.
        retired: The links and folders of a view that are to be removed after the next publication,
            by their path below the split's folder; a scan of the view leaves them out.
    """

    settings: str
    folders: dict[str, State]
    after: str = ""
    retired: tuple[str, ...] = ()


def write_record(path: StrPath, record: Record) -> None:
    """Write a record."""
    with write_atomically(path) as file:
        file.write(_to_json(record))


def rewrite_record(path: StrPath, record: Record) -> None:
    """Write a record and keep the time of its file, so that what Snakemake made from it is not out
    of date."""
    before = os.stat(path)
    with write_atomically(path) as file:
        file.write(_to_json(record))
        file.flush()
        os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))


def _to_json(record: Record) -> bytes:
    return json.dumps(record._asdict()).encode()


def read_record(path: StrPath) -> Record | None:
    """Read what ``write_record`` wrote; None if the file is missing or damaged."""
    noted = read_json(path)
    settings, folders, after, retired = map(noted.get, Record._fields)
    if not (isinstance(settings, str) and isinstance(folders, dict)):
        return None
    texts = retired if isinstance(retired, list) else []
    try:
        states = {name: _parse_state(value) for name, value in folders.items()}
    except (TypeError, ValueError):
        return None
    left_out = tuple(sorted(one for one in texts if isinstance(one, str)))
    return Record(settings, states, after if isinstance(after, str) else "", left_out)


def _parse_state(value: Any) -> State:
    """The state that JSON holds.

    Raises:
        TypeError, ValueError: It is none.
    """
    if value is None:
        return None
    mtime, ctime, inode, names, watched = value
    if [*map(type, value)] != [int, int, int, str, dict]:
        raise ValueError("not the state of a folder")
    if watched:
        watched = {path: _parse_state(state) for path, state in watched.items()}
    return FolderState(mtime, ctime, inode, names, watched)


def read_retired(path: StrPath) -> frozenset[str]:
    """What a record notes as retired; nothing without a record, or for an empty path."""
    record = read_record(path) if path else None
    return frozenset(record.retired) if record else frozenset()


def last_records(paths: Iterable[str], settings: str) -> Iterator[tuple[str, Record]]:
    """Those of some records that were made with the same settings, the newest first."""
    for path in sorted(paths, key=lambda path: os.stat(path).st_mtime_ns, reverse=True):
        record = read_record(path)
        if record and record.settings == settings:
            yield path, record


def changed_since(records: dict[str, str], contents: dict[str, str]) -> list[str]:
    """The folders and files that are no longer as noted, by their paths, sorted.

    If there are none, all of them were as noted at one moment: when this function was called.

    Args:
        records: Folder -> the record of the states of that folder and of others.
        contents: File -> its fingerprint, see ``of_content``.
    """
    changed = {path for path, content in contents.items() if of_content(path) != content}
    state_of = lru_cache(maxsize=None)(folder_state)
    for folder, path in records.items():
        record = read_record(path)
        if not record:
            changed |= {folder, path}
            continue
        now = {
            name: state_as_noted(os.path.join(folder, name), state, state_of=state_of)
            for name, state in record.folders.items()
        }
        changed.update(os.path.join(folder, name) for name in changed_folders(record.folders, now))
    return sorted(changed)


class Tree(NamedTuple):
    """The scan (or view) that matches the current state of a folder.

    Attributes:
        name: Its name.
        why: Why it must be made, if it must.
    """

    name: str = ""
    why: str = ""


def of_tree(
    folder: StrPath,
    records: Iterable[tuple[str, StrPath]],
    settings: str,
    *,
    classes: bool = True,
    trust_timestamps: bool = True,
    after: str = "",
    published: str = "",
) -> Tree:
    """Find the scan that matches a split folder's current state, or a name for a new scan.

    A scan matches if it was made with the same settings, and every folder that it visited is in the
    state that it noted, as is every link that might have led to a folder, and every folder that its
    links lead into, and there is no other folder except those that it left out (see ``Record``).
    A new name also hashes the outdated records, so it can never equal the name of an outdated scan.

    Args:
        folder: The split folder.
        records: The name and the record of each scan that there is.
        settings: Stands for everything else that a scan depends on.
        classes: Whether there are class folders in the split folder.
        trust_timestamps: See ``folder_state``.
        after: See ``Record``.
        published: The name of the scan that was published last. A new name differs from it even if
            its record is missing, so that what was published does not count as current.
    """
    now = folder_states(folder, classes, trust_timestamps)
    why = f"{count(len(now), 'folder')}, none of them scanned before"
    outdated = []
    state_of = lru_cache(maxsize=None)(folder_state)
    for name, path in records:
        record = read_record(path)
        outdated.append((name, record))
        if record is None or record.settings != settings:
            why = f"{count(len(now), 'folder')}, scanned before with other settings or code"
            continue
        retired = set(record.retired)
        states = {one: state for one, state in now.items() if one not in retired}
        for one, noted in record.folders.items():
            special = trust_timestamps and noted and (noted.watched or noted.names)
            if one not in now or special:
                inner = os.path.join(folder, one)
                states[one] = state_as_noted(inner, noted, trust_timestamps, state_of)
        changed = changed_folders(states, record.folders)
        if not changed and record.after != after:
            why = "the view of the dataset changed"
            continue
        if not changed:
            return Tree(name, "nothing changed")
        shown = ", ".join(printable(one) or "the split folder" for one in islice(changed, 3))
        more = ", ..." if len(changed) > 3 else ""
        why = f"{len(changed):,} of {count(len(states), 'folder')} changed: {shown}{more}"
    new = digest(settings, after, sorted(now.items()), outdated, published)
    return Tree(f"{len(now)}-folders-{new}", why)


def folders_in(name: str) -> int:
    """How many folders there were, as the name of a ``Tree`` says."""
    return int(name.partition("-")[0])
