"""Publish: bring verified files to ``<EXTRA>``, whole or not at all, and keep a receipt."""

import hashlib
import json
import os
import platform
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from . import __version__
from .errors import MetadataError, logger
from .files import read_json, reading, sha256, sync, write_atomically
from .fingerprint import check_content, digest, of_code, of_content
from .layout import LABELLED, WORK, StrPath


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
    """The counts of the last audit; empty if there was none."""
    summary = read_json(audit_file(Path(extra, WORK), split))
    due = {"audited", "images", "ok", "problems", "modes", "pillow", "code"}
    there = due <= summary.keys() and Path(extra, audit_names(split)[1]).exists()
    return summary if there else {}


def changes_file(work: StrPath, split: str) -> Path:
    """Where the work folder notes what the last publication changed, see ``changes.compare``."""
    return Path(work, "published", f"{split}.json")


def load_report(path: StrPath) -> dict[str, Any]:
    """Read the report of ``verify``.

    Raises:
        MetadataError: The file is not a whole report; it is removed.
    """
    with reading(path):
        report = json.loads(Path(path).read_bytes())
        described = [*report["files"]] == array_names(report["split"]) and all(
            {"bytes", "sha256"} <= file.keys() for file in report["files"].values()
        )
        due = {"images", "classes", "skipped", "labels", "labels_content"}
        due |= {"class_id_length", "class_name_length"}
        if not described or not due <= report.keys():
            raise ValueError("it does not describe the files of a split")
        return report


def publish(
    report: dict[str, Any],
    staged: dict[str, str],
    origin: dict[str, str],
    extra: StrPath,
    receipt: str,
    scan: StrPath,
) -> list[str]:
    """Copy the arrays whose bytes differ from the published ones, and describe the set.

    Every copy is complete, checked against the report and on the disk before the first one takes
    its name; the description takes its name last. Readers that have an old file open or mapped
    keep its bytes. Files that are equal already are not touched.

    Args:
        report: Of ``verify``, with the sha256 of each array.
        staged: Published name -> path of the verified file.
        origin: Where the dataset lies, for the description.
        extra: The folder to publish to; made if need be.
        receipt: Where to note what was published, see ``receipt_name``.
        scan: What it was made from, to tell what changed since the last time.

    Returns:
        The names of the arrays that were written.

    Raises:
        MetadataError: A file is not the one that was verified, there is no room for it, or the
            labels have changed.
        OSError: ``extra`` can not be written.
    """
    split = report["split"]
    if report["labels"]:
        labels = report["labels"]["file"]
        check_content(labels, of_content(labels), report["labels_content"])
    Path(extra).mkdir(parents=True, exist_ok=True)
    for left_over in Path(extra).glob(f".*-{split}.*.tmp"):  # by a run that was killed
        left_over.unlink(missing_ok=True)
    description = describe(report, origin)
    due = {name: report["files"][name] for name in staged}
    names = [*staged, metadata_name(split)]
    if folder := next((name for name in names if Path(extra, name).is_dir()), None):
        raise MetadataError(f"{Path(extra, folder)} is a folder, where a file is due. Remove it.")
    written = [name for name in staged if not _is(Path(extra, name), due[name])]
    with ExitStack() as renames:  # unwound from the last to the first: metadata, entries, ...
        metadata = Path(extra, metadata_name(split))
        if _read(metadata) != description:
            file = renames.enter_context(write_atomically(metadata))
            file.write(description)
            sync(file)
        room = sum(due[name]["bytes"] for name in written)
        for name in written:
            file = renames.enter_context(write_atomically(Path(extra, name), room))
            room -= due[name]["bytes"]
            if _copy(staged[name], file) != due[name]["sha256"]:
                os.unlink(staged[name])
                raise MetadataError(
                    f"{staged[name]} is not the file that was verified, and was removed. "
                    "Run the same command again."
                )
            sync(file)  # what the disk refuses, it shall refuse before the first rename
    for name in written:
        logger.info("%s: written", Path(extra, name))
    from .changes import note_changes  # it needs numpy, and this module is imported at every start

    note_changes(scan, Path(extra, WORK), split)
    for old in Path(receipt).parent.glob("receipt-*.json"):
        old.unlink()
    with write_atomically(receipt) as file:
        file.write(json.dumps(_published(extra, split)).encode())
    return written


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


def receipt_name(folder: StrPath, extra: StrPath, split: str) -> str:
    """The receipt that is true of what lies in ``extra`` now, or a name that no receipt has yet.

    So the rule that writes the receipt has something to do exactly when one of the published files
    is not, to the inode and the nanosecond, the file that was published.

    Args:
        folder: Where ``publish`` leaves the receipts of one verified state.
        extra: The folder that was published to.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
    """
    now = _published(extra, split)
    receipts = {path.stem: _read(path) for path in sorted(Path(folder).glob("receipt-*.json"))}
    for name, text in receipts.items():
        try:
            if json.loads(text) == now:
                return name
        except ValueError:
            continue  # damaged: as good as none
    return f"receipt-{digest(now, receipts)}"


def published_receipt(extra: StrPath, split: str) -> Path | None:
    """The receipt of the published files, which lies in the folders of the scan, the labels and the
    checks of which they were made; None if there is none."""
    now = _published(extra, split)
    for receipt in Path(extra, WORK, split).glob("*/*/*/receipt-*.json"):
        with suppress(ValueError, TypeError):
            if json.loads(_read(receipt)) | {"code": now["code"]} == now:
                return receipt
    return None


def _published(extra: StrPath, split: str) -> dict[str, object]:
    """The code that publishes, and size, times and inode of what it published."""
    states: dict[str, object] = {"code": of_code("__init__", "publish")}
    for name in [*array_names(split), metadata_name(split)]:
        try:
            state = os.stat(Path(extra, name))
            states[name] = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        except OSError:
            states[name] = None
    return states


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _is(path: Path, due: dict[str, Any]) -> bool:
    """Whether a file is there with the bytes that are due."""
    same_size = path.is_file() and path.stat().st_size == due["bytes"]
    return same_size and sha256(path) == due["sha256"]


def _copy(path: str, file: BinaryIO) -> str:
    """Copy ``path`` into an open file and return the sha256 of the bytes that went through."""
    hasher = hashlib.sha256()
    with open(path, "rb") as source:
        while block := source.read(1 << 20):
            hasher.update(block)
            file.write(block)
    return hasher.hexdigest()
