"""Tar scan: save and load where the images of all tars are, one class at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from .disk import open_regular
from .files import reading_back, write_atomically
from .paths import StrPath

if TYPE_CHECKING:
    import numpy as np

    from .tars import Members

EPOCH = (1980, 1, 1, 0, 0, 0)  # so that equal scans are equal files


class TarScan(Mapping[str, "np.ndarray"]):
    """Class -> the images of its tar, in the order of their offsets: (images,) of

    ``start``, ``end``: ``<u4``, the offsets in the tar, see ``tars.Members``;
    ``gzipped``: bool; ``name``: ``S``, its path in the tar in UTF-8.

    The classes are sorted. Each array is read when it is asked for.

    Args:
        path: A file of ``write_scan``: a zip with the rows of each class as they are in memory, and
            the width of their names as its comment. To read headers as in an ``.npz`` would take
            longer than to read the rows.

    Raises:
        DamagedError: It is damaged.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = path
        with reading_back(path):
            self._file = ZipFile(open_regular(path))
        self.class_ids = self._file.namelist()

    def __getitem__(self, class_id: str) -> np.ndarray:
        import numpy as np

        if class_id not in self:
            raise KeyError(class_id)
        with reading_back(self.path):
            comment = self._file.getinfo(class_id).comment
            return np.frombuffer(self._file.read(class_id), rows_dtype(int(comment)))

    def __iter__(self) -> Iterator[str]:
        return iter(self.class_ids)

    def __len__(self) -> int:
        return len(self.class_ids)

    def __contains__(self, class_id: object) -> bool:
        return class_id in self._file.NameToInfo

    def by_class(self) -> Mapping[str, np.ndarray]:
        """Return class -> what distinguishes its images from one another: all of their rows."""
        return self

    def save(self, path: StrPath) -> None:
        """Copy the scan to ``path``."""
        with open_regular(self.path) as file, write_atomically(path) as out:
            shutil.copyfileobj(file, out, 1 << 20)


def entries_dtype(class_id_length: int, filename_length: int) -> np.dtype:
    """Return the dtype of a row of the entries of tars, for texts of up to some code points.

    Source: ``ImageNet22k._dump_entries`` in facebookresearch/dinov3.
    """
    import numpy as np

    return np.dtype(
        [
            ("class_index", "<u4"),
            ("class_id", f"<U{class_id_length}"),
            ("start_offset", "<u4"),
            ("end_offset", "<u4"),
            ("filename", f"<U{filename_length}"),
        ]
    )


def rows_dtype(name_length: int) -> np.dtype:
    """Return the dtype of a row of a ``TarScan``, for names of up to some bytes."""
    import numpy as np

    return np.dtype(
        [("start", "<u4"), ("end", "<u4"), ("gzipped", "?"), ("name", f"S{name_length}")]
    )


def rows_of(members: Members) -> np.ndarray:
    """Return the images of a tar as ``TarScan`` has them."""
    import numpy as np

    names = np.zeros(0, "S1")
    if many := len(members.names):
        letters = members.names.view("<u4").reshape(many, -1)
        if letters.max() < 128:
            names = letters.astype(np.uint8).view(f"S{letters.shape[1]}")[:, 0]
        else:
            names = np.char.encode(members.names, "utf-8")
    rows = np.empty(many, rows_dtype(names.itemsize))
    rows["start"], rows["end"] = members.starts, members.ends
    rows["gzipped"], rows["name"] = members.gzipped, names
    return rows


def write_scan(path: StrPath, class_ids: Sequence[str], arrays: Iterator[np.ndarray]) -> None:
    """Write a scan, of which only one class is in memory at a time.

    Args:
        path: Where to write it.
        class_ids: The classes, sorted.
        arrays: The rows of each, see ``rows_of``.
    """
    with write_atomically(path) as file, ZipFile(file, "w", ZIP_STORED) as out:
        for class_id, rows in zip(class_ids, arrays, strict=True):
            info = ZipInfo(class_id, EPOCH)
            info.comment = b"%d" % rows.dtype["name"].itemsize
            out.writestr(info, rows.tobytes())
