"""Arrays: read ``.npy`` files that anybody may have made, within bounds and without unpickling.

Source: ``numpy.lib.format``. Its own limits hold for headers; everything that a header claims is
compared with the size of the file before anything is read.
"""

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader

import numpy as np
from numpy.lib import format as npy

from ..disk import open_regular

BLOCK = 1 << 20  # bytes of rows that are read at a time; small enough for the cache of a core
LONGEST_HEADER = 10_000  # bytes; those of metadata have 128 to 320
LONGEST_ROW = 1 << 16  # bytes; those of ImageNet-1k have about 130


class UnreadableError(Exception):
    """A file cannot be read as an array; the message is a phrase that says why."""


@dataclass(frozen=True)
class Header:
    """What an ``.npy`` file says about itself.

    Attributes:
        version: The version of the file format.
        dtype, shape, fortran: Those of the array.
        start: Where its data begins.
        size: The size of the file in bytes.
    """

    version: tuple[int, int]
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    start: int
    size: int

    @property
    def rows(self) -> int:
        """The number of rows of an array with one dimension."""
        return self.shape[0]

    @property
    def left_over(self) -> int:
        """The number of bytes after the last row."""
        return self.size - self.start - self.rows * self.dtype.itemsize


@contextmanager
def opened(path: str) -> Iterator[BufferedReader]:
    """Open a regular file for the block.

    Raises:
        UnreadableError: It is missing, is not a regular file, or cannot be read.
    """
    try:
        with open_regular(path) as file:
            yield file
    except FileNotFoundError:
        raise UnreadableError("does not exist") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None


def read_header(file: BufferedReader) -> Header:
    """Read the header of an ``.npy`` file.

    Raises:
        UnreadableError: The file is empty, damaged or cut off, or holds Python objects.
    """
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise UnreadableError("is empty")
    start = file.read(12)
    if start[:6] != npy.MAGIC_PREFIX:
        raise UnreadableError("is not an .npy file")
    version = (start[6], start[7]) if len(start) == 12 else (0, 0)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise UnreadableError("has a damaged header")
    length = int.from_bytes(start[8:10] if version == (1, 0) else start[8:12], "little")
    if length > LONGEST_HEADER:
        raise UnreadableError(f"has a header of {length:,} bytes, so it is not metadata")
    file.seek(8)
    # Version 3.0 differs from 2.0 only in names that are not Latin-1.
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the integers of Python 2
            shape, fortran, dtype = read(file, max_header_size=LONGEST_HEADER)
    except Exception:  # numpy raises a dozen kinds on damaged headers
        raise UnreadableError("has a damaged header") from None
    if dtype.hasobject:
        raise UnreadableError("holds pickled Python objects, which are never loaded")
    header = Header(version, dtype, shape, fortran, file.tell(), size)
    _check_size(header)
    return header


def _check_size(header: Header) -> None:
    data = header.size - header.start
    needed = math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0:
        raise UnreadableError("has a damaged header")
    if needed > data:
        whole = data // header.dtype.itemsize
        raise UnreadableError(
            f"is truncated: its header claims {math.prod(header.shape):,} rows, but only "
            f"{whole:,} are there"
        )


def blocks(file: BufferedReader, header: Header) -> Iterator[tuple[int, memoryview]]:
    """Yield the data of an array with one dimension in blocks of whole rows.

    Yields:
        The number of the first row, and the bytes of the rows, which are valid until the next
        block.

    Raises:
        UnreadableError: The file was cut off meanwhile.
    """
    many = max(1, BLOCK // header.dtype.itemsize)
    buffer = memoryview(bytearray(min(many, header.rows) * header.dtype.itemsize))
    file.seek(header.start)
    for start in range(0, header.rows, many):
        part = buffer[: min(many, header.rows - start) * header.dtype.itemsize]
        if file.readinto(part) < len(part):
            raise UnreadableError("was cut off while it was being read")
        yield start, part


def text_of(code_points: bytes, byteorder: str) -> str:
    """Return a text of numpy as a string.

    Args:
        code_points: Four bytes for each code point, and zeros at the end. Bytes that are no code
            points, as in memory that was never written to, are shown as numbers.
        byteorder: ``<`` or ``>``.
    """
    coding = "utf-32-le" if byteorder == "<" else "utf-32-be"
    try:
        return code_points.decode(coding, "surrogatepass").rstrip("\0")
    except UnicodeDecodeError:
        numbers = np.frombuffer(code_points, f"{byteorder}u4").tolist()
        return "".join(chr(one) if one < 0x110000 else f"<{one:x}>" for one in numbers)


def byteorder_of(dtype: np.dtype) -> str:
    """Return the byte order of a dtype: ``<`` or ``>``."""
    return ">" if dtype.str[0] == ">" else "<"
