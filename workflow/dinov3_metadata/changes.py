"""Changes: what became of a split between two publications."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .errors import MetadataError
from .files import write_atomically
from .layout import StrPath
from .publish import changes_file
from .scan import Scan


def compare(before: Scan | None, after: Scan) -> dict[str, Any]:
    """Which classes and images came and went.

    Args:
        before: What was published last; None for nothing.
        after: What is published now.

    Returns:
        ``classes``: class id -> [images added, images removed], for the classes that differ;
        ``new`` and ``gone``: the ids of the classes that came and went; ``added`` and ``removed``:
        images in all. An image is told by its class and its number.
    """
    old, new = (dict(_by_class(scan)) if scan else {} for scan in (before, after))
    nothing = np.empty(0, "<u4")
    classes = {}
    for class_id in sorted(old.keys() | new.keys()):
        one, other = old.get(class_id, nothing), new.get(class_id, nothing)
        if not np.array_equal(one, other):
            pairs = ((other, one), (one, other))
            classes[class_id] = [len(np.setdiff1d(*pair, assume_unique=True)) for pair in pairs]
    return {
        "first": before is None,
        "added": sum(added for added, _ in classes.values()),
        "removed": sum(removed for _, removed in classes.values()),
        "new": sorted(new.keys() - old.keys()),
        "gone": sorted(old.keys() - new.keys()),
        "classes": classes,
    }


def _by_class(scan: Scan) -> Iterator[tuple[str, np.ndarray]]:
    indices = np.split(scan.actual_index, np.cumsum(scan.counts)[:-1])
    return zip(scan.class_ids.tolist(), indices, strict=True)


def kept_scan(work: StrPath, split: str) -> Path:
    """Where the work folder keeps the scan that was published last."""
    return changes_file(work, split).with_suffix(".npz")


def compare_with_last(scan: Scan, work: StrPath, split: str) -> dict[str, Any]:
    """What the publication of a scan changes, see ``compare``.

    Args:
        scan: The scan.
        work: The work folder, see ``kept_scan``.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
    """
    try:
        before = Scan.load(kept_scan(work, split))
    except MetadataError:
        before = None
    return compare(before, scan)


def note_changes(changes: dict[str, Any], scan: Scan, work: StrPath, split: str) -> None:
    """Note what a publication changed, and keep a copy of its scan for the next one."""
    with write_atomically(changes_file(work, split)) as file:
        file.write(json.dumps(changes, indent=1).encode())
    scan.save(kept_scan(work, split))
