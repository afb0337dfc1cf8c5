"""Tabled: find the images of a split by the table of their paths, as a training does without a
view."""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from ..addresses import LABELLED, name_parts, split_folder
from ..errors import MetadataError
from ..files import open_array, sha256
from ..formats import Description
from ..look import finds_folder
from ..path_table import PathTable
from ..paths import StrPath, path_of
from ..readdir import keys_of
from .images import NUMBER, Images
from .place import Place
from .result import Finding, listed

FOLDERS = 100  # most folders whose names are remembered


def images_of_table(place: Place, extra: StrPath, about: Description) -> Images | None:
    """Return the images of a split that are where the table says; None if it has no folder.

    An image counts only if it is in the folder of its class, if there are class folders.

    Args:
        place: The dataset.
        extra: The folder with the metadata files.
        about: The content of ``metadata-SPLIT.json``, which names the table.

    Raises:
        OSError: A folder cannot be listed.
    """
    split, part = about.split, place.part(about.split)
    if not any(finds_folder(f"{place.dataset}/{path}") for path in part.paths):
        return None
    class_ids = sorted(place.class_ids(split)) if split in LABELLED else [""]
    position = {class_id: i for i, class_id in enumerate(class_ids)}
    keys, table = np.empty(0, "<i8"), None
    with suppress(MetadataError, FileNotFoundError, ValueError, LookupError, struct.error):
        entries = open_array(path_of(extra, "entries", split=split))
        table = PathTable(path_of(extra, "paths", split=split), len(entries))
        ids = entries["class_id"].tolist() if split in LABELLED else [""] * len(entries)
        start = f"{part.folder}/" if part.folder else ""
        found = np.fromiter(
            (
                position.get(class_id, -1)
                if there and (not part.classes or part.class_of(folder[len(start) :]) == class_id)
                else -1
                for (folder, there), class_id in zip(_there(place, table), ids, strict=True)
            ),
            "<i8",
        )
        kept = found >= 0
        keys = np.unique(found[kept] * NUMBER + entries["actual_index"][kept])
    numbers, which = (keys % NUMBER).astype("<u4"), keys // NUMBER
    if split in LABELLED:
        order = np.lexsort((keys_of(numbers, name_parts(split, "")[1]), which))
        numbers = numbers[order]
    nothing = np.empty(0, "<i8")
    return Images(
        split,
        f"{place.root}/{split_folder(split)}",
        class_ids,
        np.bincount(which, minlength=len(class_ids)).astype("<i8"),
        numbers,
        *(nothing, nothing, nothing, np.zeros(len(class_ids), "<i8"), nothing),
        table=table,
    )


def _there(place: Place, table: PathTable) -> Iterator[tuple[str, bool]]:
    """Yield the folder of each image, and whether the image is there."""
    names: dict[str, set[str]] = {}
    for path in map(table.__getitem__, range(len(table))):
        folder, _, name = path.rpartition("/")
        if folder not in names:
            if len(names) == FOLDERS:
                names.clear()
            names[folder] = set()
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                os.scandir(f"{place.dataset}/{folder}") as entries,
            ):
                names[folder] = {entry.name for entry in entries if entry.is_file()}
                if names[folder]:  # they can be listed although they cannot be opened
                    os.stat(f"{place.dataset}/{folder}/{next(iter(names[folder]))}")
        yield folder, name in names[folder]


def check_table(extra: StrPath, about: Description) -> list[Finding]:
    """Check that the table is the one that ``metadata-SPLIT.json`` describes."""
    path, expected = path_of(extra, "paths", split=about.split), about.files[about.table]
    try:
        same = (os.path.getsize(path), sha256(path)) == (expected.bytes, expected.sha256)
    except OSError as error:
        return listed("file", [f"{about.table} cannot be read ({error.strerror})"])
    described = f"metadata-{about.split}.json describes another {about.table}"
    return listed("description", [] if same else [described])
