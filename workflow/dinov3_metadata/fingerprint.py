"""Fingerprints: names for the state of code, labels and folders, cheap enough for every start.

The artefacts of a stage lie under the fingerprint of what they were made from, so a stage has work
to do exactly when the artefact of the present state does not exist. That holds whatever became of
Snakemake's own records: they name the new state even for a job that failed (snakemake#3808), and
do not follow the artefacts to another working folder.

This module is imported at every start and uses the standard library alone.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

from .disk import read_file, read_json
from .errors import DatasetChangedError, count, printable
from .files import write_atomically
from .layout import StrPath

State = list[Any] | None
"""What tells that the names in a folder are still the same, and what its links lead to:

- ``[mtime, ctime, inode]``, the times in ns;
- ``[mtime, ctime, inode, {path: state, ...}]`` if links in it lead to files: with the states of the
  folders that hold these files, so that a file that is replaced by a folder there is noticed;
- ``[digest]`` of the names and of what each of them is, links followed, where the times of folders
  mean nothing, or the links lead into too many folders;
- ``[]`` for a file, None for nothing.
"""

UNREAD: State = [0]
"""The state that no folder has."""


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


def check_content(path: StrPath, now: str, due: str | None) -> None:
    """Check that a file is still what was read or named, so that nothing is published that never
    was true at one time.

    Args:
        path: The file, for the message.
        now: Its fingerprint.
        due: What its fingerprint was; nothing if it does not matter.

    Raises:
        DatasetChangedError: It has changed.
    """
    if due and now != due:
        raise DatasetChangedError(f"{path} has changed meanwhile. Run the same command again.")


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, links followed, or may be one that can not be looked at.

    A link that leads nowhere, or to itself, is none.
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
    """The state of a folder, not of those in it, nor of those that its links lead into.

    Every name that is added, removed or replaced changes mtime and ctime; ctime can not be set
    back, and the inode tells a folder from one that was put in its place. Where the times of
    folders mean nothing, the state is a digest of the names and of what they are.
    """
    try:
        if trust_timestamps:
            state = os.stat(folder)
            if not stat.S_ISDIR(state.st_mode):
                return []
            return [state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        with os.scandir(folder) as entries:
            return [digest(sorted((entry.name, _kind(entry)) for entry in entries))]
    except NotADirectoryError:
        return []
    except (OSError, ValueError):  # a forged record may name what can not be a path
        return None


def is_digest(state: State) -> bool:
    """Whether a state was made from the names in a folder, not from its times."""
    return bool(state) and isinstance(state, list) and isinstance(state[0], str)


def watched_by(state: State) -> dict[str, State]:
    """The folders that the links in a folder lead into, and their states."""
    return state[3] if isinstance(state, list) and len(state) == 4 else {}


def state_as_noted(
    folder: StrPath,
    noted: State,
    trust_timestamps: bool = True,
    state_of: Callable[[str], State] = folder_state,
) -> State:
    """The state of a folder, made as ``noted`` was, so that the two are equal if nothing changed.

    Args:
        folder: The folder.
        noted: An earlier state of it.
        trust_timestamps: See ``folder_state``.
        state_of: Reads the state of a folder that links lead into. One that remembers what it has
            read saves time where many links lead into the same folder.
    """
    state = folder_state(folder, trust_timestamps and not is_digest(noted))
    watched = watched_by(noted)
    if watched and state and not is_digest(state):
        state.append({path: state_of(path) for path in watched})
    return state


def has_links(folder: StrPath) -> bool:
    """Whether a folder has links in it; no time of the folder changes when their targets do."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.is_symlink() for entry in entries)
    except OSError:
        return False


def class_folders(folder: StrPath) -> list[str]:
    """The names of the folders in a split folder, unsorted; none if it can not be listed."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if is_folder(entry)]
    except OSError:
        return []  # the stage that scans the folder says what is wrong


def folder_states(
    folder: StrPath, classes: bool = True, trust_timestamps: bool = True
) -> dict[str, State]:
    """The states of a split folder (named ``""``) and of the class folders in it.

    Args:
        folder: The split folder.
        classes: Whether there are class folders in it; TEST is flat.
        trust_timestamps: See ``folder_state``.
    """
    return {"": folder_state(folder, trust_timestamps)} | {
        name: folder_state(f"{os.fspath(folder)}/{name}", trust_timestamps)
        for name in (class_folders(folder) if classes else ())
    }


def changed_folders(one: dict[str, State], other: dict[str, State]) -> list[str]:
    """The folders that differ between two sets of states, came or went, sorted."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def changed_since(records: dict[str, str], contents: dict[str, str]) -> list[str]:
    """The folders and files that are not as they were noted, by their paths, sorted.

    If there are none, all of them were as noted at one moment: when this look began.

    Args:
        records: Folder -> the record of the states of that folder and of others, see
            ``write_record``.
        contents: File -> its fingerprint, see ``of_content``.
    """
    changed = {path for path, content in contents.items() if of_content(path) != content}
    state_of = lru_cache(maxsize=None)(folder_state)
    for folder, path in records.items():
        record = read_record(path)
        noted = record["folders"] if record else {"": None}
        now = {
            name: state_as_noted(os.path.join(folder, name), state, state_of=state_of)
            for name, state in noted.items()
        }
        changed.update(os.path.join(folder, name) for name in changed_folders(noted, now))
        if not record:
            changed.add(path)
    return sorted(changed)


class Tree(NamedTuple):
    """The name of a scan that is, or would be, true of a split folder as it is now, and why."""

    name: str
    why: str


def of_tree(
    work: StrPath,
    folder: StrPath,
    settings: str,
    classes: bool = True,
    trust_timestamps: bool = True,
    after: str = "",
    published: str = "",
) -> Tree:
    """Name the scan of a split folder: one that is still true if there is one, or a new name.

    A scan in ``work`` is true if it was made with the same settings and every folder that it
    visited is in the state that it noted, as is every link that might have led to a folder, and
    every folder that its links lead into, and there is no other folder but those that it left out,
    see ``write_record``. A new name depends on the records that are not true too, so that none of
    their scans can have it.

    Args:
        work: Where the scans of the split lie, each in a folder of its name.
        folder: The split folder.
        settings: Stands for everything else that a scan depends on.
        classes: Whether there are class folders in the split folder.
        trust_timestamps: See ``folder_state``.
        after: What else it was made from: of a scan the view, of a view the annotations.
        published: The name of what was published last. A new name differs from it even if its
            record is missing, so that what was published does not count as true.
    """
    now = folder_states(folder, classes, trust_timestamps)
    why = f"{count(len(now), 'folder')}, none of them scanned before"
    untrue = []
    state_of = lru_cache(maxsize=None)(folder_state)
    for record in sorted(Path(work).glob(f"*/{RECORD}")):
        noted = read_record(record)
        untrue.append((record.parent.name, noted))
        if noted is None or noted["settings"] != settings:
            why = f"{count(len(now), 'folder')}, scanned before with other settings or code"
            continue
        left_out = retired_in(noted)
        states = {name: state for name, state in now.items() if name not in left_out} | {
            name: state_as_noted(os.path.join(folder, name), state, trust_timestamps, state_of)
            for name, state in noted["folders"].items()
            if name not in now or (trust_timestamps and (watched_by(state) or is_digest(state)))
        }
        changed = changed_folders(states, noted["folders"])
        if not changed and noted.get("after") != after:
            why = "the view of the dataset changed"
            continue
        if not changed:
            return Tree(record.parent.name, "nothing changed")
        shown = ", ".join(printable(name) or "the split folder" for name in islice(changed, 3))
        why = f"{len(changed):,} of {count(len(states), 'folder')} changed: {shown}"
        why += ", ..." * (len(changed) > 3)
    new = digest(settings, after, sorted(now.items()), untrue, published)
    return Tree(f"{len(now)}-folders-{new}", why)


RECORD = "folders.json"
"""The file beside a scan that notes the state of each folder that it visited."""


def write_record(
    path: StrPath,
    settings: str,
    folders: dict[str, State],
    after: str = "",
    retired: Iterable[str] = (),
) -> None:
    """Note the state of the folders that a stage visited.

    Args:
        path: The record.
        settings, after: See ``of_tree``.
        folders: Path -> state of each folder.
        retired: The links and folders of a view that are to be removed after the next publication,
            by their path below the split's folder: a scan of the view leaves them out.
    """
    record = {"settings": settings, "after": after, "folders": folders, "retired": [*retired]}
    with write_atomically(path) as file:
        file.write(json.dumps(record).encode())


def update_record(path: StrPath, changes: dict[str, Any]) -> None:
    """Change parts of what ``write_record`` wrote, and keep the time of the file: what Snakemake
    made of it is not out of date."""
    record, state = read_record(path), os.stat(path)
    if record:
        with write_atomically(path) as file:
            file.write(json.dumps(record | changes).encode())
            file.flush()
            os.utime(file.fileno(), ns=(state.st_atime_ns, state.st_mtime_ns))


def read_record(path: StrPath) -> dict[str, Any] | None:
    """Read what ``write_record`` wrote; None if there is nothing of the kind."""
    record = read_json(path)
    folders = record.get("folders")
    whole = (
        isinstance(record.get("settings"), str)
        and isinstance(folders, dict)
        and all(map(_is_state, folders.values()))
    )
    return record if whole else None


def _is_state(noted: object) -> bool:
    """Whether something may be what ``folder_state`` returned."""
    if noted is None or noted == []:
        return True
    kinds = list(map(type, noted)) if isinstance(noted, list) else []
    if kinds == [int, int, int, dict]:
        return all(map(_is_state, watched_by(cast(State, noted)).values()))
    return kinds in ([int, int, int], [str])


def retired_in(record: dict[str, Any]) -> frozenset[str]:
    """What a record notes as retired, see ``write_record``."""
    retired = record.get("retired")
    return (
        frozenset(one for one in retired if isinstance(one, str))
        if isinstance(retired, list)
        else frozenset()
    )


def read_retired(path: StrPath) -> frozenset[str]:
    """What the record at ``path`` notes as retired; nothing without a record, or without a path."""
    return retired_in(read_record(path) or {}) if path else frozenset()


def last_records(work: StrPath, settings: str) -> Iterator[tuple[Path, dict[str, State]]]:
    """The records with the same settings that lie in ``work``, and their states; newest first."""
    records = Path(work).glob(f"*/{RECORD}")
    for path in sorted(records, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        record = read_record(path)
        if record and record["settings"] == settings:
            yield path, record["folders"]
