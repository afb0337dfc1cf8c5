"""Rows: read the entries of a split, whoever wrote them, in blocks of bounded size.

Rows that follow one another mostly have the same class. So the class of a row is looked up only
where it differs from that of the previous row, which numpy finds out for a block at a time.
"""

from collections import Counter
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any

import numpy as np

from ..addresses import LABELLED, MAX_INDEX
from .arrays import LONGEST_ROW, Header, UnreadableError, blocks, byteorder_of, text_of

MOST_GROUPS = 100_000  # ImageNet-22k has 21,841 classes
MOST_ROWS = 10_000_000  # more are read only if there are at least a quarter as many images

COLUMNS = ("actual_index", "class_index", "class_id", "class_name")


@dataclass
class Group:
    """The values that some rows share. A column that cannot be read has None.

    Attributes:
        class_index, class_id, class_name: The values.
        first: The first of the rows.
        rows: How many there are.
    """

    class_index: int | None
    class_id: str
    class_name: str | None
    first: int
    rows: int = 0


@dataclass
class Rows:
    """The entries of a split.

    Attributes:
        groups: The classes, each with its number and name, as the rows have them.
        group: (rows,), ``<u4``: the position in ``groups``.
        actual_index: (rows,), ``<u4`` or ``<i8``: -1 for a number that DINOv3 cannot have written.
    """

    groups: list[Group] = field(default_factory=list)
    group: np.ndarray = field(default_factory=lambda: np.empty(0, "<u4"))
    actual_index: np.ndarray = field(default_factory=lambda: np.empty(0, "<u4"))

    def __len__(self) -> int:
        return len(self.group)

    def by_class(self) -> dict[str, Counter[int]]:
        """Return, for each class id, how many rows have which class_index."""
        found: dict[str, Counter[int]] = {}
        for group in self.groups:
            if group.class_index is not None:
                found.setdefault(group.class_id, Counter())[group.class_index] += group.rows
        return found


def readable(dtype: np.dtype, split: str) -> list[str]:
    """Return the columns of entries whose values can be read, whatever their order and types.

    The list is empty if rows cannot be told apart by those columns.
    """
    found = []
    for name in COLUMNS:
        if dtype.names and name in dtype.names:
            column = dtype[name]
            kinds = "iu" if name.endswith("index") else "US"
            if column.kind in kinds and not column.shape:
                found.append(name)
    needed = {"actual_index", "class_id"} if split in LABELLED else {"actual_index"}
    return found if needed <= {*found} and dtype.itemsize <= LONGEST_ROW else []


def read_rows(file: BufferedReader, header: Header, columns: list[str], hasher: Any) -> Rows:
    """Read the entries of a split.

    Args:
        file, header: The entries.
        columns: What ``readable`` returned.
        hasher: Takes all bytes of the rows.

    Raises:
        UnreadableError: The file was cut off meanwhile, or its rows are not those of classes.
    """
    dtype, many = header.dtype, header.rows
    number = dtype["actual_index"]
    small = number.kind == "u" and number.itemsize <= 4
    rows = Rows([], np.empty(many, "<u4"), np.empty(many, "<u4" if small else "<i8"))
    spans = _spans(dtype, [name for name in columns if name != "actual_index"])
    known: dict[bytes, int] = {}
    last = b""
    for start, data in blocks(file, header):
        hasher.update(data)
        block = np.frombuffer(data, dtype)
        end = start + len(block)
        rows.actual_index[start:end] = _numbers(block["actual_index"], small)
        views = [_view(data, dtype.itemsize, *span) for span in spans]
        new = np.zeros(len(block), bool)
        new[0] = True
        for view in views:
            new[1:] |= (view[1:] != view[:-1]).any(1)
        at = np.flatnonzero(new)
        parts = [np.ascontiguousarray(view[at]).view("u1") for view in views]
        keys = np.hstack(parts).tobytes() if parts else b""
        size = len(keys) // len(at)
        index = []
        for i in range(len(at)):
            last = keys[i * size : (i + 1) * size]
            found = known.get(last)
            if found is None:
                found = known[last] = len(known)
                rows.groups.append(_group(block[at[i]], columns, start + int(at[i])))
                if found == MOST_GROUPS:
                    raise UnreadableError(
                        f"has more than {MOST_GROUPS:,} different classes, numbers and names"
                    )
            index.append(found)
        rows.group[start:end] = np.repeat(np.array(index, "<u4"), np.diff(at, append=len(block)))
    counts = np.bincount(rows.group, minlength=len(rows.groups)).tolist()
    for group, total in zip(rows.groups, counts, strict=True):
        group.rows = total
    return rows


def _spans(dtype: np.dtype, columns: list[str]) -> list[tuple[int, int]]:
    """Return where the bytes of some columns are in a row; neighbours become one span."""
    places = sorted((_offset(dtype, name), dtype[name].itemsize) for name in columns)
    spans: list[tuple[int, int]] = []
    for offset, size in places:
        if spans and sum(spans[-1]) == offset:
            spans[-1] = spans[-1][0], spans[-1][1] + size
        elif size:
            spans.append((offset, size))
    return spans


def _offset(dtype: np.dtype, column: str) -> int:
    """Return where a column begins in a row."""
    return dtype.fields[column][1] if dtype.fields else 0


def _view(data: memoryview, row: int, offset: int, size: int) -> np.ndarray:
    """Return some bytes of each row, as few words as possible: (rows, words)."""
    word = next(width for width in (4, 2, 1) if size % width == 0)
    shape, strides = (len(data) // row, size // word), (row, word)
    return np.ndarray(shape, f"u{word}", data, offset, strides)


def _numbers(column: np.ndarray, small: bool) -> np.ndarray:
    """Return numbers of images; -1 for those that are negative or too large."""
    if small:
        return column
    good = (column >= 0) & (column <= MAX_INDEX)
    return np.where(good, column, 0).astype("<i8") - ~good


def _group(row: np.void, columns: list[str], first: int) -> Group:
    values: dict[str, Any] = dict.fromkeys(COLUMNS)
    for name in columns:
        column = row.dtype[name]
        if column.kind in "iu":
            values[name] = int(row[name])
        else:
            raw = row.tobytes()[_offset(row.dtype, name) :][: column.itemsize]
            if column.kind == "U":
                values[name] = text_of(raw, byteorder_of(column))
            else:
                values[name] = raw.rstrip(b"\0").decode(errors="replace")
    return Group(values["class_index"], values["class_id"] or "", values["class_name"], first)
