"""Publish: copy the verified files of a run to ``<EXTRA>`` as one set, and write a receipt."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from ..addresses import LABELLED, TARS
from ..artefacts import Report, Scan
from ..disk import (
    make_folder,
    naming,
    open_regular,
    opened_folder,
    read_file,
    remove_file,
    remove_folders,
)
from ..documents import Count, to_json
from ..errors import DamagedError, DatasetChangedError, MetadataError, count, logger
from ..files import sha256
from ..fingerprint import changed_since
from ..formats import SMALL, Description, FileDigest, versions
from ..holdout import Holdout
from ..paths import (
    ARRAYS,
    StrPath,
    chosen_name,
    file_name,
    folder_of,
    path_of,
    state_of,
    work_folder,
)
from ..published import changed_classes, is_true, receipts, records_of, write_receipt
from ..replace import Writer, keep_replaced, replaced_files
from ..tar_scan import TarScan
from .changes import compare_with_last, note_changes
from .sweep import sweep


def publish(
    *,
    receipt: StrPath,
    extra: StrPath,
    root: str,
    dataset: str,
    layout: str,
    states: dict[str, dict[str, str]],
    contents: dict[str, dict[str, str]],
    classes: dict[str, dict[str, str]],
    keep: float = 14,
    folders: dict[str, list[str]] | None = None,
    select: Mapping[str, dict[str, Any]] = MappingProxyType({}),
    holdout: float | None = None,
    seed: int = 0,
) -> list[str]:
    """Replace all published files whose bytes differ, for all splits as one set, and describe them.

    Readers that have an old file open or mapped keep its bytes. Files that are already equal are
    not touched.

    Args:
        receipt: Where to record what was published.
        extra: The folder to publish to; it is made if necessary.
        root, dataset, layout: See ``formats.Description``.
        states: Split -> the names of its state, see ``present.Present.state``.
        contents: Split -> file -> fingerprint, for the files that the split was also made from
            (labels and annotations).
        classes: Split -> other split -> the fingerprint of its class ids, for the splits on whose
            classes its numbers depend.
        keep: How many days replaced files are kept for readers on other hosts.
        folders: See ``formats.Description``.
        select: Split -> the setting ``select``, see ``formats.Description``.
        holdout, seed: See ``view.link_view``.

    Returns:
        The names of the arrays that were written.

    Raises:
        DatasetChangedError: The dataset changed during the run, so the files may not describe it at
            any one moment.
        DamagedError: A file is not the one that was verified.
        MetadataError: There is no space for a file, or a folder is in its place.
        OSError: ``extra`` cannot be written.
    """
    make_folder(extra)
    make_folder(os.path.dirname(receipt))  # replaced_files makes it only if it replaces a file
    records = [
        records_of(state, extra, root=root, dataset=dataset, layout=layout, folders=folders)
        for state in states.values()
    ]
    noted: dict[str, str] = {}
    for one in classes.values():
        noted |= one
    _check_moment(
        records,
        {path: was for some in contents.values() for path, was in some.items()},
        changed_classes(dataset, layout, noted, folders),
    )
    known, own = receipts(extra), state_of(receipt)
    pending = {
        split: state
        for split, state in states.items()
        if not any(is_true(old, extra, {split: state}) for old in known.values())
    }
    reports = {
        split: Report.load(path_of(extra, "report", **state)) for split, state in states.items()
    }
    _check_numbers(reports, extra)
    writers: dict[str, Writer] = {}
    size = 0
    for split, state in pending.items():
        report = reports[split]
        made = {
            file_name(kind, split=split): path_of(extra, f"new_{kind}", **state)
            for kind in (*ARRAYS, "paths")
        }
        for name, new in report.files.items():
            if not _is(_free(extra, name), new):
                writers[name] = partial(_copy, made[name], new.sha256)
                size += new.bytes
        held = Holdout(holdout, Count(seed)) if holdout and split in LABELLED else None
        description = describe(report, root, dataset, layout, folders, select.get(split), held)
        name = file_name("metadata", split=split)
        if _content(_free(extra, name)) != description:
            writers[name] = partial(_write, description)
        if left_out := chosen_name(state, "left_out"):
            path, name = path_of(extra, left_out, **state), file_name("left_out", split=split)
            new = FileDigest(Count(os.path.getsize(path)), sha256(path))
            if not _is(_free(extra, name), new):
                writers[name] = partial(_copy, path, new.sha256)
                size += new.bytes
    scans = {
        split: (TarScan if split == TARS else Scan.load)(
            path_of(extra, chosen_name(state), **state)
        )
        for split, state in pending.items()
    }
    changes = {split: compare_with_last(scan, extra, split) for split, scan in scans.items()}
    for split, state in pending.items():
        if not chosen_name(state, "left_out"):
            remove_file(path_of(extra, "left_out", split=split))
    with replaced_files(extra, writers, size, keep) if writers else nullcontext():
        for split in pending:
            if (name := file_name("paths", split=split)) not in reports[split].files:
                _remove_table(extra, name)
        write_receipt(receipt, extra, states, contents, classes, known)
    with suppress(OSError, MetadataError):  # the set is published: no cleanup may fail the run
        for split, scan in scans.items():
            note_changes(changes[split], scan, extra, split)
        for old in known.keys() - {own.state["receipt"] if own else ""}:
            for name in ("receipt", "publish.log"):
                remove_file(path_of(extra, name, receipt=old))
        for state in pending.values():
            for name, wildcard in (("scan", "tree"), ("selected", "selection"), ("sound",) * 2):
                remove_folders(folder_of(extra, name, wildcard, **state), {state[wildcard]})
            remove_folders(folder_of(extra, "view", "view", **state), {state["view"]})
        sweep(extra, root, dataset, states)
    arrays = [name for split in pending for name in reports[split].files if name in writers]
    for name in arrays:
        logger.info("%s: written", f"{extra}/{name}")
    return arrays


def _remove_table(extra: StrPath, name: str) -> None:
    """Remove the table of paths of a split that is read through a view by now."""
    with opened_folder(extra) as folder, suppress(FileNotFoundError):
        keep_replaced(extra, folder, name)
        os.unlink(name, dir_fd=folder)


def _check_moment(
    records: Sequence[dict[str, str]], contents: dict[str, str], folders: list[str]
) -> None:
    """Check that the dataset is now, at one moment, what the files of all splits were made from.

    Args:
        records: For each split, folder -> the record of its state and of the folders in it. Two
            splits may be made from the same folder, at different moments.
        contents: File -> its fingerprint.
        folders: The folders of the splits that have other classes than at the start.
    """
    found = [*(changed_since(some, {}) for some in records), changed_since({}, contents)]
    if changed := sorted({path for some in found for path in some}) or folders:
        more = f" and {count(len(changed) - 1, 'more folder')}" if changed[1:] else ""
        raise DatasetChangedError(
            f"{changed[0]}{more} changed while this run was in progress, so the new files would "
            "not describe the dataset at any one moment. Nothing was published. Run the same "
            "command again: it lists only what changed."
        )


def _check_numbers(reports: dict[str, Report], extra: StrPath) -> None:
    """Check that splits that were numbered together have the same numbers.

    Raises:
        MetadataError: They have not: a scan found other classes than the numbering did.
    """
    found = [one.numbering for one in reports.values() if one.numbering]
    together = any(set(one.splits) != {split} for split, one in zip(reports, found, strict=False))
    if together and len({one.sha256 for one in found}) > 1:
        raise MetadataError(
            "The scan of TRAIN found other classes than those by which VAL is numbered. Nothing "
            "was published. If the dataset changed, run the same command again. If this message "
            f"comes back, remove {work_folder(extra)} and run it again."
        )


def _free(extra: StrPath, name: str) -> Path:
    """Return the path of a published file; refuse it if a folder is in its place."""
    path = Path(extra, name)
    if path.is_dir() and not path.is_symlink():
        raise MetadataError(f"{path} is a folder, where a file is expected. Remove it.")
    return path


def describe(
    report: Report,
    root: str,
    dataset: str,
    layout: str,
    folders: dict[str, list[str]] | None = None,
    select: dict[str, Any] | None = None,
    holdout: Holdout | None = None,
) -> bytes:
    """Return the content of ``metadata-SPLIT.json``.

    It is the same whenever the arrays, their source and the versions of the software are the same.

    Args:
        report: The report of ``verify``.
        root, dataset, layout, folders, select, holdout: See ``formats.Description``.
    """
    known = {
        name: value for name, value in vars(report).items() if name in Description.__annotations__
    }
    relevant = {report.split, *(report.numbering.splits if report.numbering else ())}
    if holdout:
        relevant.update(LABELLED)
    description = Description(
        root=root,
        dataset=dataset,
        layout=layout,
        versions=versions(),
        folders={split: names for split, names in (folders or {}).items() if split in relevant},
        select=select or {},
        holdout=holdout,
        **known,
    )
    return to_json(description, indent=1) + b"\n"


def _content(path: Path) -> bytes:
    try:
        return b"" if path.is_symlink() else read_file(path, SMALL)
    except OSError:
        return b""


def _is(path: Path, expected: FileDigest) -> bool:
    """Return whether a path is a file with the expected bytes, and not a link."""
    try:
        return (
            not path.is_symlink()
            and path.stat().st_size == expected.bytes
            and sha256(path) == expected.sha256
        )
    except OSError:
        return False


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _copy(path: str, expected: str, file: BinaryIO) -> None:
    """Copy ``path`` into an open file and check the sha256 of the bytes that were copied.

    Raises:
        DamagedError: The sha256 is not the expected one.
    """
    hasher = hashlib.sha256()
    with naming(path), open_regular(path) as source:
        while block := source.read(1 << 20):
            hasher.update(block)
            file.write(block)
    if hasher.hexdigest() != expected:
        raise DamagedError(path, "changed after it was verified")
