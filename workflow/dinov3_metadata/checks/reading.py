"""Reading: read all files of a split, and find out what is wrong with the files themselves."""

import hashlib
import os
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any

import numpy as np

from ..addresses import LABELLED
from ..artefacts import Numbering
from ..errors import count
from ..formats import Description, entries_dtype, read_description
from ..paths import file_name, path_of
from ..published import FileState, file_states
from .arrays import Header, UnreadableError, blocks, byteorder_of, opened, read_header, text_of
from .result import Finding, listed
from .rows import COLUMNS, MOST_GROUPS, MOST_ROWS, Rows, read_rows, readable


@dataclass
class SplitFiles:
    """What the files of a split contain.

    Attributes:
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        rows: The entries; None if they could not be read.
        claimed: The number of rows that the header of the entries claims.
        class_ids, class_names: The class arrays; None if they could not be read.
        lengths: How many code points a class id and a class name can have in the entries.
        about: The content of ``metadata-SPLIT.json``; None if it is missing or damaged.
        digests: Name of each array that was read -> its size in bytes and its sha256.
        states: Name of each file -> its state before it was read.
        findings: What is wrong with the files themselves.
        notes: See ``result.SplitCheck``.
    """

    split: str
    rows: Rows | None = None
    claimed: int = 0
    class_ids: list[str] | None = None
    class_names: list[str] | None = None
    lengths: tuple[int, int] = (0, 0)
    about: Description | None = None
    digests: dict[str, tuple[int, str]] = field(default_factory=dict)
    states: dict[str, FileState | None] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_split(extra: str, split: str, images: int) -> SplitFiles:
    """Read all files of a split.

    Args:
        extra: The folder with the files.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        images: The number of images on the disk. Entries with far more rows are not read.
    """
    files = SplitFiles(split, states=file_states(extra, split))
    damages: list[str] = []
    differences: list[str] = []
    try:
        with opened(path_of(extra, "entries", split=split)) as file:
            _read_entries(file, files, differences, max(MOST_ROWS, 4 * images))
    except UnreadableError as why:
        damages.append(f"{file_name('entries', split=split)} {why}")
    for name in ("class_ids", "class_names") if split in LABELLED else ():
        try:
            with opened(path_of(extra, name, split=split)) as file:
                texts = _read_texts(file, files, file_name(name, split=split), differences)
            if name == "class_ids":
                files.class_ids = texts
            else:
                files.class_names = texts
        except UnreadableError as why:
            damages.append(f"{file_name(name, split=split)} {why}")
    if files.rows is not None:
        _note_widths(files, files.rows)
    files.about = read_description(extra, split)
    files.findings += listed("file", damages) + listed("format", differences)
    files.findings += listed("description", _check_description(extra, files))
    return files


def _read_entries(
    file: BufferedReader, files: SplitFiles, differences: list[str], most: int
) -> None:
    name = file_name("entries", split=files.split)
    header = read_header(file)
    dtype = header.dtype
    differences += [f"{name}: {what}" for what in _differences(header, _entries_like(dtype))]
    if len(header.shape) != 1 or not dtype.names:
        raise UnreadableError("does not have one row per image, with named columns")
    files.claimed = header.rows
    if not header.rows:
        raise UnreadableError("has no rows")
    if header.rows > most:
        raise UnreadableError(f"has {header.rows:,} rows, far more than there are images")
    columns = readable(dtype, files.split)
    if not columns:
        raise UnreadableError("has no columns from which DINOv3 can find the images")
    hasher = _hasher(file, header)
    files.rows = read_rows(file, header, columns, hasher)
    files.digests[name] = header.size, hasher.hexdigest()
    widths = [_width(dtype, column) for column in COLUMNS[2:]]
    files.lengths = widths[0], widths[1]


def _width(dtype: np.dtype, column: str) -> int:
    """Return how many code points a column can have; 0 if it is no text of numpy."""
    is_text = dtype.names and column in dtype.names and dtype[column].kind == "U"
    return dtype[column].itemsize // 4 if is_text else 0


def _note_widths(files: SplitFiles, rows: Rows) -> None:
    """Note columns that are wider than their texts, which only other tools may care about.

    The texts of the class arrays count, too: there may be classes without an image.
    """
    ids = [*(group.class_id for group in rows.groups), *(files.class_ids or [])]
    names = [*(group.class_name or "" for group in rows.groups), *(files.class_names or [])]
    longest = max(map(len, ids)), max(map(len, names))
    for column, width, used in zip(COLUMNS[2:], files.lengths, longest, strict=True):
        if width > used:
            files.notes.append(f"{column} has room for {width} characters and uses {used}")


def _entries_like(dtype: np.dtype) -> np.dtype:
    """Return the dtype that entries should have, with the widths that a dtype has."""
    return entries_dtype(_width(dtype, "class_id"), _width(dtype, "class_name"))


def _differences(header: Header, expected: np.dtype) -> list[str]:
    """Return how a file differs in its format from what DINOv3 writes, one phrase each."""
    dtype, found = header.dtype, []
    if header.version != (1, 0):
        found.append(f"version {header.version[0]}.{header.version[1]} of .npy, not 1.0")
    if len(header.shape) != 1:
        found.append(f"the shape {header.shape}, not one dimension")
    elif header.left_over:
        found.append(f"{count(header.left_over, 'byte')} after the last row")
    if header.fortran:
        found.append("Fortran's order")
    if not (expected.names and dtype.names):
        if not _is_like(dtype, expected):
            found.append(f"the type {dtype.str}, not {_expected(expected)}")
        return found
    wrong = [
        f"{name} is {dtype[name].str}, not {_expected(expected[name])}"
        for name in COLUMNS
        if name in dtype.names and not _is_like(dtype[name], expected[name])
    ]
    if dtype.names != expected.names:
        wrong.append(f"the columns {', '.join(dtype.names)}, not {', '.join(COLUMNS)}")
    elif not wrong and dtype != expected:
        wrong.append("gaps between the columns")
    return found + wrong


def _expected(dtype: np.dtype) -> str:
    if dtype.names:
        return f"rows of {', '.join(COLUMNS)}"
    return "<U" if dtype.kind == "U" else dtype.str


def _is_like(found: np.dtype, expected: np.dtype) -> bool:
    """Return whether two dtypes are the same but for the length of a text."""
    if expected.kind == "U":
        return found.kind == "U" and (found.str[0] == "<" or not found.itemsize)
    return found == expected


def _read_texts(
    file: BufferedReader, files: SplitFiles, name: str, differences: list[str]
) -> list[str]:
    """Read a class array."""
    header = read_header(file)
    dtype = header.dtype
    differences += [f"{name}: {what}" for what in _differences(header, np.dtype("<U1"))]
    if len(header.shape) != 1 or dtype.kind != "U":
        raise UnreadableError("is not a list of texts")
    if header.rows > MOST_GROUPS or dtype.itemsize * header.rows > 1 << 28:
        raise UnreadableError(f"has {header.rows:,} rows, too many for classes")
    hasher = _hasher(file, header)
    texts: list[str] = []
    if not dtype.itemsize:
        texts = [""] * header.rows
    else:
        order = byteorder_of(dtype)
        for _, data in blocks(file, header):
            hasher.update(data)
            starts = range(0, len(data), dtype.itemsize)
            texts += [text_of(bytes(data[at : at + dtype.itemsize]), order) for at in starts]
    files.digests[name] = header.size, hasher.hexdigest()
    return texts


def _hasher(file: BufferedReader, header: Header) -> Any:
    """Return a hasher that has taken all bytes before the data."""
    file.seek(0)
    return hashlib.sha256(file.read(header.start))


def _check_description(extra: str, files: SplitFiles) -> list[str]:
    """Compare ``metadata-SPLIT.json``, if it exists, with the arrays."""
    about, name = files.about, file_name("metadata", split=files.split)
    if about is None:
        exists = os.path.lexists(path_of(extra, "metadata", split=files.split))
        return [f"{name} is incomplete or damaged"] if exists else []
    if about.split != files.split:
        return [f"{name} describes {about.split}"]
    wrong = [
        f"{name} describes another {array}"
        for array, digest in files.digests.items()
        if digest != (about.files[array].bytes, about.files[array].sha256)
    ]
    if files.rows is not None and about.images != len(files.rows):
        wrong.append(f"{name} says {count(about.images, 'image')}, not {len(files.rows):,}")
    if files.class_ids is not None and about.classes != len(files.class_ids):
        many = count(about.classes, "class", "classes")
        wrong.append(f"{name} says {many}, not {len(files.class_ids):,}")
    if files.rows is not None and files.lengths != (about.class_id_length, about.class_name_length):
        wrong.append(f"{name} says other lengths of class ids and names")
    if files.class_ids is not None and not _is_numbered_so(about, files.class_ids):
        wrong.append(f"{name} says another numbering of the classes (numbering.sha256)")
    return wrong


def _is_numbered_so(about: Description, class_ids: list[str]) -> bool:
    """Return whether the digest of the numbering, if there is one, is that of the class ids."""
    try:
        return about.numbering is None or about.numbering.sha256 == Numbering(class_ids).sha256
    except UnicodeEncodeError:  # no class folder can have such a name
        return False
