"""entries-SPLIT.npy: one row per image."""

from io import BytesIO

import numpy as np
from numpy.lib import format as npy

from .errors import logger
from .files import write_atomically
from .labels import Labels
from .layout import MAX_INDEX, StrPath
from .log import progress
from .scan import Scan

BLOCK = 1 << 20  # bytes filled and written at a time; they stay in the cache of a core


def entries_dtype(class_id_length: int, class_name_length: int) -> np.dtype:
    """The dtype of a row; lengths in code points.

    Source: ``ImageNet._dump_entries`` in facebookresearch/dinov3. Other programs read the columns
    by position: order and dtypes are a public contract.
    """
    return np.dtype(
        [
            ("actual_index", "<u4"),
            ("class_index", "<u4"),
            ("class_id", f"<U{class_id_length}"),
            ("class_name", f"<U{class_name_length}"),
        ]
    )


def npy_header(dtype: np.dtype, rows: int) -> bytes:
    """The first bytes of an ``.npy`` file, version 1.0, of ``rows`` elements of ``dtype``."""
    header = BytesIO()
    npy.write_array_header_1_0(
        header,
        {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows,)},
    )
    return header.getvalue()


def class_rows(scan: Scan, labels: Labels | None) -> np.ndarray:
    """One row per class, (classes,) of ``entries_dtype``: what the rows of its images share.

    Without labels, for TEST, that is the reference's ``np.uint32(-1)`` and strings of length 0.

    Raises:
        MetadataError: A class folder has no row in the labels file.
    """
    if labels is None:
        rows = np.zeros(1, entries_dtype(0, 0))
        rows["class_index"] = MAX_INDEX
        return rows
    ids = scan.class_ids.tolist()
    names = labels.of(ids)
    rows = np.zeros(len(ids), entries_dtype(max(map(len, ids)), max(map(len, names))))
    rows["class_index"] = np.arange(len(ids))
    rows["class_id"] = ids
    rows["class_name"] = names
    return rows


def dump_entries(scan: Scan, labels: Labels | None, out: StrPath) -> None:
    """Write the entries of a split to ``out``, byte for byte as ``np.save`` would.

    Memory is that of the scan and of one block of rows.

    Args:
        scan: The split's images.
        labels: The names of its classes; None for TEST.
        out: Where to write.

    Raises:
        MetadataError: A class folder has no row in the labels file.
    """
    per_class = class_rows(scan, labels)
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
