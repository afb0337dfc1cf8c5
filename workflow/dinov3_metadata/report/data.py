"""Data: read the published files of a split for the report."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from ..addresses import image_path
from ..artefacts import Report
from ..documents import load
from ..errors import MetadataError
from ..files import open_array, reading
from ..formats import (
    AUDIT_ROW,
    SMALL,
    AuditSummary,
    Changes,
    Description,
    entries_dtype,
    problem_images,
    read_audit_summary,
    read_changes,
)
from ..path_table import PathTable
from ..paths import StrPath, array_names, file_name, path_of
from ..published import published_state
from ..replace import is_torn, torn

SHOWN = 500  # rows of a table at most; the JSON files next to the arrays contain all of them
EACH = 200  # images with a problem, and groups of doubles, that are shown at most of each kind
ROW = np.dtype(AUDIT_ROW)


class Published:
    """The published metadata of a split.

    Args:
        extra: The folder that was published to.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        about: The content of ``metadata-SPLIT.json``.

    Attributes:
        split, about: The arguments.
        entries, ids, names: The arrays; for TEST, ids and names are empty.
        counts: (classes,) ``<i8``: the number of images in each class.
        report: The report of ``verify``; None if it was removed with the work folder.
        changes: What the last publication changed; None if this was removed with the work folder.
        audit: The summary of the last audit; None if there was no audit.
        outdated: Whether the split has changed since its audit.
        table: ``audit-SPLIT.npy``; empty if there was no audit or the file is damaged.
        not_ok: Problem -> the first ``EACH`` images in ``audit-SPLIT.json`` that have it.

    Raises:
        MetadataError: An array is missing, is damaged or does not match ``about``, or a publication
            of the split was interrupted.
    """

    def __init__(self, extra: StrPath, split: str, about: Description) -> None:
        if is_torn(extra, split):
            raise torn(extra, split)
        self.split, self.about = split, about
        self.entries, *classes = self._open_arrays(extra)
        self.paths = None
        if about.table:
            with reading(path := path_of(extra, "paths", split=split)):
                self.paths = PathTable(path, about.images)
        self.ids, self.names = classes or [np.empty(0, "<U1")] * 2
        self.counts = np.empty(0, int)
        if classes:
            with reading(path_of(extra, "entries", split=split)):
                self.counts = self._count_images()
        noted = published_state(extra, split)
        self.report: Report | None = None
        if noted:
            self.report = load(Report, path_of(extra, "report", **noted.state), SMALL)
        self.changes: Changes | None = read_changes(extra, split)
        self.audit: AuditSummary | None = read_audit_summary(extra, split)
        self.outdated = bool(self.audit and noted and not self.audit.is_of(noted.state))
        self.table: np.ndarray = np.empty(0, ROW)
        if self.audit:
            with suppress(MetadataError):  # missing or damaged: the next audit rebuilds it
                found = open_array(path_of(extra, "audit_table", split=split))
                self.table = found if (found.dtype, found.ndim) == (ROW, 1) else self.table
        self.not_ok = problem_images(extra, split, EACH)

    def _open_arrays(self, extra: StrPath) -> list[np.ndarray]:
        """Map the arrays, and check that their dtypes and lengths match ``about``."""
        about = self.about
        dtype = entries_dtype(about.class_id_length, about.class_name_length)
        types = dtype, dtype["class_id"], dtype["class_name"]
        rows = about.images, about.classes, about.classes
        arrays = []
        for name, dtype, many in zip(array_names(self.split), types, rows, strict=False):
            array = np.asarray(open_array(Path(extra, name)))
            with reading(Path(extra, name)):
                if (array.dtype, array.shape) != (dtype, (many,)):
                    described = file_name("metadata", split=self.split)
                    raise ValueError(f"it does not match {described}")
            arrays.append(array)
        return arrays

    def path(self, row: int) -> str:
        """Return the path below root of the image of a row."""
        if self.paths:
            return self.paths[row]
        found = self.entries[row]
        return image_path(self.split, found["class_id"], int(found["actual_index"]))

    def _count_images(self) -> np.ndarray:
        index = self.entries["class_index"]
        if len(index) and index.max() >= len(self.ids):
            raise ValueError("a row has a class that does not exist")
        return np.bincount(index, minlength=len(self.ids))
