"""Refusals: what a scan refuses or warns of, and what the user can do."""

import time
from itertools import islice
from pathlib import Path

from ..addresses import LABELLED
from ..errors import SHOWN, MetadataError, count, listing, logger
from ..fingerprint import has_times
from ..walk import COARSE_TICK, Found

UNCHANGED = "  all of them in folders that have not changed since the last scan"


def doubt_times(folder: Path, found: Found, all_changed: bool) -> None:
    """Warn if the timestamps of all folders are zero, or are all new and equal to the time now.

    Args:
        folder, found: The split folder, and what was found there.
        all_changed: Whether each folder changed since the last scan.
    """
    states = (known.state for known in found.values())
    ctimes = [state.ctime for state in states if state and has_times(state)]
    if not ctimes:
        return
    now = time.time_ns()
    zero = not any(ctimes)
    if zero or (all_changed and all(abs(now - ctime) < COARSE_TICK for ctime in ctimes)):
        logger.warning(
            "All folder timestamps in %s are %s, so changes cannot be detected from them. If the "
            "file system does not keep real ones, set `scan: trust_timestamps: false`.",
            folder,
            "zero" if zero else "those of this moment",
        )


def check_found(
    folder: Path, split: str, found: Found, classes: list[str], unaddressable: str
) -> None:
    """Warn of images that are left out, and refuse what cannot become metadata.

    Args:
        folder, split, found: The split folder, the split, and what was found there.
        classes: The sorted names of its class folders; for TEST, one empty string.
        unaddressable: See ``scan.scan_images``.

    Raises:
        MetadataError: There are no images, a class has none, or some are not addressable.
    """
    strays = found[""].offenders if split in LABELLED else []
    if strays and not classes:
        raise MetadataError(
            f"The {split} split folder {folder} is flat: {strays[0]} and no class folders. "
            "Kaggle's val/ is like this: use the folder that contains ILSVRC/ and "
            "LOC_val_solution.csv as `root`, or sort the images into one folder per class id."
        )
    if not classes:
        raise MetadataError(
            f"The {split} split folder {folder} is empty: it contains no class folders."
        )
    if strays:
        logger.warning(
            "Ignored, because they are beside the class folders in %s: %s", folder, strays[0]
        )
    if total := sum(visited.skipped for visited in found.values()):
        folders = (name for name in sorted(found) if name or split not in LABELLED)
        shown = islice((text for name in folders for text in found[name].offenders), SHOWN)
        refusal = _refusal(folder, split, list(shown), total)
        if unaddressable == "refuse":
            raise refusal
        logger.warning("%s", refusal)
    empty = [name for name in classes if not len(found[name].actual_index)]
    what = "addressable images" if total else "images"
    if empty and split not in LABELLED:
        raise MetadataError(
            f"The {split} split folder {folder} contains no {what}. Add them, or remove {split} "
            "from `splits`."
        )
    if empty:
        raise MetadataError(
            f"{split}: {count(len(empty), 'class folder')} in {folder} with no {what}:",
            listing(empty, len(empty)),
            "Add images or remove them. A hidden folder (.ipynb_checkpoints) is also a class.",
        )


def _refusal(folder: Path, split: str, shown: list[str], total: int) -> MetadataError:
    pattern = f"ILSVRC2012_{split.lower()}_<8 digits>"
    if split == "TRAIN":
        pattern = "<class_id>_<number>"
    if split in LABELLED:
        pattern = f"<class_id>/{pattern}"
    return MetadataError(
        f"{split}: DINOv3 cannot address {count(total, 'image')} in {folder}. "
        f"It opens only {pattern}.JPEG:",
        listing(shown, total) if shown else UNCHANGED,
        "Rename, move or remove them. Or set `scan: unaddressable: skip` to leave them out, or "
        "`layout: folder` to make links with good names for all images.",
    )
