"""Entries: write ``entries-SPLIT.npy``, which has one row per image."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..addresses import MAX_INDEX
from ..artefacts import Labels, Numbering, Scan
from ..errors import logger
from ..files import write_atomically
from ..formats import entries_dtype, npy_header
from ..image_paths import Places
from ..paths import StrPath
from ..progress import progress

BLOCK = 1 << 20  # bytes filled and written at a time; small enough for the cache of a core


def dump_entries(
    *,
    scan: StrPath,
    selected: StrPath = "",
    sound: StrPath = "",
    labels: StrPath = "",
    numbering: StrPath = "",
    table: StrPath = "",
    new_entries: StrPath,
    new_paths: StrPath = "",
) -> None:
    """Write the entries of a split, byte for byte as ``np.save`` would.

    Only the scan and one block of rows are in memory.

    Args:
        scan: The file with the split's images, see ``artefacts.Scan``.
        selected, sound: The file with those that the lists and the sample leave, and with those
            that the audit leaves, too; empty if they leave all.
        labels: The file with the names of its classes, see ``artefacts.Labels``; empty for TEST.
        numbering: The file with the numbers of its classes, see ``artefacts.Numbering``; empty if
            they are numbered by the scan.
        table: The file with the paths of all images, see ``image_paths.ImagePaths``; empty if
            DINOv3 rebuilds them.
        new_entries, new_paths: Where to write the entries and, if there is a table, their paths.

    Raises:
        DamagedError: A file that is read is damaged.
        MetadataError: A class has no row in the labels file, or no number.
    """
    whole = Scan.load(scan)
    found = Scan.load(sound or selected) if sound or selected else whole
    numbers = Numbering.load(numbering, found)
    with ThreadPoolExecutor(1) as pool:  # one file goes to the disk while the other is filled
        paths = pool.submit(_write_paths, whole, found, table, new_paths) if table else None
        write_entries(found, Labels.load(labels) if labels else None, new_entries, numbers)
        if paths:
            paths.result()


def _write_paths(whole: Scan, found: Scan, table: StrPath, out: StrPath) -> None:
    """Write the table of the paths of a selection from all images to ``out``."""
    parts = Places("", whole, table).some(found).published
    with write_atomically(out, sum(map(len, parts))) as file:
        for part in parts:
            file.write(part.data)


def write_entries(
    scan: Scan, labels: Labels | None, out: StrPath, numbering: Numbering | None = None
) -> None:
    """Write the entries of a split to ``out``, see ``dump_entries``."""
    per_class = class_rows(scan, labels, numbering)
    images = len(scan.actual_index)
    rows_at_a_time = max(1, BLOCK // per_class.itemsize)
    block = np.empty(rows_at_a_time, per_class.dtype)
    with write_atomically(out, images * per_class.itemsize) as file:
        file.write(npy_header(per_class.dtype, images))
        starts = range(0, images, rows_at_a_time)
        for start in progress(starts, len(starts), "entries"):
            actual_index = scan.actual_index[start : start + rows_at_a_time]
            index = scan.class_index(start, start + len(actual_index))
            rows = per_class.take(index, out=block[: len(index)], mode="clip")
            rows["actual_index"] = actual_index
            file.write(rows.data)
    logger.info("%s: %d rows of %s", out, images, per_class.dtype)


def class_rows(scan: Scan, labels: Labels | None, numbering: Numbering | None = None) -> np.ndarray:
    """Return one row per class of a scan, (classes,) of ``entries_dtype``, with everything that the
    rows of its images share.

    The texts are as wide as the longest of all classes that are numbered. Without labels, for TEST,
    there is a single row. As in the reference, its class_index is ``np.uint32(-1)`` and its strings
    have length 0.

    Raises:
        MetadataError: A class has no row in the labels file, or no number.
    """
    if labels is None:
        rows = np.zeros(1, entries_dtype(0, 0))
        rows["class_index"] = MAX_INDEX
        return rows
    numbering = numbering or Numbering.load("", scan)
    index, ids = numbering.of(scan.class_ids.tolist()), numbering.ids
    names = labels.of(ids)
    rows = np.zeros(len(ids), entries_dtype(max(map(len, ids)), max(map(len, names))))
    rows["class_index"] = np.arange(len(ids))
    rows["class_id"] = ids
    rows["class_name"] = names
    return rows[index]
