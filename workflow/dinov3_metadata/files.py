"""Files that are either whole or not there: atomic writing, and the sha256 of what lies on disk."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def write_atomically(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a new file beside ``path``, which takes its name once the block is through.

    A reader finds the old file or the whole new one, also after a power cut: the bytes reach the
    disk before the name does. If the block raises, ``path`` is as it was and nothing is left over.

    Raises:
        OSError: The folder is missing, read-only or full.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(new, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: str | os.PathLike) -> None:
    """Bring the names in ``folder`` to the disk, as a rename is safe only after that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_siblings(folder: str | os.PathLike) -> None:
    """Remove the folders beside ``folder``: the artefacts of states that have passed."""
    folder = Path(folder)
    for sibling in folder.parent.iterdir():
        if sibling != folder and sibling.is_dir() and not sibling.is_symlink():
            shutil.rmtree(sibling, ignore_errors=True)


def sha256(path: str | os.PathLike) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
