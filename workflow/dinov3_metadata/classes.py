"""class-ids-SPLIT.npy and class-names-SPLIT.npy: id and name of each class, at its class_index."""

import numpy as np

from .entries import npy_header
from .errors import logger
from .files import reading, rows_at, write_atomically
from .layout import StrPath
from .scan import Scan


def dump_class_arrays(
    entries: StrPath,
    scan: Scan,
    class_ids_out: StrPath,
    class_names_out: StrPath,
) -> None:
    """Write the ids, (classes,) ``<Uk``, and the names, (classes,) ``<Um``, of a labelled split.

    They are read from the first row of each class, so that they say what the entries say, as in
    the reference (``ImageNet._dump_class_ids_and_names``).

    Args:
        entries: The entries of the split.
        scan: What they were made from; each class has images.
        class_ids_out, class_names_out: Where to write.

    Raises:
        MetadataError: The entries can not be read back; they are removed.
    """
    first = np.cumsum(scan.counts) - scan.counts
    with reading(entries):
        rows = np.concatenate(list(rows_at(entries, first)))
        class_ids, class_names = map(np.ascontiguousarray, (rows["class_id"], rows["class_name"]))
    for array, out in ((class_ids, class_ids_out), (class_names, class_names_out)):
        with write_atomically(out) as file:
            file.write(npy_header(array.dtype, len(array)))
            file.write(array.data)  # np.save would not say why it failed
        logger.info("%s: %d x %s", out, len(array), array.dtype)
