"""Formats: define the arrays and JSON documents that are read after a run, by DINOv3 and others.

numpy is imported only where it is used, because this module is imported at every start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from . import __version__
from .addresses import LABELLED
from .disk import open_regular
from .documents import NONE, Count, load, parse
from .holdout import Holdout
from .layouts import LAYOUTS
from .paths import StrPath, described_names, file_name, path_of
from .selection import Selection

if TYPE_CHECKING:
    import numpy as np

SMALL = 1 << 20  # most bytes of a document that describes a split; it has a few kilobytes

SUMMARY_LINES = 1000  # most lines in audit-SPLIT.json before the images; there are a few dozen
LONGEST_LINE = 1 << 16  # most bytes of a line of it: two paths and some words

PROBLEMS = {
    "zero-bytes": "Training stops: the file is empty.",
    "not-an-image": "Training stops: Pillow does not know the format, or the header is broken.",
    "truncated": "Training stops: the image cannot be decoded to the end.",
    "wrong-suffix": "Harmless: the format is not that of the suffix, but it decodes.",
    "other-mode": "Usually harmless: neither RGB nor grey, but converted to RGB.",
    "broken-exif": "Harmless: the EXIF cannot be read completely, but the image decodes.",
    "decompression-bomb": "Training warns or stops: more pixels than Pillow thinks safe.",
    "unreadable": "Training stops: the system cannot read the file.",
    "git-lfs-pointer": "Training stops: the content was never downloaded. Run git lfs pull.",
    "annex-link": "Training stops: the content is elsewhere. Run git annex get.",
    "html-page": "Training stops: it is an HTML page, such as an error page of a website.",
    "text": "Training stops: it is a text.",
    "clipped": "Training sees a white or constant area where the original has values.",
    "transparent": "Training sees the colours that are hidden behind transparent pixels.",
    "damaged": "Training sees a picture that is partly destroyed.",
    "rotated": "Training sees the image lying on its side or mirrored: it ignores EXIF.",
}
"""The problems that an audit may find -> what they mean for training. Files store their positions,
so add new ones at the end.

``git-lfs-pointer`` to ``text`` say what a file is that has ``not-an-image``, too: see
``stand_ins``."""

NOTES = ("rotated",)
"""Those of ``PROBLEMS`` with which an image is still ok."""

GROUPS = ("duplicate", "leak")
"""What ``audit: fail_on`` can name besides ``PROBLEMS``: images that a split has twice, and images
that are in two splits; see ``stages.duplicates``."""

AUDIT_ROW = [
    ("actual_index", "<u4"),
    ("class_index", "<u4"),
    ("problems", "<u2"),
    ("width", "<u4"),
    ("height", "<u4"),
    ("mode", "S8"),
    ("format", "S8"),
    ("size", "<u8"),
    ("mtime_ns", "<i8"),
    ("inode", "<u8"),
    ("sha256", "V32"),
    ("phash", "<u8"),
]
"""The columns of ``audit-SPLIT.npy``, whose rows are in the order of the entries.

Bit ``i`` of ``problems`` stands for the problem at place ``i`` in ``PROBLEMS``. ``mode`` and
``format`` are Pillow's names. ``sha256`` is that of the file, and ``phash`` the perceptual hash of
what training sees, see ``hashes``. Both are zero where they are unknown, or not wanted.
"""


def entries_dtype(class_id_length: int, class_name_length: int) -> np.dtype:
    """Return the dtype of a row of the entries, for texts of up to some code points.

    Source: ``ImageNet._dump_entries`` in facebookresearch/dinov3. Other programs read the columns
    by position: order and dtypes are a public contract.
    """
    import numpy as np

    return np.dtype(
        [
            ("actual_index", "<u4"),
            ("class_index", "<u4"),
            ("class_id", f"<U{class_id_length}"),
            ("class_name", f"<U{class_name_length}"),
        ]
    )


def npy_header(dtype: np.dtype, rows: int) -> bytes:
    """Return the header of an ``.npy`` file, version 1.0, of ``rows`` elements of ``dtype``."""
    from numpy.lib import format as npy

    header = BytesIO()
    npy.write_array_header_1_0(
        header,
        {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows,)},
    )
    return header.getvalue()


@dataclass
class FileDigest:
    """The size and the sha256 of a published array."""

    bytes: Count
    sha256: str


@dataclass
class LabelsSource:
    """Where the class names come from: a file, and how it was read; see ``artefacts.Labels``."""

    file: str
    form: str


@dataclass
class NumberedBy:
    """How the classes of a split are numbered.

    Attributes:
        classes: The setting ``classes``; ``own`` if it makes no difference to the split.
        splits: The splits whose classes are numbered together.
        sha256: That of the class ids in the order of class_index, each followed by a NUL. If it is
            the same for TRAIN and VAL, each class has the same number in both.
    """

    classes: str
    splits: list[str]
    sha256: str


@dataclass
class Description:
    """The content of ``metadata-SPLIT.json``; the same for the same arrays, origin and versions.

    Attributes:
        root: The folder that DINOv3 takes as root.
        dataset: The folder of the dataset. It differs from root if there is a view.
        layout: The layout of the dataset.
        skipped: The number of images that were left out.
        labels: Where the class names come from; None for TEST.
        class_id_length, class_name_length: The lengths of the longest class id and the longest
            class name, in code points.
        files: Name of each array -> size and digest. A table of the images' paths is the
            last one, if there is one.
        versions: The versions of Python, numpy and this package.
        numbering: How the classes are numbered; None if the images have no labels.
        notes: What a user should know about the files, one sentence each.
        empty_classes: The number of class folders of the split without images.
        folders: Split -> the paths of its folders below the dataset, for the splits that are not in
            ``train``, ``val`` and ``test``.
        selection: What was left out by the setting ``select``; None if nothing could be.
        select: That setting, without what makes no difference to the split.
        holdout: Which images of TRAIN are VAL, if VAL is a part of TRAIN; otherwise None.
        gzipped: The rows whose images are compressed by gzip, in tars.
    """

    split: str
    root: str
    dataset: str
    layout: str
    images: Count
    classes: Count
    skipped: Count
    labels: LabelsSource | None
    class_id_length: Count
    class_name_length: Count
    files: dict[str, FileDigest]
    versions: dict[str, str]
    numbering: NumberedBy | None = None
    notes: list[str] = field(default_factory=list)
    empty_classes: Count = NONE
    folders: dict[str, list[str]] = field(default_factory=dict)
    selection: Selection | None = None
    select: dict[str, Any] = field(default_factory=dict)
    holdout: Holdout | None = None
    gzipped: list[Count] = field(default_factory=list)

    @property
    def table(self) -> str:
        """The name of the table of the paths of the images; empty if there is none."""
        name = file_name("paths", split=self.split)
        return name if name in self.files else ""

    def __post_init__(self) -> None:
        """Refuse values that do not fit together.

        Raises:
            ValueError: They do not.
        """
        if [*self.files] != described_names(self.split, self.files):
            raise ValueError("it describes other files than those of the split")
        os.fsencode(self.root + self.dataset)  # raises a ValueError, too
        if "\0" in self.root + self.dataset or self.layout not in LAYOUTS:
            raise ValueError("root, dataset or layout cannot be what it says")


@dataclass
class Changes:
    """What the last publication of a split changed, see ``stages.changes.compare``.

    Attributes:
        first: Whether nothing was published before.
        added, removed: The numbers of images in all classes together.
        new, gone: The ids of the classes that were added and removed.
        classes: Class id -> numbers of images added and removed, for the classes that differ.
    """

    first: bool
    added: Count
    removed: Count
    new: list[str]
    gone: list[str]
    classes: dict[str, tuple[Count, Count]]


NOT_STRICT = (
    "simplejpeg is not installed, so damaged JPEGs that Pillow decodes without an error were not "
    "looked for. To find them: pip install 'dinov3-metadata[audit]'"
)
JPEGS = {"JPEG", "MPO"}
"""Pillow's names of the formats of which this is true."""


@dataclass(kw_only=True)
class AuditSummary:
    """The counts of an audit, at the beginning of ``audit-SPLIT.json``.

    Attributes:
        audited: The time of the audit, in UTC.
        ok: The number of images without a problem, or with nothing but ``NOTES``.
        problems, modes, formats: Name -> number of images with it, the most frequent first.
        first: Problem -> the first image with it; in a view, the file behind the link.
        width, height: ``least``, ``median`` and ``most``, in pixels; None if no image was opened.
        pillow: The version of Pillow.
        tree, selection, numbered: The scan, the selection and the numbering of the images that
            were opened.
        findings: The fingerprint of what was found in the images: problems and hashes.
        simplejpeg: The version of simplejpeg; empty without it, when no JPEG is found to be
            ``damaged``.
        code: The fingerprint of the code that looks for problems.
    """

    split: str
    root: str
    audited: str
    images: Count
    ok: Count
    problems: dict[str, Count]
    first: dict[str, str] = field(default_factory=dict)
    modes: dict[str, Count]
    formats: dict[str, Count]
    width: dict[str, float] | None = None
    height: dict[str, float] | None = None
    pillow: str
    simplejpeg: str = ""
    tree: str = ""
    selection: str = "all"
    numbered: str = ""
    findings: str = ""
    code: str

    def is_of(self, state: Mapping[str, str]) -> bool:
        """Return whether the images that were opened are those of a state of the split."""
        return all(vars(self)[name] == state[name] for name in ("tree", "selection", "numbered"))


@dataclass
class Doubles:
    """What a split has twice, see ``DuplicatesSummary``.

    Attributes:
        images: The number of images that were compared.
        exact_groups, exact_images: The number of groups of images with the same content, and that
            of the images in them.
        near_groups, near_images: The same for images that look alike. Of images with the same
            content, only the first counts here.
    """

    images: Count
    exact_groups: Count
    exact_images: Count
    near_groups: Count
    near_images: Count


@dataclass
class Leaks:
    """How many images of a split another split has, too: with the same content, or only near."""

    exact: Count
    near: Count


@dataclass
class DuplicatesSummary:
    """The counts at the beginning of ``duplicates.json``.

    Attributes:
        root: The folder that DINOv3 uses as root.
        audited: The time of the search, in UTC.
        images: The number of images that were compared, in all splits.
        threshold: The bits in which the perceptual hashes of near images may differ.
        splits: Split -> what it has twice.
        left_out: The splits that were not compared, because no audit has seen them as they are.
        pairs: Two splits, such as ``TRAIN-VAL`` -> how many images of the second are in the first.
    """

    root: str
    audited: str
    images: Count
    threshold: Count
    splits: dict[str, Doubles]
    pairs: dict[str, Leaks]
    left_out: list[str] = field(default_factory=list)


def versions() -> dict[str, str]:
    """Return the versions of the software for ``Description``."""
    import platform
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "dinov3-metadata": __version__,
    }


def read_description(extra: StrPath, split: str) -> Description | None:
    """Return the content of ``metadata-SPLIT.json``; None if it is missing or damaged."""
    return load(Description, path_of(extra, "metadata", split=split), SMALL)


def differently_held_out(extra: StrPath) -> str:
    """Return a sentence if TRAIN and VAL were taken from the same images by different rules."""
    described = [read_description(extra, split) for split in LABELLED]
    found = [about.holdout for about in described if about]
    if len(found) < 2 or found[0] == found[1]:
        return ""
    return (
        "TRAIN and VAL were made with different settings of `holdout` or its seed, so images may "
        "be in both."
    )


def read_class_ids(extra: StrPath, split: str, about: Description) -> list[str]:
    """Return the published class ids of a split, without numpy; nothing if they are damaged.

    Args:
        extra: The folder with the metadata files.
        split: ``TRAIN`` or ``VAL``.
        about: The content of ``metadata-SPLIT.json``.
    """
    width, size = 4 * about.class_id_length, 4 * about.class_id_length * about.classes
    with (
        suppress(OSError, ValueError),
        open_regular(path_of(extra, "class_ids", split=split)) as file,
    ):
        file.seek(-size, os.SEEK_END)
        rows = file.read(size)
        texts = (rows[i : i + width].decode("utf-32-le") for i in range(0, size, width))
        return [text.rstrip("\0") for text in texts]
    return []


def read_changes(extra: StrPath, split: str) -> Changes | None:
    """Return what the last publication changed; None if the note is missing or damaged."""
    return load(Changes, path_of(extra, "changes", split=split))


def read_audit_summary(extra: StrPath, split: str) -> AuditSummary | None:
    """Return the counts of the last audit; None if its files are missing or damaged."""
    if not os.path.exists(path_of(extra, "audit_list", split=split)):
        return None
    return load(AuditSummary, path_of(extra, "audit_summary", split=split), SMALL)


def read_duplicates_summary(extra: StrPath) -> DuplicatesSummary | None:
    """Return the counts of ``duplicates.json``, without reading all of it; None if the file is
    missing or damaged."""
    with suppress(OSError, ValueError), open_regular(path_of(extra, "duplicates")) as file:
        lines = iter(partial(file.readline, LONGEST_LINE), b"")
        head = takewhile(
            lambda line: not line.startswith(b' "exact"'), islice(lines, SUMMARY_LINES)
        )
        return parse(DuplicatesSummary, b"".join(head).rstrip(b",\n") + b"}")
    return None


@dataclass
class NotOk:
    """An image that ``audit-SPLIT.json`` names, as not ok or as noted.

    Attributes:
        image: Its path below root.
        problems: Those of ``PROBLEMS`` that it has.
        mode: Pillow's name of its mode.
        file: In a view, the file that the link leads to.
    """

    image: str
    problems: list[str]
    mode: str
    file: str = ""


def problem_images(extra: StrPath, split: str, many: int) -> dict[str, list[NotOk]]:
    """Return the first ``many`` images with each problem that ``audit-SPLIT.json`` names.

    Returns:
        Problem -> images, for the problems that occur. Where the file is damaged, they end.
    """
    found: dict[str, list[NotOk]] = {problem: [] for problem in PROBLEMS}
    open_ones = {problem: f'"{problem}"'.encode() for problem in PROBLEMS}
    with (
        suppress(OSError, ValueError, RecursionError),
        open_regular(path_of(extra, "audit_list", split=split)) as file,
    ):
        lines = iter(partial(file.readline, LONGEST_LINE), b"")
        if not any(line.startswith(b' "not_ok"') for line in islice(lines, SUMMARY_LINES)):
            return {}
        for line in lines:
            # Only a line that may be wanted is parsed, as there may be a million.
            if line.startswith(b"  {") and any(name in line for name in open_ones.values()):
                image = parse(NotOk, line.rstrip(b",\n"))
                for problem in open_ones.keys() & {*image.problems}:
                    found[problem].append(image)
                    if len(found[problem]) == many:
                        del open_ones[problem]
    return {problem: images for problem, images in found.items() if images}
