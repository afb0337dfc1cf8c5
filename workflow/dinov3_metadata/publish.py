"""Publish: bring the verified files of a run to ``<EXTRA>`` as one set, and keep a receipt."""

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from . import __version__
from .disk import (
    make_folder,
    naming,
    open_regular,
    opened_folder,
    read_file,
    read_json,
    remove_file,
    remove_folders,
)
from .errors import DamagedError, DatasetChangedError, MetadataError, count, logger
from .files import reading, sha256, write_atomically
from .fingerprint import changed_since, digest, of_code
from .layout import LABELLED, SPLITS, WORK, StrPath
from .layouts import is_layout
from .replace import Writer, is_torn, replaced_files, torn

T = TypeVar("T")

PATIENCE = 2  # seconds; a publication takes a few milliseconds
STATE_NAMES = {"split", "view", "tree", "labels", "checks"}
RECEIPT = re.compile("receipt-[0-9a-f]{12}")
SMALL = 1 << 20  # bytes of a file that describes a split; it has a few kilobytes


def array_names(split: str) -> list[str]:
    """The published arrays of a split: entries and, for labelled splits, class ids and names."""
    kinds = ("entries", "class-ids", "class-names") if split in LABELLED else ("entries",)
    return [f"{kind}-{split}.npy" for kind in kinds]


def metadata_name(split: str) -> str:
    """The file that describes the published arrays of a split."""
    return f"metadata-{split}.json"


def audit_names(split: str) -> tuple[str, str]:
    """The files in which an audit notes each image of a split, and those that are not ok."""
    return f"audit-{split}.npy", f"audit-{split}.json"


def audit_file(work: StrPath, split: str) -> Path:
    """Where the work folder notes the counts of the last audit."""
    return Path(work, "published", f"audit-{split}.json")


def read_summary(extra: StrPath, split: str) -> dict[str, Any]:
    """The counts of the last audit; empty if there was none, or they are damaged."""
    summary = read_json(audit_file(Path(extra, WORK), split), SMALL)
    counts = [summary.get(name) for name in ("problems", "modes")]
    whole = (
        all(isinstance(summary.get(name), str) for name in ("audited", "pillow", "code"))
        and all(_is_count(summary.get(name)) for name in ("images", "ok"))
        and all(isinstance(one, dict) and all(map(_is_count, one.values())) for one in counts)
    )
    return summary if whole and Path(extra, audit_names(split)[1]).exists() else {}


def read_description(extra: StrPath, split: str) -> dict[str, Any]:
    """What ``metadata-SPLIT.json`` says; empty if there is none, or it is damaged."""
    about = read_json(Path(extra, metadata_name(split)), SMALL)
    texts = [about.get(name) for name in ("root", "dataset", "layout")]
    versions = about.get("versions")
    whole = (
        _describes_split(about)
        and all(isinstance(text, str) and "\0" not in text for text in texts)
        and is_layout(about["layout"])
        and isinstance(versions, dict)
        and all(isinstance(version, str) for version in versions.values())
    )
    return about if whole else {}


def _describes_split(about: dict[str, Any]) -> bool:
    """Whether all is there that the report of ``verify`` and ``metadata-SPLIT.json`` both say, and
    of the types that are expected."""
    counts = ("images", "classes", "skipped", "class_id_length", "class_name_length")
    files, labels = about.get("files"), about.get("labels")
    return (
        isinstance(about.get("split"), str)
        and all(_is_count(about.get(name)) for name in counts)
        and isinstance(files, dict)
        and [*files] == array_names(about["split"])
        and all(map(_describes_file, files.values()))
        and (
            labels is None
            or (
                isinstance(labels, dict)
                and all(isinstance(labels.get(name), str) for name in ("file", "form"))
            )
        )
    )


def _describes_file(described: Any) -> bool:
    return (
        isinstance(described, dict)
        and _is_count(described.get("bytes"))
        and isinstance(described.get("sha256"), str)
    )


def _is_count(value: object) -> bool:
    """Whether a value is a whole number that a count or a size may be."""
    return type(value) is int and 0 <= value < 1 << 53


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def changes_file(work: StrPath, split: str) -> Path:
    """Where the work folder notes what the last publication changed, see ``changes.compare``."""
    return Path(work, "published", f"{split}.json")


def read_changes(work: StrPath, split: str) -> dict[str, Any]:
    """What the last publication changed; empty if that was not noted, or the note is damaged."""
    changes = read_json(changes_file(work, split))
    classes = changes.get("classes")
    whole = (
        isinstance(changes.get("first"), bool)
        and all(_is_count(changes.get(name)) for name in ("added", "removed"))
        and all(_are_texts(changes.get(name)) for name in ("new", "gone"))
        and isinstance(classes, dict)
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(map(_is_count, pair))
            for pair in classes.values()
        )
    )
    return changes if whole else {}


def read_report(path: StrPath) -> dict[str, Any]:
    """The report of ``verify``; empty if there is none, or it is damaged."""
    report = read_json(path, SMALL)
    return report if _is_report(report) else {}


def _is_report(report: object) -> bool:
    return (
        isinstance(report, dict)
        and _describes_split(report)
        and (report.get("labels_content") is None or isinstance(report["labels_content"], str))
        and _are_texts(report.get("checks"))
        and isinstance(report.get("verified"), str)
    )


def load_report(path: StrPath) -> dict[str, Any]:
    """Read the report of ``verify``.

    Raises:
        MetadataError: The file is not a whole report; it is removed.
    """
    with reading(path):
        report = json.loads(read_file(path, SMALL))
        if not _is_report(report):
            raise ValueError("it does not describe the files of a split")
        return report


class Verified(NamedTuple):
    """The files of a split that wait to be published.

    Attributes:
        state: The names of the state that they are of, see ``Chain.state``.
        report: The file with the report of ``verify``.
        arrays: Their paths; the file names are those that they are published by.
        scan: The file with the scan.
        records: Folder -> record of the states of folders that they were made from.
        contents: File -> fingerprint of what they were made from besides.
    """

    state: dict[str, str]
    report: str
    arrays: list[str]
    scan: str
    records: dict[str, str]
    contents: dict[str, str]


def publish(
    splits: dict[str, Verified],
    origin: dict[str, str],
    extra: StrPath,
    receipt: str,
    keep: float = 14,
) -> list[str]:
    """Replace the published files whose bytes differ, of all splits as one set, and describe them.

    Readers that have an old file open or mapped keep its bytes. Files that are equal already are
    not touched.

    Args:
        splits: Split -> its verified files.
        origin: Where the dataset lies, for the description.
        extra: The folder to publish to; made if need be.
        receipt: Where to note what was published, see ``receipt_name``.
        keep: Days that replaced files are kept for readers on other hosts.

    Returns:
        The names of the arrays that were written.

    Raises:
        DatasetChangedError: There is no moment at which the dataset was what the files say.
        MetadataError: A file is not the one that was verified, or there is no room for it.
        OSError: ``extra`` can not be written.
    """
    make_folder(extra)
    make_folder(os.path.dirname(receipt))  # where nothing is replaced, nobody else makes it
    _check_moment(splits.values())
    from .changes import compare_with_last, note_changes  # numpy; this module is always imported
    from .scan import Scan

    known = _receipts(extra)
    due_splits = {
        split: verified
        for split, verified in splits.items()
        if not any(_is_true(one, extra, {split: verified.state}) for one in known.values())
    }
    writers: dict[str, Writer] = {}
    size = 0
    for split, verified in due_splits.items():
        report = load_report(verified.report)
        for path in verified.arrays:
            name, due = os.path.basename(path), report["files"][os.path.basename(path)]
            if not _is(_free(extra, name), due):
                writers[name] = partial(_copy, path, due["sha256"])
                size += due["bytes"]
        description = describe(report, origin)
        if _content(_free(extra, metadata_name(split))) != description:
            writers[metadata_name(split)] = partial(_write, description)
    scans = {split: Scan.load(verified.scan) for split, verified in due_splits.items()}
    work = Path(extra, WORK)
    changes = {split: compare_with_last(scan, work, split) for split, scan in scans.items()}
    arrays = [name for name in writers if name.endswith(".npy")]
    with replaced_files(extra, writers, size, keep) if writers else nullcontext():
        _write_receipt(splits, extra, receipt, known)
    from .sweep import sweep  # numpy

    with suppress(OSError, MetadataError):  # the new set is in place: notes and tidying fail no run
        for split, scan in scans.items():
            note_changes(changes[split], scan, work, split)
        for old in known.keys() - {Path(receipt).stem}:
            for suffix in ("json", "log"):
                remove_file(f"{os.path.dirname(receipt)}/{old}.{suffix}")
        for split, verified in due_splits.items():
            remove_folders(f"{extra}/{WORK}/{split}", {verified.state["tree"]})
            remove_folders(f"{extra}/{WORK}/views/{split}", {verified.state["view"]})
        sweep(extra, origin, {split: verified.state for split, verified in splits.items()})
    for name in arrays:
        logger.info("%s: written", f"{extra}/{name}")
    return arrays


def _check_moment(splits: Iterable[Verified]) -> None:
    """Check that the dataset is what the files of all splits say, at one moment."""
    records = {folder: path for one in splits for folder, path in one.records.items()}
    contents = {file: content for one in splits for file, content in one.contents.items()}
    if changed := changed_since(records, contents):
        more = f" and {count(len(changed) - 1, 'more folder')}" if changed[1:] else ""
        raise DatasetChangedError(
            f"{changed[0]}{more} changed while this run was in progress, so the new files would "
            "not describe the dataset at any one moment. Nothing was published. Run the same "
            "command again: it lists only what changed."
        )


def _free(extra: StrPath, name: str) -> Path:
    """The path of a published file, where no folder is in its way."""
    path = Path(extra, name)
    if path.is_dir() and not path.is_symlink():
        raise MetadataError(f"{path} is a folder, where a file is due. Remove it.")
    return path


def describe(report: dict[str, Any], origin: dict[str, str]) -> bytes:
    """The content of ``metadata-SPLIT.json``; equal for equal arrays, origin and versions."""
    description = {
        "split": report["split"],
        **origin,
        "images": report["images"],
        "classes": report["classes"],
        "skipped": report["skipped"],
        "labels": report["labels"],
        "class_id_length": report["class_id_length"],
        "class_name_length": report["class_name_length"],
        "files": report["files"],
        "versions": {
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "dinov3-metadata": __version__,
        },
    }
    return (json.dumps(description, indent=1) + "\n").encode()


def receipt_name(extra: StrPath, states: dict[str, dict[str, str]]) -> str:
    """The receipt that is true of what is in ``extra`` now, or a name that no receipt has yet.

    So the rule that writes the receipt has something to do exactly when one of the published files
    is not, to the inode and the nanosecond, the file that was published for the present state.

    Args:
        extra: The folder that was published to.
        states: Split -> the names of its present state.
    """
    receipts = _receipts(extra)
    for name, receipt in receipts.items():
        if _is_true(receipt, extra, states):
            return name
    files = [_files(extra, split) for split in states]
    return f"receipt-{digest(states, files, sorted(receipts.items()))}"


def _is_true(receipt: dict[str, Any], extra: StrPath, states: dict[str, dict[str, str]]) -> bool:
    """Whether a receipt is of these states of some splits, and of the files that are there."""
    return receipt.get("code") == _code() and all(
        (noted := _noted(receipt, split)).get("state") == state
        and noted.get("files") == _files(extra, split)
        for split, state in states.items()
    )


def published_state(extra: StrPath, split: str) -> dict[str, Any]:
    """What the receipt says of the published files of a split: ``state``, ``contents``; empty if
    there is no receipt of these files."""
    now = _files(extra, split)
    for receipt in _receipts(extra).values():
        noted = _noted(receipt, split)
        texts = [noted.get("state"), noted.get("contents")]
        whole = all(
            isinstance(some, dict) and all(isinstance(one, str) for one in some.values())
            for some in texts
        )
        if whole and noted.get("files") == now and noted["state"].keys() >= STATE_NAMES:
            return noted
    return {}


def patiently(extra: StrPath, split: str, read: Callable[[], T]) -> T:
    """Read published files of a split; if they are being replaced meanwhile, read them again.

    Raises:
        MetadataError: What ``read`` raised while they were at rest, or they were not for too long.
    """
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError), opened_folder(extra):
            pass  # an NFS client then asks the server what the names are of, and not its memory
        before, error = _files(extra, split), None
        try:
            result = read()
        except MetadataError as raised:
            error = raised
        if before == _files(extra, split) and not is_torn(extra, split):
            if error:
                raise error
            return result
        if time.monotonic() > end:
            raise error or torn(extra, split)
        time.sleep(0.005)


def _receipts(extra: StrPath) -> dict[str, dict[str, Any]]:
    """Name -> content of each receipt."""
    paths = sorted(Path(extra, WORK, "published").glob("receipt-*.json"))
    return {path.stem: read_json(path) for path in paths if RECEIPT.fullmatch(path.stem)}


def _noted(receipt: dict[str, Any], split: str) -> dict[str, Any]:
    splits = receipt.get("splits")
    noted = splits.get(split) if isinstance(splits, dict) else None
    return noted if isinstance(noted, dict) else {}


def _write_receipt(
    splits: dict[str, Verified], extra: StrPath, path: str, known: dict[str, dict[str, Any]]
) -> None:
    """Note what is published: of these splits, and of others whose files are still as noted."""
    noted = {
        split: one
        for receipt in known.values()
        for split in SPLITS
        if (one := _noted(receipt, split)) and one.get("files") == _files(extra, split)
    }
    for split, verified in splits.items():
        noted[split] = {"state": verified.state, "contents": verified.contents}
        noted[split]["files"] = _files(extra, split)
    with write_atomically(path) as file:
        file.write(json.dumps({"code": _code(), "splits": noted}).encode())


def _code() -> str:
    return of_code("__init__", "publish", "replace")


def _files(extra: StrPath, split: str) -> dict[str, list[int] | None]:
    """Size, times and inode of each published file of a split."""
    states: dict[str, list[int] | None] = {}
    for name in [*array_names(split), metadata_name(split)]:
        try:
            state = os.lstat(Path(extra, name))
            states[name] = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        except OSError:
            states[name] = None
    return states


def _content(path: Path) -> bytes:
    try:
        return b"" if path.is_symlink() else read_file(path, SMALL)
    except OSError:
        return b""


def _is(path: Path, due: dict[str, Any]) -> bool:
    """Whether a file, and no link, is there with the bytes that are due."""
    try:
        return (
            not path.is_symlink()
            and path.stat().st_size == due["bytes"]
            and sha256(path) == due["sha256"]
        )
    except OSError:
        return False


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _copy(path: str, due: str, file: BinaryIO) -> None:
    """Copy ``path`` into an open file and check the sha256 of the bytes that went through."""
    hasher = hashlib.sha256()
    with naming(path), open_regular(path) as source:
        while block := source.read(1 << 20):
            hasher.update(block)
            file.write(block)
    if hasher.hexdigest() != due:
        remove_file(path)
        raise DamagedError(
            f"{path} is not the file that was verified, and was removed. "
            "Run the same command again."
        )
