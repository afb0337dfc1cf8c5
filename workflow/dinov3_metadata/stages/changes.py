"""Changes: which classes and images a publication adds to a split and removes from it."""

import numpy as np

from ..addresses import TARS
from ..artefacts import Scan
from ..documents import Count, to_json
from ..errors import MetadataError
from ..files import write_atomically
from ..formats import Changes
from ..paths import StrPath, path_of
from ..tar_scan import TarScan


def compare(before: Scan | TarScan | None, after: Scan | TarScan) -> Changes:
    """Compare two scans of a split. An image is identified by its class and its number; one in a
    tar by its place and its name.

    Args:
        before: The scan that was published last; None if there is none.
        after: The scan that is published now.

    Returns:
        The classes and images that were added and removed.
    """
    old, new = (scan.by_class() if scan else {} for scan in (before, after))
    classes: dict[str, tuple[Count, Count]] = {}
    for class_id in sorted(old.keys() | new.keys()):
        sides = old.get(class_id), new.get(class_id)
        nothing = next(side for side in sides if side is not None)[:0]
        was, now = (nothing if side is None else side for side in sides)
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
    """Return how many images of ``some`` are not in ``others``."""
    if not len(some) or not len(others):
        return Count(len(some))
    return Count(len(np.setdiff1d(some, others, assume_unique=True)))


def compare_with_last(scan: Scan | TarScan, extra: StrPath, split: str) -> Changes:
    """Compare a scan with the scan that was published last.

    Args:
        scan: The scan that is about to be published.
        extra: The folder for the metadata; its work folder keeps the scan that was published last.
        split: ``TRAIN``, ``VAL`` or ``TEST``.

    Returns:
        What the publication changes. If the last scan is missing or damaged, it counts as the
        first publication.
    """
    try:
        load = TarScan if split == TARS else Scan.load
        before = load(path_of(extra, "last_scan", split=split))
    except MetadataError:
        before = None
    return compare(before, scan)


def note_changes(changes: Changes, scan: Scan | TarScan, extra: StrPath, split: str) -> None:
    """Write down what a publication changed, and keep its scan for comparison with the next one."""
    with write_atomically(path_of(extra, "changes", split=split)) as file:
        file.write(to_json(changes, indent=1))
    scan.save(path_of(extra, "last_scan", split=split))
