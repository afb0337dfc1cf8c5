"""Files that are either whole or not there: atomic writing, and the sha256 of what lies on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import MetadataError
from .layout import StrPath

if TYPE_CHECKING:
    import numpy as np


@contextmanager
def write_atomically(path: StrPath, size: int = 0) -> Iterator[BinaryIO]:
    """Open a new file beside ``path``, which takes its name once the block is through.

    A reader finds the old file or the whole new one, also after a power cut: the bytes reach the
    disk before the name does. If the block raises, ``path`` is as it was and nothing is left over;
    what a killed process left over is removed by the next one that writes ``path``. The mode of
    the old file is kept.

    Args:
        path: The file.
        size: Bytes that will be written, if they are many: there must be room for them.

    Raises:
        MetadataError: There is no room for ``size`` bytes.
        OSError: The folder is missing, read-only or full.
    """
    path = Path(path)
    for left_over in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        left_over.unlink(missing_ok=True)
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise MetadataError(
            f"{path} needs {size / 1e6:,.1f} MB, but only {free / 1e6:,.1f} MB are free there. "
            "Make room and run the same command again."
        )
    new = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")
    try:
        with open(new, "wb") as file:
            yield file
            sync(file)
        if path.exists():
            shutil.copymode(path, new)
        os.replace(new, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            new.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(new)):
            error.filename = str(path)
        raise


def sync(file: BinaryIO) -> None:
    """Bring all that was written to an open file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: StrPath) -> None:
    """Bring the names in ``folder`` to the disk, as a rename is safe only after that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_siblings(folder: StrPath, used: Collection[str] = ()) -> None:
    """Remove the folders beside ``folder``, but for ``used`` names: states that have passed."""
    folder = Path(folder)
    for sibling in folder.parent.iterdir():
        if sibling.name in {folder.name, *used} or sibling.is_symlink():
            continue
        if sibling.is_dir():
            shutil.rmtree(sibling, ignore_errors=True)


@contextmanager
def reading(path: StrPath, published: bool = False) -> Iterator[None]:
    """Read an artefact in the block; one that is damaged is removed, so that it is made anew. A
    published file stays: the next run puts the right one in its place.

    Raises:
        MetadataError: The artefact can not be read or is not what it should be.
    """
    try:
        yield
    except MetadataError:
        raise
    except Exception as why:  # numpy, zipfile and tokenize raise a dozen kinds on damaged files
        if published or isinstance(why, PermissionError | MemoryError):
            raise MetadataError(
                f"{path} can not be read ({why}). Mend what the bracket says; if the file is "
                "damaged, run snakemake."
            ) from None
        with suppress(OSError):
            os.unlink(path)
        raise MetadataError(
            f"{path} can not be read back ({why}) and was removed. Run the same command again."
        ) from None


def read_json(path: StrPath) -> dict[str, Any]:
    """The object that a JSON file holds; empty if there is none, or it is damaged."""
    with suppress(OSError, ValueError):
        found = json.loads(Path(path).read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def open_array(path: StrPath, published: bool = False) -> np.memmap:
    """Map an ``.npy`` file read-only; objects are never unpickled.

    Raises:
        MetadataError: See ``reading``.
    """
    import numpy as np

    with reading(path, published):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def rows_at(path: StrPath, index: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows of an ``.npy`` file, a thousand at a time.

    They are read one by one: of a map, the pages around each row would stay in memory.

    Raises:
        MetadataError: See ``reading``.
    """
    import numpy as np

    array = open_array(path)
    size = array.itemsize
    with reading(path), open(path, "rb") as file:
        for start in range(0, len(index), 1000):
            places = (index[start : start + 1000] * size + array.offset).tolist()
            rows = b"".join(os.pread(file.fileno(), size, place) for place in places)
            if len(rows) < size * len(places):
                raise ValueError("it is too short")
            yield np.frombuffer(rows, array.dtype)


def sha256(path: StrPath) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
