"""Verify: read the new files back and check every row against the scan, the labels and the disk."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ..addresses import MAX_INDEX, image_path
from ..artefacts import Labels, Numbering, Report, Scan
from ..disk import kind_of
from ..documents import Count, load
from ..errors import SHOWN, MetadataError, count, listing, logger
from ..files import read_array_back, reading_back, rows_at, sha256
from ..fingerprint import read_record
from ..formats import (
    FileDigest,
    LabelsSource,
    NumberedBy,
    entries_dtype,
    npy_header,
)
from ..image_paths import Places
from ..path_table import PathTable
from ..paths import StrPath
from ..progress import progress
from ..readdir import NOTHING, behind, why_no_image
from ..readings import Naming
from ..selection import Selection
from ..witness import check_listing, check_witness
from .left_out import notes_on
from .unfit import Leftover

BLOCK = 1 << 20  # bytes of rows held in memory at a time


def verify(
    *,
    view: StrPath = "",
    scan: StrPath,
    selected: StrPath = "",
    sound: StrPath = "",
    selection: StrPath = "",
    sound_selection: StrPath = "",
    folders: StrPath,
    table: StrPath = "",
    labels: StrPath = "",
    numbering: StrPath = "",
    new_entries: StrPath,
    new_class_ids: StrPath = "",
    new_class_names: StrPath = "",
    new_paths: StrPath = "",
    report: StrPath,
    root: str,
    split: str,
    level: str = "sample",
    sample: int = 1000,
    classes: str = "own",
    notes: Sequence[str] = (),
    source: str = "",
    unaddressable: str = "skip",
    empty_classes: str = "keep",
    listed: Mapping[str, Any] | None = None,
) -> None:
    """Check the new files of a split, and write a report.

    Args:
        view: If the split folder is that of a view, its record; otherwise empty.
        scan: The file with the scan of the split, see ``artefacts.Scan``.
        selected, sound: See ``entries.dump_entries``. The new files must match the last of these
            three.
        selection, sound_selection: What was left out, see ``selection.Selection``; empty if all
            images are taken.
        folders: The record of that scan, see ``fingerprint.Record``.
        labels: The file with the names of the classes, see ``artefacts.Labels``; empty for TEST.
        numbering: The file with their numbers, see ``artefacts.Numbering``; empty if they are
            numbered by the scan.
        table: The file with the paths of all images, see ``image_paths.ImagePaths``; empty if
            DINOv3 rebuilds them.
        new_entries, new_class_ids, new_class_names, new_paths: The new files; for TEST only the
            first and, if there is a table, the last one.
        report: Where to write the report, see ``artefacts.Report``.
        root, split, level, sample, classes: See ``check_files``.
        notes: What else a user should know about the files, one sentence each.
        source, unaddressable, empty_classes: See ``unfit.Leftover``. The scan may be that of a
            selection that is no longer wanted.
        listed: If there is a table, further arguments for ``witness.check_listing``.

    Raises:
        MetadataError: See ``check_files`` and ``unfit.Leftover.refuse``.
    """
    paths = (path for path in (new_entries, new_class_ids, new_class_names, new_paths) if path)
    whole = Scan.load(scan)
    found = Scan.load(sound or selected) if sound or selected else whole
    chosen = sound_selection or selection
    record = read_record(folders)
    places = Places(split, whole, table)
    if not chosen:
        Leftover(
            places,
            record,
            root=root,
            source=source,
            unaddressable=unaddressable,
            empty_classes=empty_classes,
        ).refuse()
    records = list(filter(None, [read_record(view) if view else None, record]))
    check_files(
        {os.path.basename(path): str(path) for path in paths},
        found,
        Labels.load(labels) if labels else None,
        Numbering.load(numbering, found),
        root=root,
        split=split,
        level=level,
        sample=sample,
        classes=classes,
        retired=frozenset(record.retired) if record else frozenset(),
        is_view=bool(view),
        places=places,
        listed=listed,
        notes=[*notes, *notes_on(split, records)],
        whole=whole,
        selection=load(Selection, chosen) if chosen else None,
    ).save(report)


def check_files(
    files: dict[str, str],
    scan: Scan,
    labels: Labels | None,
    numbering: Numbering | None = None,
    *,
    root: StrPath,
    split: str,
    level: str = "sample",
    sample: int = 1000,
    classes: str = "own",
    retired: frozenset[str] = frozenset(),
    is_view: bool = False,
    places: Places | None = None,
    listed: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    whole: Scan | None = None,
    selection: Selection | None = None,
) -> Report:
    """Check the files of a split and describe them.

    Args:
        files: Published name -> path of the new file: entries, class ids, class names, and paths,
            in that order; for TEST no classes, and paths only if there is a table.
        scan: The scan that the files must match.
        labels: The names of the classes; None for TEST.
        numbering: The numbers of the classes; None if they are numbered by the scan.
        root: The folder that DINOv3 uses as root.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        level: ``sample`` checks that the images of some rows exist. ``full`` checks this for all
            rows, and compares the split with an independent listing by ImageFolder (for TEST, by
            ``os.walk``).
        sample: How many rows ``sample`` checks, spread evenly over the split.
        classes: The setting ``classes``; ``own`` if it makes no difference to the split.
        retired: The links and folders that the scan left out, see ``fingerprint.Record``.
        is_view: Whether ``root`` is a view.
        places: The paths of all images of the split; None if DINOv3 rebuilds them.
        listed: See ``verify``.
        notes: What else a user should know about the files, one sentence each.
        whole: The scan of the split before any selection; None if it is ``scan``.
        selection: What was left out of it.

    Returns:
        The report, with the sizes and sha256 of the files and the checks that they passed.

    Raises:
        MetadataError: A check failed. The message names the check and shows the first wrong rows or
            paths. The new files have been removed, so that the next run rebuilds them.
    """
    with _removing_wrong(files, split):
        numbering = numbering or Numbering.load("", scan)
        ids = numbering.ids
        naming = labels.naming(ids) if labels else Naming("", "", {})
        names = [naming.names[one] for one in ids] if labels else [""]
        types = [entries_dtype(*(max(map(len, texts)) for texts in (ids, names)))]
        types += [types[0]["class_id"], types[0]["class_name"]] if labels else []
        rows_expected = [len(scan.actual_index), len(ids), len(ids)]
        checks = [_check_headers(files, types, rows_expected)]
        entries, *named = [read_array_back(path) for path in [*files.values()][: len(types)]]
        if labels:
            checks.append(_check_classes(named, ids, names))
        index = np.array(numbering.of(scan.class_ids.tolist()), "<u4")
        digests = {name: sha256(path) for name, path in [*files.items()][1 : len(types)]}
        name = next(iter(files))
        table = places if places and places.tabled else None
        last, path = [*files.items()][-1]
        with ThreadPoolExecutor(1) as pool:
            rows_checked = pool.submit(_check_rows, name, entries, named, scan, index)
            if table:
                check, digests[last] = _check_table(last, path, table.some(scan))
                checks.append(check)
                known = PathTable(path, len(entries))
        check, digests[name] = rows_checked.result()
        checks.append(check)
        if selection:
            checks.append(_check_selection(split, scan, whole or scan, selection))
        looked_up = len(entries) if level == "full" else min(int(sample), len(entries))
        rows = np.linspace(0, len(entries) - 1, looked_up).astype(int)
        paths = map(known.__getitem__, rows.tolist()) if table else _paths(split, entries, rows)
        checks.append(_check_paths(root, split, paths, len(rows), len(entries), is_view))
        if level == "full" and table:
            checks.append(check_listing(root, split, table.scan, table, **(listed or {})))
        elif level == "full":
            checks.append(check_witness(root, split, whole or scan, retired, is_view))
        for check in checks:
            logger.info("%s: %s", split, check)
        own = [*naming.notes, *_notes(split, scan, numbering, classes)] if labels else []
        notes = [*notes, *own]
        for note in notes:
            logger.warning("%s", note)
        widths = [entries.dtype[column].itemsize // 4 for column in ("class_id", "class_name")]
        return Report(
            split=split,
            images=Count(len(entries)),
            classes=Count(len(named[0]) if named else 0),
            skipped=Count(int(scan.skipped.sum())),
            labels=LabelsSource(naming.source, naming.form) if labels else None,
            labels_content=labels.content if labels else None,
            class_id_length=Count(widths[0]),
            class_name_length=Count(widths[1]),
            files={
                name: FileDigest(Count(os.path.getsize(path)), digests[name])
                for name, path in files.items()
            },
            checks=checks,
            verified=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            numbering=NumberedBy(classes, numbering.by or [split], numbering.sha256)
            if labels
            else None,
            notes=notes,
            empty_classes=Count(int((scan.counts == 0).sum()) if labels else 0),
            selection=selection,
        )


def _notes(split: str, scan: Scan, numbering: Numbering, classes: str) -> list[str]:
    """Say what a user should know about the numbers of a split's classes, one sentence each.

    Args:
        split: ``TRAIN`` or ``VAL``.
        scan: The split's images.
        numbering: The numbers of its classes.
        classes: The setting ``classes``.
    """
    notes = []
    if empty := scan.class_ids[scan.counts == 0].tolist():
        some = ", ".join(empty[:SHOWN]) + (", ..." if empty[SHOWN:] else "")
        notes.append(f"{split}: {count(len(empty), 'class', 'classes')} without images: {some}.")
    if lacking := sorted({*numbering.ids}.difference(scan.class_ids.tolist())):
        some = ", ".join(lacking[:SHOWN]) + (", ..." if lacking[SHOWN:] else "")
        notes.append(
            f"{split} lacks {len(lacking):,} of the {len(numbering.ids):,} classes of "
            f"{' and '.join(numbering.by)}: {some}. They are numbered anyway, so the files differ "
            "from those that DINOv3's dump_extra() writes."
        )
    if classes != "own" and not numbering.by:
        other = "TRAIN" if split == "VAL" else "VAL"
        notes.append(
            f"{split} is numbered by its own classes: there are no class folders of {other} to "
            "compare them with."
        )
    if all(map(str.isdecimal, numbering.ids)):
        wrong = [f"{one} has {i}" for i, one in enumerate(numbering.ids) if int(one) != i]
        if wrong:
            notes.append(
                f"{split}: the class folders are numbers, but class_index follows the order of "
                f"their text: {' and '.join(wrong[:2])}."
            )
    return notes


@contextmanager
def _removing_wrong(files: dict[str, str], split: str) -> Iterator[None]:
    """Remove the new files if a check in the block fails."""
    try:
        yield
    except MetadataError as error:
        for path in files.values():
            Path(path).unlink(missing_ok=True)
        raise MetadataError(
            error.args,
            f"{split} was not published. If the dataset changed during the run, run "
            "the same command again.",
        ) from None


def _check_headers(files: dict[str, str], types: list[np.dtype], rows: list[int]) -> str:
    """Check that each file starts with exactly the expected header and ends with its last row.

    Args:
        files: Name -> path of each file.
        types: The dtype of the rows of each file.
        rows: The number of rows of each file.

    Returns:
        The name of the check for the report, as for all checks below.
    """
    for (name, path), dtype, many in zip(files.items(), types, rows, strict=False):
        header = npy_header(dtype, many)
        with reading_back(path), open(path, "rb") as file:
            found = file.read(len(header))
        if found != header or os.path.getsize(path) != len(header) + many * dtype.itemsize:
            raise MetadataError(
                f"{name}: the header or the size does not match {many:,} rows of {dtype}."
            )
    return "headers, dtypes, field order and shapes"


def _check_classes(classes: Sequence[np.ndarray], ids: list[str], names: list[str]) -> str:
    class_ids, class_names = classes
    if class_ids.tolist() != ids:
        raise MetadataError("The class ids differ from those that were numbered.")
    wrong = [
        f"{class_id}: {found!r}, but {expected!r} is expected"
        for class_id, found, expected in zip(ids, class_names.tolist(), names, strict=True)
        if found != expected
    ]
    if wrong:
        raise MetadataError("Class names that differ from the labels:", listing(wrong, len(wrong)))
    return f"ids and names of all {count(len(ids), 'class', 'classes')}"


def _check_rows(
    name: str, entries: np.memmap, classes: Sequence[np.ndarray], scan: Scan, index: np.ndarray
) -> tuple[str, str]:
    """Check each row against the scan and the class arrays.

    Args:
        name: The published name of the entries.
        entries, scan: The entries, and the scan that they must match.
        classes: The class ids and the class names; empty for TEST.
        index: (classes of the scan,) ``<u4``: the class_index of each.

    Returns:
        The name of the check, and the sha256 of the file, so that the file is read only once.
    """
    per_class = np.zeros(len(scan.counts), entries.dtype)
    per_class["class_index"] = index if classes else MAX_INDEX
    if classes:
        per_class["class_id"], per_class["class_name"] = (array[index] for array in classes)
    found, block = np.empty((2, max(1, BLOCK // entries.itemsize)), entries.dtype)
    starts = range(0, len(entries), len(block))
    with open(str(entries.filename), "rb") as file:
        hasher = hashlib.sha256(file.read(entries.offset))
        for start in progress(starts, len(starts), f"verify {name}"):
            actual_index = scan.actual_index[start : start + len(block)]
            own_index = scan.class_index(start, start + len(actual_index))
            expected = per_class.take(own_index, out=block[: len(own_index)], mode="clip")
            expected["actual_index"] = actual_index
            rows = found[: len(own_index)]
            file.readinto(rows)
            hasher.update(rows)
            wrong = _words(rows) != _words(expected)
            if wrong.any():
                bad = np.flatnonzero(wrong.any(1))
                shown = (f"row {start + i}: {rows[i].item()}" for i in bad)
                raise MetadataError(
                    f"{name}: rows that differ from the scan:", listing(shown, len(bad))
                )
    check = f"all {count(len(entries), 'row')}: order, numbers, classes, ids and names"
    return check, hasher.hexdigest()


def _words(rows: np.ndarray) -> np.ndarray:
    """View entries as (rows, words), ``<u4``: numbers and characters have four bytes each."""
    return rows.view("<u4").reshape(len(rows), -1)


def _check_selection(split: str, scan: Scan, whole: Scan, selection: Selection) -> str:
    """Check that the chosen images are in the split, and that all others are accounted for."""
    own, every = map(whole.keys_of, (scan, whole))
    left_out = sum(rule.images for rule in selection.rules)
    if not (
        np.isin(scan.class_ids, whole.class_ids).all()
        and np.isin(own, every, assume_unique=True).all()
        and (len(own), len(every)) == (selection.chosen, selection.images - selection.unfit)
        and len(own) + left_out == selection.images
    ):
        raise MetadataError(f"{split}: the chosen images are not those that the selection leaves.")
    return f"{selection.chosen:,} of {count(selection.images, 'image')} are selected"


def _paths(split: str, entries: np.memmap, rows: np.ndarray) -> Iterator[str]:
    """Yield the paths below root that DINOv3 rebuilds from the rows at some positions."""
    for some in rows_at(str(entries.filename), rows):
        for actual_index, class_id in some[["actual_index", "class_id"]].tolist():
            yield image_path(split, class_id, actual_index)


def _check_table(name: str, path: str, places: Places) -> tuple[str, str]:
    """Check that a table has the paths of the scan, byte for byte. Return the name of the check and
    the sha256 of the file, as ``_check_rows`` does."""
    hasher, same = hashlib.sha256(), True
    with reading_back(path), open(path, "rb") as file:
        for part in places.published:
            for start in range(0, len(part), BLOCK):
                expected = part[start : start + BLOCK].tobytes()
                found = file.read(len(expected))
                same = same and found == expected
                hasher.update(found)
        same = same and not file.read(1)
    if not same:
        raise MetadataError(f"{name}: the paths differ from those of the scan.")
    return f"all {count(len(places), 'path')} in the table", hasher.hexdigest()


def _check_paths(
    root: StrPath, split: str, paths: Iterable[str], rows: int, images: int, is_view: bool
) -> str:
    """Check that the images of some rows exist."""
    root = os.fspath(root)
    gone = [
        f"{behind(root, path) if is_view else path} ({_why_not(f'{root}/{path}')})"
        for path in progress(paths, rows, f"paths {split}")
        if not os.path.isfile(f"{root}/{path}")
    ]
    if gone:
        where = "" if is_view else f" in {root}"
        raise MetadataError(
            f"{split}: {len(gone):,} of the {count(rows, 'image')} checked cannot be opened"
            f"{where}:",
            listing(gone, len(gone)),
        )
    return f"the paths of {count(rows, 'row')} of {images:,} exist"


def _why_not(path: str) -> str:
    """Return the reason why there is no image at a path."""
    try:
        state = os.stat(path)
    except OSError as error:
        if os.path.islink(path) and error.errno in NOTHING:
            return why_no_image(path)
        missing = isinstance(error, FileNotFoundError)
        return "missing" if missing else error.strerror or str(error)
    return "it exists now" if stat.S_ISREG(state.st_mode) else f"{kind_of(state)}, not a file"
