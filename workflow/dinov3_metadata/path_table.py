"""Path table: read ``paths-SPLIT.npy``, the paths of a split's images below root, row by row.

The file is an ``.npy`` of bytes: for each row and for the end, the place where its path begins,
counted from the first byte after the header, and then the paths, one after another. A place has
four bytes, or eight if the array has 4 GiB or more.

Arrow's IPC format was measured to be as large (1.11 bytes for each byte of the paths of 1.28
million images) and as fast (about 1.6 us a path). But its texts must be UTF-8, which the names of
files need not be, and reading it takes 0.4 s of import and a library that DINOv2's and DINOv3's
environments do not have. This needs nothing but the standard library, and numpy can map it, too.

Each process maps the file, so the workers of a DataLoader share its memory.
"""

from __future__ import annotations  # DINOv2's own environment has Python 3.9

import mmap
import os
import struct

MAGIC = b"\x93NUMPY\x01\x00"


class PathTable:
    """The paths of a split.

    Args:
        path: The file.
        rows: The number of images.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is not a table of so many paths.

    Example:
        >>> PathTable("/data/extra/paths-TRAIN.npy", 1281167)[0]
        'train/cat/IMG 4711.jpg'
    """

    def __init__(self, path: str, rows: int) -> None:
        with open(path, "rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rows = rows
        if self._bytes[: len(MAGIC)] != MAGIC or len(self._bytes) < len(MAGIC) + 2:
            raise ValueError(f"{path} is not an .npy file, version 1.0")
        self._start = len(MAGIC) + 2 + int.from_bytes(self._bytes[8:10], "little")
        first = int.from_bytes(self._bytes[self._start : self._start + 4], "little")
        self._width, rest = divmod(first, rows + 1)
        if self._width not in (4, 8) or rest:
            raise ValueError(f"{path} is not a table of {rows:,} paths")
        self._places = struct.Struct("<2I" if self._width == 4 else "<2Q")
        _, end = self._places.unpack_from(self._bytes, self._start + (rows - 1) * self._width)
        if self._start + end != len(self._bytes):
            raise ValueError(f"{path} is cut off")

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> str:
        if not -self._rows <= row < self._rows:
            raise IndexError(f"there is no row {row} among {self._rows:,}")
        place = self._start + row % self._rows * self._width
        begin, end = self._places.unpack_from(self._bytes, place)
        return os.fsdecode(self._bytes[self._start + begin : self._start + end])
