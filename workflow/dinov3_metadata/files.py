"""Files: write files atomically, and read files with a clear error if they are damaged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from .access import keep_access, share
from .disk import create, naming, open_regular, opened_folder, sync, temporary_name
from .errors import DamagedError, MetadataError
from .paths import StrPath, is_work_file
from .replace import keep_replaced, make_room

if TYPE_CHECKING:
    import numpy as np


@contextmanager
def write_atomically(path: StrPath, size: int = 0) -> Iterator[BinaryIO]:
    """Write a temporary file next to ``path``, and rename it to ``path`` when the block succeeds.

    A reader finds either the old file or the complete new one, even after a power cut, because the
    content reaches the disk before the name does. If the block raises, ``path`` is unchanged and no
    other file remains. If the process is killed, the next run removes the temporary file. The new
    file gets the group, the ACL and the mode of the old one.

    Args:
        path: The file.
        size: The number of bytes to write, if it is large: there must be room for them.

    Raises:
        MetadataError: There is no room for ``size`` bytes, or a link is in the path: see
            ``disk.opened_folder``.
        OSError: The folder is missing, read-only or full.
    """
    name, new = os.path.basename(path), temporary_name()
    with naming(path), opened_folder(os.path.dirname(path)) as folder:
        make_room(path, size)
        try:
            with create(folder, new) as file:
                yield file
                keep_access(path, folder, file)
                if is_work_file(path):
                    share(folder, file.fileno())
                sync(file)
            if not is_work_file(path):  # readers on other hosts may have it open
                keep_replaced(os.path.dirname(path) or ".", folder, name)
            os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(new, dir_fd=folder)
            raise


@contextmanager
def reading(path: StrPath) -> Iterator[None]:
    """Read a file in the block; if that fails, say why in one sentence.

    Raises:
        MetadataError: It cannot be read, or is damaged.
    """
    try:
        yield
    except MetadataError:
        raise
    except Exception as why:  # numpy, zipfile and tokenize raise a dozen kinds on damaged files
        reason = why if str(why) else "there is not enough memory"
        raise MetadataError(
            f"{path} cannot be read ({reason}). Fix the cause given in parentheses; if the file is "
            "damaged, run snakemake to rebuild it."
        ) from None


@contextmanager
def reading_back(path: StrPath) -> Iterator[None]:
    """Read a work file in the block.

    Raises:
        DamagedError: The file is damaged.
        MetadataError: It cannot be read.
    """
    try:
        yield
    except (MetadataError, PermissionError, MemoryError):
        with reading(path):
            raise
    except Exception as why:
        raise DamagedError(path, f"cannot be read back ({why})") from None


def open_array(path: StrPath) -> np.memmap:
    """Map an ``.npy`` file read-only; objects are never unpickled.

    Raises:
        MetadataError: See ``reading``.
    """
    with reading(path):
        return _map(path)


def read_array_back(path: StrPath) -> np.memmap:
    """Map an ``.npy`` file of the work folder read-only; objects are never unpickled.

    Raises:
        DamagedError, MetadataError: See ``reading_back``.
    """
    with reading_back(path):
        return _map(path)


def _map(path: StrPath) -> np.memmap:
    import numpy as np

    with open_regular(path):  # mapping a FIFO would hang
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.memmap):
        raise ValueError("it is an archive, not an array")
    return array


def rows_at(path: StrPath, index: np.ndarray) -> Iterator[np.ndarray]:
    """Yield some rows of an ``.npy`` file of the work folder, a thousand at a time.

    The rows are read one by one, not from a mapped file, because then the pages around each row
    would stay in memory.

    Args:
        path: The file.
        index: The positions of the rows.

    Raises:
        DamagedError, MetadataError: See ``reading_back``.
    """
    import numpy as np

    array = read_array_back(path)
    size = array.itemsize
    with reading_back(path), open_regular(path) as file:
        for start in range(0, len(index), 1000):
            places = (index[start : start + 1000] * size + array.offset).tolist()
            rows = b"".join(os.pread(file.fileno(), size, place) for place in places)
            if len(rows) < size * len(places):
                raise ValueError("it is too short")
            yield np.frombuffer(rows, array.dtype)


def sha256(path: StrPath) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    hasher = hashlib.sha256()
    with naming(path), open_regular(path) as file:
        while block := file.read(1 << 18):  # Python 3.10 has no hashlib.file_digest
            hasher.update(block)
    return hasher.hexdigest()
