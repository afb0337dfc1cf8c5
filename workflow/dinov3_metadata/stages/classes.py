"""Classes: write ``class-{ids,names}-SPLIT.npy``, the id and name of each class, by class_index."""

import numpy as np

from ..artefacts import Scan
from ..errors import logger
from ..files import reading_back, rows_at, write_atomically
from ..formats import npy_header
from ..paths import StrPath


def dump_class_arrays(
    *, scan: StrPath, new_entries: StrPath, new_class_ids: StrPath, new_class_names: StrPath
) -> None:
    """Write the ids, (classes,) ``<Uk``, and the names, (classes,) ``<Um``, of a labelled split.

    They are read from the first entry of each class, as in the reference
    (``ImageNet._dump_class_ids_and_names``), so they cannot differ from the entries.

    Args:
        scan: The file with the scan that the entries were made from, see ``artefacts.Scan``. Each
            of its classes has at least one image.
        new_entries: The entries of the split.
        new_class_ids, new_class_names: Where to write.

    Raises:
        DamagedError: The scan or the entries are damaged.
    """
    write_class_arrays(new_entries, Scan.load(scan), new_class_ids, new_class_names)


def write_class_arrays(
    entries: StrPath, scan: Scan, class_ids_out: StrPath, class_names_out: StrPath
) -> None:
    """Write the ids and names of the classes of a scan, see ``dump_class_arrays``."""
    first = np.cumsum(scan.counts) - scan.counts
    with reading_back(entries):
        rows = np.concatenate(list(rows_at(entries, first)))
        class_ids, class_names = map(np.ascontiguousarray, (rows["class_id"], rows["class_name"]))
    for array, out in ((class_ids, class_ids_out), (class_names, class_names_out)):
        with write_atomically(out) as file:
            file.write(npy_header(array.dtype, len(array)))
            file.write(array.data)  # np.save would not say why it failed
        logger.info("%s: %d x %s", out, len(array), array.dtype)
