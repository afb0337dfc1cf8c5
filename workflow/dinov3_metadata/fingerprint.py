"""Fingerprints: names for the state of code, labels and folders, cheap enough for every start.

The artefacts of a stage lie under the fingerprint of what they were made from, so a stage has work
to do exactly when the artefact of the present state does not exist. That holds whatever became of
Snakemake's own records: they name the new state even for a job that failed (snakemake#3808), and
do not follow the artefacts to another working folder.

This module is imported at every start and uses the standard library alone.
"""

import hashlib
import os
from pathlib import Path


def digest(*parts: object) -> str:
    """Twelve hexadecimal digits that stand for the ``repr`` of some plain values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def of_code(*modules: str) -> str:
    """The state of some modules of this package: an upgrade redoes the stages that use them."""
    folder = Path(__file__).parent
    return digest([(folder / f"{module}.py").read_bytes() for module in modules])


def of_labels(path: str | os.PathLike, *settings: object) -> str:
    """The state of the labels file: its content, so that touching it is no change."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        content = None  # the stage that reads it says what is wrong
    return f"labels-{digest(content, settings)}"


def of_folders(folder: str | os.PathLike, *settings: object) -> str:
    """The state of a split folder and of the folders in it, by their stats.

    A folder's mtime and ctime change with every name that is added, removed or replaced in it,
    and ctime can not be set back; the inode tells a folder from one that was put in its place.
    """
    states = []
    try:
        states.append(_state(folder))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    states.append((entry.name, *_state(entry.path)))
    except OSError:
        pass  # the stage that scans it says what is wrong
    return f"{max(len(states) - 1, 0)}-folders-{digest(sorted(states[1:]), states[:1], settings)}"


def _state(folder: str | os.PathLike) -> tuple[int, int, int]:
    state = os.stat(folder)
    return state.st_mtime_ns, state.st_ctime_ns, state.st_ino
