"""Changes: what became of a split between two publications."""

from collections.abc import Iterator

import numpy as np

from ..artefacts import Scan
from ..documents import Count, to_json
from ..errors import MetadataError
from ..files import write_atomically
from ..formats import Changes
from ..paths import StrPath, path_of


def compare(before: Scan | None, after: Scan) -> Changes:
    """Which classes and images came and went. An image is identified by its class and its number.

    Args:
        before: What was published last; None for nothing.
        after: What is published now.
    """
    old, new = (dict(_by_class(scan)) if scan else {} for scan in (before, after))
    nothing = np.empty(0, "<u4")
    classes: dict[str, tuple[Count, Count]] = {}
    for class_id in sorted(old.keys() | new.keys()):
        was, now = old.get(class_id, nothing), new.get(class_id, nothing)
        if not np.array_equal(was, now):
            classes[class_id] = _missing(now, was), _missing(was, now)
    return Changes(
        first=before is None,
        added=Count(sum(added for added, _ in classes.values())),
        removed=Count(sum(removed for _, removed in classes.values())),
        new=sorted(new.keys() - old.keys()),
        gone=sorted(old.keys() - new.keys()),
        classes=classes,
    )


def _missing(some: np.ndarray, others: np.ndarray) -> Count:
    """How many of some images the others lack."""
    return Count(len(np.setdiff1d(some, others, assume_unique=True)))


def _by_class(scan: Scan) -> Iterator[tuple[str, np.ndarray]]:
    indices = np.split(scan.actual_index, np.cumsum(scan.counts)[:-1])
    return zip(scan.class_ids.tolist(), indices, strict=True)


def compare_with_last(scan: Scan, extra: StrPath, split: str) -> Changes:
    """What the publication of a scan changes.

    Args:
        scan: The scan.
        extra: The folder for the metadata; its work folder keeps the scan that was published last.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
    """
    try:
        before = Scan.load(path_of(extra, "last_scan", split=split))
    except MetadataError:
        before = None
    return compare(before, scan)


def note_changes(changes: Changes, scan: Scan, extra: StrPath, split: str) -> None:
    """Note what a publication changed, and keep a copy of its scan for the next one."""
    with write_atomically(path_of(extra, "changes", split=split)) as file:
        file.write(to_json(changes, indent=1))
    scan.save(path_of(extra, "last_scan", split=split))
