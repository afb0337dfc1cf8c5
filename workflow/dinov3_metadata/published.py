"""Published: find out what is published, and whether those files or the dataset changed since.

A receipt notes the size, the times and the inode of each published file, and the state of the
dataset that the files were made from. It is true as long as exactly these files are in place.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TypeVar

from .addresses import SPLITS, TARS, split_folder
from .class_ids import class_ids_of
from .disk import opened_folder
from .documents import load, to_json
from .errors import MetadataError
from .files import sha256, write_atomically
from .fingerprint import digest, of_code
from .formats import read_description
from .layouts import Folders, part_of
from .paths import (
    TABLED,
    StrPath,
    existing,
    file_name,
    path_of,
    published_names,
)
from .replace import is_torn, torn

T = TypeVar("T")

CODE = (
    *("__init__", "class_ids", "documents", "formats", "published", "replace", "stages/publish"),
)
"""The modules that decide what is published. If one changes, everything is published again."""

PATIENCE = 2  # seconds; a publication takes a few milliseconds
STATE_NAMES = {"split", "view", "tree", "selection", "sound", "labels", "numbered", "checks"}

FileState = tuple[int, int, int, int]
"""Size in bytes, mtime and ctime in ns, and inode of a file."""

FileStates = Mapping[str, FileState | None]


@dataclass
class Noted:
    """What a receipt says about a split.

    Attributes:
        state: The state that was published, see ``present.Present.state``.
        contents: File that the split was made from (folders aside) -> its fingerprint.
        classes: Split -> the fingerprint of its class ids, for the splits on whose classes the
            class numbers depend.
        files: Published name -> state of the file; None if there was no file.
    """

    state: dict[str, str]
    contents: dict[str, str]
    classes: dict[str, str]
    files: dict[str, FileState | None]


@dataclass
class Receipt:
    """A note of what was published.

    Attributes:
        code: The fingerprint of ``CODE``.
        splits: Split -> what is noted about it.
    """

    code: str
    splits: dict[str, Noted]


States = Mapping[str, Mapping[str, str]]
"""Split -> its state, see ``present.Present.state``."""


def file_states(extra: StrPath, split: str) -> dict[str, FileState | None]:
    """Return the current state of each published file by its name; None if it is missing."""
    states: dict[str, FileState | None] = {}
    for name in published_names(split):
        try:
            found = os.lstat(os.path.join(extra, name))
            states[name] = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        except OSError:
            if name != file_name("paths", split=split):  # older receipts do not name it
                states[name] = None
    return states


def receipts(extra: StrPath) -> dict[str, Receipt | None]:
    """Return the content of each receipt by its name; None for a damaged receipt."""
    return {state["receipt"]: load(Receipt, path) for path, state in existing(extra, "receipt")}


def is_true(receipt: Receipt | None, extra: StrPath, states: States) -> bool:
    """Return whether a receipt matches the states of some splits and the files in ``extra``."""
    return (
        receipt is not None
        and receipt.code == of_code(*CODE)
        and all(
            split in receipt.splits
            and receipt.splits[split].state == state
            and receipt.splits[split].files == file_states(extra, split)
            for split, state in states.items()
        )
    )


def receipt_name(
    extra: StrPath, states: States, known: Mapping[str, Receipt | None] | None = None
) -> str:
    """Return the name of the receipt that is true of ``extra`` now, or a new name.

    Therefore the rule that writes the receipt has work to do exactly when a published file is no
    longer the one that was published for the current state, with the same inode and times.

    Args:
        extra: The folder that was published to.
        states: Split -> its current state.
        known: The existing receipts, if they were read already.
    """
    known = receipts(extra) if known is None else known
    for name, receipt in known.items():
        if is_true(receipt, extra, states):
            return name
    files = [file_states(extra, split) for split in states]
    noted = [(name, receipt and asdict(receipt)) for name, receipt in sorted(known.items())]
    return f"receipt-{digest(states, files, noted)}"


def write_receipt(
    path: StrPath,
    extra: StrPath,
    states: States,
    contents: Mapping[str, dict[str, str]],
    classes: Mapping[str, dict[str, str]],
    known: Mapping[str, Receipt | None],
) -> None:
    """Write a receipt for some splits, and for others whose files still match an old receipt.

    Args:
        path: The path of the receipt.
        extra: The folder that was published to.
        states: Split -> its state.
        contents, classes: Split -> contents and classes, see ``Noted``.
        known: The existing receipts.
    """
    splits = {
        split: noted
        for receipt in known.values()
        for split, noted in (receipt.splits if receipt else {}).items()
        if split in (*SPLITS, TARS) and noted.files == file_states(extra, split)
    }
    for split, state in states.items():
        files = file_states(extra, split)
        splits[split] = Noted(dict(state), contents[split], classes[split], files)
    with write_atomically(path) as file:
        file.write(to_json(Receipt(of_code(*CODE), splits)))


def published_state(
    extra: StrPath, split: str, known: Mapping[str, Receipt | None] | None = None
) -> Noted | None:
    """Return what a receipt says about a split's published files; None if no receipt matches.

    Args:
        extra: The folder with the metadata files.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        known: The existing receipts, if they were read already.
    """
    now = file_states(extra, split)
    for receipt in (receipts(extra) if known is None else known).values():
        noted = receipt.splits.get(split) if receipt else None
        if (
            noted
            and noted.state.keys() >= STATE_NAMES
            and (noted.files == now or _have_same_bytes(extra, split, noted.files, now))
        ):
            return noted
    return None


def _have_same_bytes(extra: StrPath, split: str, noted: FileStates, now: FileStates) -> bool:
    """Return whether files differ from what was noted in their ctime alone, as after a chmod, and
    have the bytes that are described."""
    lasting = [
        {name: state and (*state[:2], state[3]) for name, state in states.items()}
        for states in (noted, now)
    ]
    about = read_description(extra, split) if lasting[0] == lasting[1] else None
    try:
        return about is not None and all(
            sha256(os.path.join(extra, name)) == file.sha256 for name, file in about.files.items()
        )
    except (MetadataError, OSError):
        return False


def records_of(
    state: Mapping[str, str],
    extra: StrPath,
    *,
    root: str,
    dataset: str,
    layout: str,
    folders: Folders | None = None,
) -> dict[str, str]:
    """Return the records of the folders that a split was made from.

    Args:
        state: The names of its state.
        extra: The folder for the metadata.
        root, dataset, layout, folders: See ``formats.Description``.

    Returns:
        The split folder below root and, behind a view, the folder of the dataset -> its record.
    """
    split = state["split"]
    if state["tree"].endswith(TABLED):
        part = part_of(dataset, layout, split, folders)
        return {os.path.join(dataset, part.folder): path_of(extra, "folders", **state)}
    records = {os.path.join(root, split_folder(split)): path_of(extra, "folders", **state)}
    if state["view"]:
        part = part_of(dataset, layout, split, folders)
        records[os.path.join(dataset, part.folder)] = path_of(extra, "view", **state)
    return records


def changed_classes(
    dataset: str, layout: str, noted: Mapping[str, str], folders: Folders | None = None
) -> list[str]:
    """Return the folders of the splits that have other classes now, sorted.

    Args:
        dataset, layout: See ``formats.Description``.
        noted: Split -> the fingerprint of its class ids.
        folders: See ``formats.Description``.

    Raises:
        MetadataError: See ``class_ids.class_ids_of``.
    """
    return sorted(
        os.path.join(dataset, part_of(dataset, layout, split, folders).folder)
        for split, fingerprint in noted.items()
        if digest(class_ids_of(dataset, layout, split, folders)) != fingerprint
    )


def patiently(extra: StrPath, split: str, read: Callable[[], T]) -> T:
    """Read the published files of a split. If they are replaced meanwhile, read them again.

    Args:
        extra: The folder with the metadata files.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        read: Reads the files. Its result is returned.

    Raises:
        MetadataError: ``read`` raised it while nothing was being replaced, or the files kept
            changing for too long.
    """
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError), opened_folder(extra):
            pass  # opening it makes an NFS client ask the server instead of its cache
        before, error = file_states(extra, split), None
        try:
            result = read()
        except MetadataError as raised:
            error = raised
        if before == file_states(extra, split) and not is_torn(extra, split):
            if error:
                raise error
            return result
        if time.monotonic() > end:
            raise error or torn(extra, split)
        time.sleep(0.005)
