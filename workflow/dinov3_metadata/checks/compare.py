"""Compare: compare the rows of a split with the images on the disk, as arrays."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from ..addresses import LABELLED, image_path, split_folder
from ..readdir import DANGLING, special_kind
from .images import NUMBER, Images, others_in
from .result import Finding, finding
from .rows import Rows

NOWHERE = -1  # the key of a row whose number no image can have


class Paths:
    """The paths below root that rows and images stand for, for messages."""

    def __init__(self, split: str, rows: Rows, images: Images, class_ids: list[str]) -> None:
        self.split, self.rows, self.images, self.class_ids = split, rows, images, class_ids

    def of_key(self, key: int) -> str:
        """Return the path of an image on the disk, or of one that should be."""
        return image_path(self.split, self.class_ids[key // NUMBER], key % NUMBER)

    def of_row(self, row: int) -> str:
        """Return the path that DINOv3 opens for a row."""
        if self.images.table and row < len(self.images.table):
            return self.images.table[row]
        group = self.rows.groups[self.rows.group[row]]
        class_id = group.class_id if self.split in LABELLED else ""
        if self.rows.actual_index[row] < 0:
            return f"{split_folder(self.split)}/{class_id} with a number out of range"
        return image_path(self.split, class_id, int(self.rows.actual_index[row]))


class Unmatched(NamedTuple):
    """What is the matter with rows without an image, and with images without a row.

    Attributes:
        missing, unaddressable, wrong_class: The rows of these kinds, by their numbers.
        without_row: The keys of the images that have no row under another class either.
    """

    missing: np.ndarray
    unaddressable: np.ndarray
    wrong_class: np.ndarray
    without_row: np.ndarray


def compare_rows(rows: Rows, images: Images, skipped: int) -> list[Finding]:
    """Compare each row of a split with the disk, and each image with the rows.

    Args:
        rows: The entries.
        images: What is on the disk.
        skipped: How many images without a row are known not to be addressable.

    Returns:
        What is wrong.
    """
    class_ids, class_of_group = _classes(rows, images)
    keys, expected = _keys(rows, class_of_group), images.keys()
    if np.array_equal(keys, expected):
        return _left_out(images, skipped, keys, 0)
    paths = Paths(images.split, rows, images, class_ids)
    place = _places(keys, expected)
    found = np.flatnonzero(place >= 0)
    first = np.full(len(expected), -1, "<i8")
    first[place[found[::-1]]] = found[::-1]  # of several rows for an image, the first one counts
    again = found[first[place[found]] != found]
    once = found[first[place[found]] == found]
    back = once[1:][np.diff(place[once]) < 0]
    unmatched = _explain(keys, np.flatnonzero(place < 0), expected, first < 0, images)
    return [
        *_rows_finding("missing", unmatched.missing, _why_missing(unmatched.missing, paths)),
        *_rows_finding(
            "unaddressable", unmatched.unaddressable, _other_names(unmatched.unaddressable, paths)
        ),
        *_rows_finding(
            "wrong-class",
            unmatched.wrong_class,
            _where_instead(unmatched.wrong_class, keys, expected, first < 0, paths),
        ),
        *_rows_finding(
            "duplicate",
            again,
            (f"row {i}: {paths.of_row(i)}, as row {first[place[i]]}" for i in again),
        ),
        *_rows_finding(
            "no-row", unmatched.without_row, (paths.of_key(int(k)) for k in unmatched.without_row)
        ),
        *_left_out(images, skipped, keys, len(unmatched.unaddressable)),
        *_rows_finding("order", back, (f"row {i}: {paths.of_row(i)}" for i in back)),
    ]


def _classes(rows: Rows, images: Images) -> tuple[list[str], np.ndarray]:
    """Return all class ids, those without a folder at the end, and the position of each group's."""
    class_ids = list(images.class_ids)
    positions = np.zeros(len(rows.groups), "<i8")
    if images.split in LABELLED:
        position = {class_id: i for i, class_id in enumerate(class_ids)}
        for i, group in enumerate(rows.groups):
            if group.class_id not in position:
                position[group.class_id] = len(class_ids)
                class_ids.append(group.class_id)
            positions[i] = position[group.class_id]
    return class_ids, positions


def _keys(rows: Rows, class_of_group: np.ndarray) -> np.ndarray:
    """Return the keys of the images that rows stand for: (rows,), ``<i8``."""
    keys = class_of_group[rows.group]
    keys *= NUMBER
    keys += rows.actual_index
    if rows.actual_index.dtype.kind == "i":
        keys[rows.actual_index < 0] = NOWHERE
    return keys


def _places(keys: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the position of each key in ``expected``, whose keys differ; -1 if it is not there."""
    order = np.argsort(expected, kind="stable")
    if not len(order):
        return np.full(len(keys), -1, "<i8")
    ordered = expected[order]
    near = np.searchsorted(ordered, keys).clip(max=len(ordered) - 1)
    return np.where(ordered[near] == keys, order[near], -1)


def _explain(
    keys: np.ndarray, off: np.ndarray, expected: np.ndarray, unused: np.ndarray, images: Images
) -> Unmatched:
    """Find out why rows have no image.

    Args:
        keys: The keys of all rows.
        off: The rows without an image.
        expected: The keys of all addressable images.
        unused: Which of them have no row.
        images: What is on the disk.
    """
    without_row = expected[unused]
    renamed = np.isin(keys[off], images.others)
    unaddressable, off = off[renamed], off[~renamed]
    known = off[keys[off] != NOWHERE]
    elsewhere, taken = _pairs(keys[known] % NUMBER, without_row % NUMBER)
    moved = np.isin(keys[known], images.moved)
    if images.split == "VAL":  # whose numbers are different in all classes
        moved |= np.isin(keys[known] % NUMBER, expected % NUMBER)
    wrong_class = known[elsewhere | moved]
    missing = off[~np.isin(off, wrong_class)]
    return Unmatched(missing, unaddressable, wrong_class, without_row[~taken])


def _pairs(numbers: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair equal numbers of two arrays one to one; return which of each have a partner."""
    one, other = _with_rank(numbers), _with_rank(others)
    return np.isin(one, other), np.isin(other, one)


def _with_rank(numbers: np.ndarray) -> np.ndarray:
    """Return numbers made different: each with how many equal ones are before it."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts = np.diff(starts, append=len(ordered))
    ranks = np.arange(len(ordered)) - np.repeat(starts, counts)
    result = np.empty(len(numbers), "<i8")
    result[order] = ordered + ranks * NUMBER
    return result


def _rows_finding(kind: str, offenders: np.ndarray, sentences: Iterator[str]) -> list[Finding]:
    return [finding(kind, len(offenders), sentences)] if len(offenders) else []


def _left_out(images: Images, skipped: int, keys: np.ndarray, with_row: int) -> list[Finding]:
    """Return the finding that images have no row because they are not addressable.

    Args:
        images: What is on the disk.
        skipped: How many were left out on purpose.
        keys: The keys of all rows.
        with_row: How many rows stand for such images.
    """
    missing = images.dangling[np.isin(images.dangling, keys)]  # a finding of its own
    total = images.not_addressable - with_row - len(missing)
    if total <= skipped:
        return []
    not_these = {
        image_path(images.split, images.class_ids[key // NUMBER], key % NUMBER)
        for key in missing.tolist()
    }
    shown = (
        path
        for i, class_id in enumerate(images.class_ids)
        for path, number in others_in(images, class_id)
        if path not in not_these
        and (number is None or not (with_row and (keys == i * NUMBER + number).any()))
    )
    return [finding("left-out", total, shown)]


def _why_missing(rows: np.ndarray, paths: Paths) -> Iterator[str]:
    root = paths.images.folder.rpartition("/")[0]
    for row in rows.tolist():
        path, kind = paths.of_row(row), ""
        with suppress(ValueError):  # a damaged class id may contain what no path can
            kind = special_kind(f"{root}/{path}")
        reason = kind if kind == DANGLING else f"{kind}, not a file"
        yield f"row {row}: {path}" + (f" ({reason})" if kind else "")


def _other_names(rows: np.ndarray, paths: Paths) -> Iterator[str]:
    for row in rows.tolist():
        group = paths.rows.groups[paths.rows.group[row]]
        class_id = group.class_id if paths.split in LABELLED else ""
        others = others_in(paths.images, class_id)
        number = int(paths.rows.actual_index[row])
        name = next((path for path, found in others if found == number), "no longer there")
        yield f"row {row}: {paths.of_row(row)}, but the image is {name}"


def _where_instead(
    rows: np.ndarray, keys: np.ndarray, expected: np.ndarray, unused: np.ndarray, paths: Paths
) -> Iterator[str]:
    """Yield a sentence for each row whose image is in another class folder; see ``_explain``."""
    images, without_row = paths.images, expected[unused]
    for row in rows.tolist():
        key = int(keys[row])
        moved = images.moved_to[images.moved == key]
        if len(moved):
            where = f"{split_folder(paths.split)}/{images.class_ids[moved[0]]}"
        else:
            same = without_row[without_row % NUMBER == key % NUMBER]
            same = same if len(same) else expected[expected % NUMBER == key % NUMBER]
            where = paths.of_key(int(same[0]))
        yield f"row {row}: {paths.of_row(row)}, but the image is in {where}"
