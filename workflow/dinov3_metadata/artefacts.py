"""Artefacts: what one stage saves and the next one loads: labels, numbering, scan and report.

Each class saves, loads and checks its own file. numpy is imported only where it is used, so that
stages which need only labels or reports start without it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from zipfile import ZIP_STORED, ZipFile

from .addresses import image_path
from .disk import open_regular, read_file
from .documents import NONE, Count, parse, to_json
from .errors import DatasetChangedError, MetadataError, count
from .files import reading_back, write_atomically
from .fingerprint import check_content, digest, of_content
from .formats import SMALL, FileDigest, LabelsSource, NumberedBy
from .nested import unknown_classes
from .paths import StrPath, described_names
from .readings import Naming, name_classes
from .selection import Selection
from .tables import Table

if TYPE_CHECKING:
    import numpy as np


T = TypeVar("T")


def _with_digest(document: object) -> bytes:
    """Return a dataclass as JSON, with a digest of its content."""
    text = json.dumps(vars(document))
    return f"[{text},\n{json.dumps(digest(text))}]".encode()


def _load(kind: type[T], path: StrPath) -> T:
    """Read what ``_with_digest`` returned.

    Raises:
        DamagedError: The file is damaged.
    """
    with reading_back(path):
        document, saved = json.loads(read_file(path))
        if digest(json.dumps(document)) != saved:
            raise ValueError("its digest does not match")
        return kind(**document)


@dataclass(frozen=True)
class Labels:
    """The class names of a dataset, in each form in which their file can be read.

    Attributes:
        source: The file that the names were read from; empty if the class folders' own names are
            used.
        form: The form that the file appears to have: ``csv``, ``blanks``, ``tab``, ``colon``,
            ``json``, ``python`` or ``yaml``; ``folders`` if there is no file.
        tables: The rows of the file in each form, see ``tables.Table``. The first one that has
            all classes counts.
        refusal: Why the file cannot be read in ``form``; empty if it can.
        content: The fingerprint of the file; empty if there is no file.
    """

    source: str
    form: str
    tables: list[Table]
    refusal: list[str] = field(default_factory=list)
    content: str = ""

    def save(self, path: StrPath) -> None:
        """Write the labels to ``path`` as JSON, with a digest of their content."""
        with write_atomically(path) as file:
            file.write(_with_digest(self))

    @classmethod
    def load(cls, path: StrPath) -> Labels:
        """Read what ``save`` wrote.

        Raises:
            DamagedError: The file is damaged.
        """
        labels = _load(cls, path)
        with reading_back(path):
            tables = [Table(*one)._replace(header=tuple(one[3])) for one in labels.tables]
            return replace(labels, tables=tables)

    def naming(self, class_ids: Sequence[str]) -> Naming:
        """Return the names of some classes, and how they were read. Other ids are ignored.

        Args:
            class_ids: The class ids, by which the form of the file is chosen.

        Raises:
            DatasetChangedError: Some class folders have no row, but the file changed meanwhile.
            MetadataError: Some class folders have no row, see ``readings.name_classes``.
        """
        if self.form == "folders":
            return Naming("", "folders", {class_id: class_id for class_id in class_ids})
        try:
            return name_classes(self.source, self.form, self.tables, self.refusal, class_ids)
        except MetadataError:
            check_content(self.source, of_content(self.source), self.content)
            raise

    def of(self, class_ids: Sequence[str]) -> list[str]:
        """Return the name of each class in ``class_ids``.

        Raises:
            MetadataError: See ``naming``.
        """
        names = self.naming(class_ids).names
        return [names[class_id] for class_id in class_ids]


@dataclass(frozen=True)
class Numbering:
    """The class_index of each class.

    Attributes:
        ids: The class ids, in the order of class_index.
        by: The splits whose classes these are; empty if they are those of the scan.
        dataset, layout: The dataset's folder and its layout, for messages.
        folders: Split -> the paths of its folders below the dataset, for messages.
    """

    ids: list[str]
    by: list[str] = field(default_factory=list)
    dataset: str = ""
    layout: str = ""
    folders: dict[str, list[str]] = field(default_factory=dict)

    def save(self, path: StrPath) -> None:
        """Write the numbering to ``path`` as JSON, with a digest of its content."""
        with write_atomically(path) as file:
            file.write(_with_digest(self))

    @classmethod
    def load(cls, path: StrPath, scan: Scan) -> Numbering:
        """Read what ``save`` wrote; if the path is empty, number the classes of a scan.

        Raises:
            DamagedError: The file is damaged.
        """
        return _load(cls, path) if path else cls(scan.class_ids.tolist())

    @property
    def sha256(self) -> str:
        """The sha256 of the class ids in their order, with a NUL after each."""
        text = "".join(f"{class_id}\0" for class_id in self.ids)
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def of(self, class_ids: Sequence[str]) -> list[int]:
        """Return the class_index of each class in ``class_ids``.

        Raises:
            DatasetChangedError: Some classes were made after all classes were numbered.
            MetadataError: Some classes of VAL are not in TRAIN, see ``nested.unknown_classes``.
        """
        index = {class_id: i for i, class_id in enumerate(self.ids)}
        unknown = [class_id for class_id in class_ids if class_id not in index]
        if unknown and self.by != ["TRAIN"]:
            raise DatasetChangedError(
                f"{count(len(unknown), 'class', 'classes')} appeared during this run, for instance "
                f"{unknown[0]}. Run the same command again."
            )
        if unknown:
            raise unknown_classes(self.dataset, self.layout, self.folders, self.ids, class_ids)
        return [index[class_id] for class_id in class_ids]


@dataclass(frozen=True)
class Scan:
    """The images of a split, class by class in the order of ``ImageFolder``.

    Attributes:
        class_ids: (classes,), ``<U``: the sorted folder names. For TEST, one empty string.
        counts: (classes,), ``<i8``: the number of images in each class; 0 only if the user keeps
            classes without images.
        actual_index: (images,), ``<u4``: the number in each image's file name.
        folders: (folders,), ``<U``: the path of every visited folder below the split folder; an
            empty string for the split folder itself.
        skipped: (folders,), ``<i8``: the number of images in each folder that were left out because
            DINOv3 could not address them.
    """

    class_ids: np.ndarray
    counts: np.ndarray
    actual_index: np.ndarray
    folders: np.ndarray
    skipped: np.ndarray

    def save(self, path: StrPath) -> None:
        """Write the scan to ``path``, an uncompressed ``.npz``."""
        import numpy as np

        with write_atomically(path) as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: StrPath) -> Scan:
        """Read what ``save`` wrote.

        Raises:
            DamagedError: The file is damaged.
        """
        import numpy as np

        with reading_back(path), open_regular(path) as file:
            check_members(file)
            with np.load(file, allow_pickle=False) as arrays:
                scan = cls(**arrays)
            images = len(scan.actual_index)
            kinds = [f"{array.dtype.kind}{array.ndim}" for array in vars(scan).values()]
            if not (
                kinds == ["U1", "i1", "u1", "U1", "i1"]
                and scan.actual_index.itemsize == 4
                and len(scan.class_ids) == len(scan.counts)
                and len(scan.folders) == len(scan.skipped)
                and 0 <= scan.counts.min() <= scan.counts.max() <= images
                and scan.counts.sum() == images
            ):
                raise ValueError("its arrays do not fit together")
            return scan

    def by_class(self) -> dict[str, np.ndarray]:
        """Return class -> the numbers of its images."""
        import numpy as np

        indices = np.split(self.actual_index, np.cumsum(self.counts)[:-1])
        return dict(zip(self.class_ids.tolist(), indices, strict=True))

    def class_index(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the class_index of some images: the position of their class in ``class_ids``.

        Args:
            start, stop: Which images, as in a slice.

        Returns:
            (images,), ``<u4``.
        """
        import numpy as np

        ends = np.cumsum(self.counts).clip(start, stop)
        counts = np.diff(ends, prepend=start)
        return np.repeat(np.arange(len(counts), dtype="<u4"), counts)

    def positions_of(self, other: Scan) -> np.ndarray:
        """Return the positions of the images of a selection from this scan: (images,) ``<i8``."""
        import numpy as np

        if len(self.actual_index) == len(other.actual_index):
            return np.arange(len(self.actual_index))
        own, chosen = map(self.keys_of, (self, other))
        return np.flatnonzero(np.isin(own, chosen, assume_unique=True))

    def keys_of(self, other: Scan) -> np.ndarray:
        """Return a number for each image of a scan whose classes this one has, too: (images,)
        ``<u8``. Two images have the same number if they are the same."""
        import numpy as np

        classes = np.searchsorted(self.class_ids, other.class_ids).astype("<u8")
        return classes[other.class_index()] << 32 | other.actual_index

    def paths(self, split: str, which: Any = slice(None)) -> Iterator[str]:
        """Yield the paths below root of the images of a split, or of those at some positions."""
        ids, index = self.class_ids.tolist(), self.class_index()[which].tolist()
        for class_index, number in zip(index, self.actual_index[which].tolist(), strict=True):
            yield image_path(split, ids[class_index], number)


def check_members(file: BinaryIO) -> None:
    """Check that an ``.npz`` needs no more memory to load than it has bytes.

    Raises:
        ValueError: An array in it is compressed, or claims to be larger than its data.
    """
    from numpy.lib import format as npy

    left = os.fstat(file.fileno()).st_size
    with ZipFile(file) as members:
        for info in members.infolist():
            left -= info.file_size
            if info.compress_type != ZIP_STORED or left < 0:
                raise ValueError("an array in it is compressed, or larger than the file")
            with members.open(info) as member:
                npy.read_magic(member)
                shape, _, dtype = npy.read_array_header_1_0(member)
            if math.prod(shape) * dtype.itemsize > info.file_size:
                raise ValueError("an array in it is cut off")
    file.seek(0)


@dataclass
class Report:
    """What ``verify`` found out about the new files of a split.

    Attributes:
        skipped: The number of images that were left out.
        labels, labels_content: Where the class names come from, and the fingerprint of that file;
            None for TEST.
        class_id_length, class_name_length: The lengths of the longest class id and the longest
            class name, in code points.
        files: Published name of each array -> size and digest.
        checks: What was checked, one sentence each.
        verified: The time of the check, in UTC.
        numbering, notes, empty_classes, selection, gzipped: See ``formats.Description``.
    """

    split: str
    images: Count
    classes: Count
    skipped: Count
    labels: LabelsSource | None
    labels_content: str | None
    class_id_length: Count
    class_name_length: Count
    files: dict[str, FileDigest]
    checks: list[str]
    verified: str
    numbering: NumberedBy | None = None
    notes: list[str] = field(default_factory=list)
    empty_classes: Count = NONE
    selection: Selection | None = None
    gzipped: list[Count] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse a report whose files are not those of its split.

        Raises:
            ValueError: The files are others.
        """
        if [*self.files] != described_names(self.split, self.files):
            raise ValueError("it does not describe the files of a split")

    def save(self, path: StrPath) -> None:
        """Write the report to ``path`` as JSON."""
        with write_atomically(path) as file:
            file.write(to_json(self, indent=1))

    @classmethod
    def load(cls, path: StrPath) -> Report:
        """Read what ``save`` wrote.

        Raises:
            DamagedError: The file is damaged.
        """
        with reading_back(path):
            return parse(cls, read_file(path, SMALL))
