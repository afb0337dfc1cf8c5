"""Classes: write ``class-{ids,names}-SPLIT.npy``, the id and name of each class, by class_index."""

from collections.abc import Sequence

import numpy as np

from ..artefacts import Labels, Numbering, Scan
from ..errors import logger
from ..files import read_array_back, reading_back, write_atomically
from ..formats import npy_header
from ..paths import StrPath


def dump_class_arrays(
    *,
    scan: StrPath,
    selected: StrPath = "",
    sound: StrPath = "",
    labels: StrPath,
    numbering: StrPath = "",
    new_entries: StrPath,
    new_class_ids: StrPath,
    new_class_names: StrPath,
) -> None:
    """Write the ids, (classes,) ``<Uk``, and the names, (classes,) ``<Um``, of a labelled split.

    The reference (``ImageNet._dump_class_ids_and_names``) reads them from the entries, where a
    class without an image is missing. Here they come from the files that the entries were made of,
    and ``verify`` compares the two.

    Args:
        scan, selected, sound, labels, numbering: See ``entries.dump_entries``.
        new_entries: The entries of the split, whose dtype gives k and m.
        new_class_ids, new_class_names: Where to write.

    Raises:
        DamagedError: A file that is read is damaged.
    """
    ids = Numbering.load(numbering, Scan.load(sound or selected or scan)).ids
    write_class_arrays(
        new_entries, ids, Labels.load(labels).of(ids), (new_class_ids, new_class_names)
    )


def write_class_arrays(
    entries: StrPath, ids: Sequence[str], names: Sequence[str], outs: Sequence[StrPath]
) -> None:
    """Write the ids and names of classes to two files, see ``dump_class_arrays``."""
    with reading_back(entries):
        dtype = read_array_back(entries).dtype
        arrays = np.array(ids, dtype["class_id"]), np.array(names, dtype["class_name"])
    for array, out in zip(arrays, outs, strict=True):
        with write_atomically(out) as file:
            file.write(npy_header(array.dtype, len(array)))
            file.write(array.data)  # np.save would not say why it failed
        logger.info("%s: %d x %s", out, len(array), array.dtype)
