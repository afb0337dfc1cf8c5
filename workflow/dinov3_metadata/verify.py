"""Verify: read the new files back and hold every row against the scan, the labels and the disk."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from .entries import entries_dtype
from .errors import MetadataError, count, listing
from .files import sha256, write_atomically
from .labels import Labels
from .layout import LABELLED, MAX_INDEX, image_path, split_folder
from .log import logger, progress
from .scan import Scan, is_image

ROWS = 1 << 16  # rows held in memory at a time


def verify(
    root: str | os.PathLike,
    split: str,
    scan: Scan,
    labels: Labels | None,
    files: dict[str, str],
    *,
    level: str = "sample",
    sample: int = 1000,
) -> dict:
    """Check the files of a split and describe them.

    Args:
        root: The dataset's folder.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        scan: What the files must say.
        labels: The names of the classes; None for TEST.
        files: Published name -> path of the new file: entries, class ids, class names, in that
            order; for TEST the entries alone.
        level: ``sample`` looks for the images of some rows, ``full`` for those of all rows and
            compares the split with a fresh ImageFolder.
        sample: How many rows ``sample`` looks up, spread evenly over the split.

    Returns:
        The report: counts, widths in code points, bytes and sha256 of each file, the checks made,
        and when.

    Raises:
        MetadataError: A check failed; the message says which, and shows the first rows or paths.
    """
    arrays = [_open(path) for path in files.values()]
    entries, (class_ids, class_names) = arrays[0], arrays[1:] or (None, None)
    name = next(iter(files))
    checks = [_check_types(name, entries, class_ids, class_names, split)]
    if class_ids is not None:
        checks.append(_check_classes(class_ids, class_names, scan, labels))
    checks.append(_check_rows(name, entries, class_ids, class_names, scan))
    rows = np.unique(np.linspace(0, len(entries) - 1, sample).astype(int))
    if level == "full":
        rows = np.arange(len(entries))
    checks.append(_check_paths(root, split, entries, rows))
    if level == "full":
        checks.append(_check_witness(root, split, entries, scan))
    for check in checks:
        logger.info("%s: %s", split, check)
    widths = [entries.dtype[column].itemsize // 4 for column in ("class_id", "class_name")]
    return {
        "split": split,
        "images": len(entries),
        "classes": 0 if class_ids is None else len(class_ids),
        "skipped": int(scan.skipped.sum()),
        "class_id_length": widths[0],
        "class_name_length": widths[1],
        "files": {
            name: {"bytes": os.path.getsize(path), "sha256": sha256(path)}
            for name, path in files.items()
        },
        "checks": checks,
        "verified": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_report(report: dict, out: str | os.PathLike) -> None:
    """Keep the report of ``verify`` at ``out`` as JSON."""
    with write_atomically(out) as file:
        file.write(json.dumps(report, indent=1).encode())


def _open(path: str) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise MetadataError(f"{path} can not be read back: {error}") from None


def _check_types(
    name: str, entries: np.ndarray, ids: np.ndarray | None, names: np.ndarray | None, split: str
) -> str:
    due = (
        entries_dtype(0, 0)
        if ids is None
        else entries_dtype(ids.dtype.itemsize // 4, names.dtype.itemsize // 4)
    )
    if entries.dtype != due or entries.ndim != 1 or not len(entries):
        raise MetadataError(f"{name}: {entries.dtype} {entries.shape} where {due} (images,) is due")
    if ids is not None and not (
        ids.dtype.kind == names.dtype.kind == "U" and ids.ndim == 1 and ids.shape == names.shape
    ):
        raise MetadataError(
            f"class-ids-{split}.npy and class-names-{split}.npy do not fit each other: "
            f"{ids.dtype} {ids.shape}, {names.dtype} {names.shape}"
        )
    return "headers, dtypes, field order and shapes"


def _check_classes(ids: np.ndarray, names: np.ndarray, scan: Scan, labels: Labels) -> str:
    if ids.tolist() != scan.class_ids.tolist():
        raise MetadataError("The class ids are not those of the scan.")
    wrong = [
        f"{class_id}: {name!r} where {due!r} is due"
        for class_id, name, due in zip(
            ids.tolist(), names.tolist(), labels.of(ids.tolist()), strict=True
        )
        if name != due
    ]
    if wrong:
        raise MetadataError(f"Class names unlike the labels:\n{listing(wrong, len(wrong))}")
    for what, array in (("class ids", ids), ("class names", names)):
        if max(map(len, array.tolist())) != array.dtype.itemsize // 4:
            raise MetadataError(f"The {what} are wider than their longest: {array.dtype}")
    return f"ids and names of all {count(len(ids), 'class', 'classes')}"


def _check_rows(
    name: str, entries: np.ndarray, ids: np.ndarray | None, names: np.ndarray | None, scan: Scan
) -> str:
    if len(entries) != len(scan.actual_index):
        raise MetadataError(f"{name}: {len(entries)} rows, the scan has {len(scan.actual_index)}")
    class_index = np.full(len(entries), MAX_INDEX, "<u4") if ids is None else scan.class_index()
    for block in _blocks(len(entries), f"verify {name}"):
        rows = np.asarray(entries[block])
        good = (rows["actual_index"] == scan.actual_index[block]) & (
            rows["class_index"] == class_index[block]
        )
        if ids is not None:
            index = np.minimum(rows["class_index"], len(ids) - 1)
            good &= (rows["class_id"] == ids[index]) & (rows["class_name"] == names[index])
        if not good.all():
            bad = np.flatnonzero(~good)
            shown = (f"row {block.start + i}: {rows[i].item()}" for i in bad)
            raise MetadataError(f"{name}: rows unlike the scan:\n{listing(shown, len(bad))}")
    return f"all {count(len(entries), 'row')}: order, numbers, classes, ids and names"


def _blocks(rows: int, what: str) -> Iterator[slice]:
    starts = range(0, rows, ROWS)
    for start in progress(starts, len(starts), what):
        yield slice(start, min(start + ROWS, rows))


def _paths(split: str, entries: np.ndarray, rows: np.ndarray) -> Iterator[str]:
    """The paths below root that DINOv3 rebuilds from some rows."""
    for start in range(0, len(rows), ROWS):
        for actual_index, _, class_id, _ in entries[rows[start : start + ROWS]].tolist():
            yield image_path(split, class_id, actual_index)


def _check_paths(root: str | os.PathLike, split: str, entries: np.ndarray, rows: np.ndarray) -> str:
    root = os.fspath(root)
    paths = progress(_paths(split, entries, rows), len(rows), f"paths {split}")
    gone = [path for path in paths if not os.path.exists(f"{root}/{path}")]
    if gone:
        raise MetadataError(
            f"{split}: {count(len(gone), 'image')} of {len(rows):,} looked up "
            f"{'is' if len(gone) == 1 else 'are'} not (or no longer) in {root}:\n"
            f"{listing(gone, len(gone))}\n"
            "If the dataset changed meanwhile, run the same command again."
        )
    return f"the paths of {count(len(rows), 'row')} of {len(entries):,} exist"


def _check_witness(root: str | os.PathLike, split: str, entries: np.ndarray, scan: Scan) -> str:
    """Compare the split with an independent listing: ImageFolder, for TEST a plain ``os.walk``."""
    folder = Path(root, split_folder(split))
    if split in LABELLED:
        from torchvision.datasets import ImageFolder

        witness = "torchvision.datasets.ImageFolder"
        dataset = ImageFolder(folder, allow_empty=True)
        found = [(os.path.relpath(path, root), index) for path, index in dataset.samples]
        if dataset.classes != scan.class_ids.tolist():
            raise MetadataError(f"{split}: {witness} finds other classes in {folder}.")
    else:
        witness = "os.walk"
        found = [
            (os.path.relpath(os.path.join(above, name), root), MAX_INDEX)
            for above, _, names in os.walk(folder, followlinks=True)
            for name in names
            if is_image(name)
        ]
        found.sort(key=lambda row: (len(row[0]), row[0]))  # numbers of 8 digits, then of 9
    ours = list(
        zip(
            _paths(split, entries, np.arange(len(entries))),
            entries["class_index"].tolist(),
            strict=True,
        )
    )
    known = set(ours)
    others = [path for path, index in found if (path, index) not in known]
    skipped = int(scan.skipped.sum())
    if len(others) != skipped or [row for row in found if row in known] != ours:
        raise MetadataError(
            f"{split}: {witness} finds {count(len(found), 'image')} in {folder}, "
            f"{len(others):,} of them not in the entries ({skipped:,} skipped):\n"
            f"{listing(others, len(others))}\n"
            "If the dataset changed meanwhile, run the same command again."
        )
    return f"the whole split against a fresh {witness}"
