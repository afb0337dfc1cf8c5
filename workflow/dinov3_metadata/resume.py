"""Resume: keep a training that resumes from learning from other rows than it began with.

The samplers of DINOv3 and DINOv2 choose rows by their numbers. If the metadata was made again
before a training resumes, it reads other images, and nothing fails. Therefore the first process
that opens a split notes its rows in the output folder of the training, and each later process
compares.

The launcher passes the output folder on in the environment. This reaches every rank, also those of
a job that a scheduler starts again, which does not start the launcher.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from .disk import read_file, temporary_name
from .errors import MetadataError, count, logger
from .paths import StrPath, existing, file_name, path_of

OUTPUT = "DINOV3_METADATA_OUTPUT"
CHANGED = "DINOV3_METADATA_CHANGED"
"""The variables with the output folder of the training, and with what to do if the rows changed."""

FOLDER = "dinov3-metadata"
"""The name of the folder with the notes in the output folder."""

SMALL = 1 << 20  # bytes of a note; it has less than a kilobyte

_begun: set[str] = set()
"""The notes that this process has found right. It may open a dataset again days later, for instance
to evaluate, and must not end then because somebody made new metadata."""


class Rows(NamedTuple):
    """What identifies the rows of a split.

    Attributes:
        images, classes: The numbers of its images and its classes.
        files: Name of each published array -> its sha256.
    """

    images: int
    classes: int
    files: dict[str, str]


def output_of(command: Sequence[str]) -> str:
    """Return the last ``--output-dir`` of a command; empty if it names no folder.

    Example:
        >>> output_of(["torchrun", "train.py", "--output-dir=out", "x=1"])
        'out'
    """
    found = ""
    for word, following in zip(command, [*command[1:], ""]):  # noqa: B905  # for Python 3.9
        name, equals, value = word.partition("=")
        if name == "--output-dir":
            found = value if equals else following
    return "" if "://" in found else found  # other programs also write to an object store


def digest_of(rows: Rows) -> str:
    """Return one digest for all arrays of a split."""
    from hashlib import sha256  # few processes need it, but all import this module

    return sha256("\n".join(rows.files.values()).encode()).hexdigest()


def check(extra: StrPath, split: str, rows: Rows) -> None:
    """Compare the rows of a split with those that the training began with, or note them.

    This does nothing if no output folder is known. If ``CHANGED`` is ``accept``, other rows are
    noted in place of the first ones, with a warning. In a process whose rows were right before,
    they are a warning, too.

    Args:
        extra: The folder with the metadata files.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        rows: Its rows now.

    Raises:
        MetadataError: They are not those that the training began with.
    """
    output = os.environ.get(OUTPUT)
    if not output:
        return
    from hashlib import sha256

    extra = os.path.realpath(extra)  # two names of one folder have one note
    # A training can read several splits, and those of several datasets.
    name = f"{split}-{sha256(os.fsencode(extra)).hexdigest()[:12]}.json"
    path = os.path.join(output, FOLDER, name)
    scan = f"{path[:-5]}.npz"
    now: dict[str, Any] = {"split": split, "extra": extra, "began": _moment(time.time())}
    with suppress(OSError):
        now["published"] = _moment(os.stat(path_of(extra, "metadata", split=split)).st_mtime)
    now |= rows._asdict()
    try:
        then = _read(path)
    except OSError as error:
        raise MetadataError(
            f"{path}, which says with which metadata this training began, cannot be read "
            f"({error.strerror}). Make it readable; or, if the metadata has not changed since, "
            "or to go on with it all the same, remove this file."
        ) from None
    if then is None:
        try:
            _write(path, now, is_first=True)
            then = _read(path) or now
            if then["files"] == rows.files:
                _keep_scan(extra, split, scan)
        except OSError as error:
            _warn(path, error)
            return
    changed = sorted(
        name
        for name in {*then["files"], *rows.files}
        if then["files"].get(name) != rows.files.get(name)
    )
    if not changed:
        _begun.add(path)
        return
    what = (
        f"The metadata of {split} in {extra} has changed since this training began:",
        [
            f"  {then['began']}: {_shown(then)}",
            f"  now: {_shown(now)}",
            *_came_and_went(extra, split, then, rows, scan),
        ],
        f"These files differ: {', '.join(changed)}.",
    )
    accepted = os.environ.get(CHANGED) == "accept"
    if accepted or path in _begun:
        logger.warning("%s", MetadataError(*what, "It goes on with the new ones."))
        if accepted:
            try:
                _write(path, now, is_first=False)
                _keep_scan(extra, split, scan)
            except OSError as error:
                _warn(path, error)
        return
    raise MetadataError(
        *what,
        "A training that resumes would read other images than those that are left of its epoch. To "
        "go on with the new files all the same, start it with --changed accept before the --. To "
        "begin anew, choose another output folder.",
        _way_back(extra, split, then["files"], os.path.join(output, FOLDER, f"{split}-before")),
    )


def _keep_scan(extra: str, split: str, path: str) -> None:
    """Keep which images the rows are, a few bytes of each, to say later how many came and went."""
    new = os.path.join(os.path.dirname(path), temporary_name())
    try:
        content = read_file(path_of(extra, "last_scan", split=split))
        with open(new, "xb") as file:
            file.write(content)
        os.replace(new, path)
    except OSError:  # without it, only the numbers of images are said
        with suppress(OSError):
            os.unlink(new)


def _came_and_went(extra: str, split: str, then: dict[str, Any], now: Rows, path: str) -> list[str]:
    """Return a line that says how many images came and went; none if that is not known."""
    if sys.version_info < (3, 10):  # noqa: UP036
        return []
    try:
        from .artefacts import Scan
        from .stages.changes import compare

        before, after = Scan.load(path), Scan.load(path_of(extra, "last_scan", split=split))
    except (ImportError, MetadataError, OSError):
        return []
    if (len(before.actual_index), len(after.actual_index)) != (then["images"], now.images):
        return []
    changes = compare(before, after)
    came, went = count(changes.added, "image"), f"{changes.removed:,} went"
    return [f"  since then, {came} came and {went}"]


def _warn(path: str, error: OSError) -> None:
    """Say that the rows could not be noted."""
    logger.warning(
        "%s: %s. So the next start of this training cannot tell that it resumes with these files.",
        *(path, error.strerror),
    )


def _moment(seconds: float) -> str:
    """Return a time as a user writes it, in UTC, as the hosts of a cluster may differ."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _shown(noted: dict[str, Any]) -> str:
    images, classes = count(noted["images"], "image"), count(noted["classes"], "class", "classes")
    return f"{images} of {classes}, published {noted.get('published')}"


def _read(path: str) -> dict[str, Any] | None:
    """Return the content of a note; None if there is none.

    Raises:
        MetadataError: It is damaged.
    """
    try:
        noted: dict[str, Any] = json.loads(read_file(path, SMALL))
        dict(noted["files"]), noted["began"], _shown(noted)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (LookupError, TypeError, ValueError, RecursionError, MemoryError):
        raise MetadataError(
            f"{path}, which says with which metadata this training began, is damaged. If the "
            "metadata has not changed since, or to go on with it all the same, remove this file."
        ) from None
    return noted


def _write(path: str, noted: dict[str, Any], is_first: bool) -> None:
    """Write a note, which appears complete.

    Args:
        path: The file.
        noted: Its content.
        is_first: Whether to keep a note that another process has written meanwhile.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    new = os.path.join(folder, temporary_name())
    try:
        with open(new, "x", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(noted, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if is_first:
            try:
                os.link(new, path)
            except FileExistsError:
                return
            except OSError:  # a file system without hard links
                os.replace(new, path)
        else:
            os.replace(new, path)
    finally:
        with suppress(OSError):
            os.unlink(new)


def _way_back(extra: str, split: str, files: dict[str, str], folder: str) -> list[str]:
    """Return lines that say how to go on with some files of an earlier publication, if all of them
    are kept, see ``replace``.

    Args:
        extra, split: The split.
        files: Name of each array -> its sha256.
        folder: Where to copy them to.
    """
    held = {(at["stamp"], at["file"]): path for path, at in existing(extra, "kept")}  # by time
    described = file_name("metadata", split=split)
    begun = ""
    for (stamp, name), path in held.items():
        with suppress(OSError, LookupError, TypeError, ValueError, AttributeError):
            about = json.loads(read_file(path, SMALL))["files"] if name == described else {}
            if about and {one: about[one]["sha256"] for one in about} == files:
                begun = stamp
    if not begun:
        return []
    from shlex import join

    paths = []
    for wanted in (*files, described):
        later = [path for (stamp, name), path in held.items() if name == wanted and stamp >= begun]
        paths.append([*later, os.path.join(extra, wanted)][0])
    return [
        "The files that it began with are still kept. If no image of theirs was removed, it can go "
        f"on with them: run this, and train with extra={folder}:",
        f"  {join(['mkdir', '-p', folder])} && {join(['cp', *paths, folder])}",
    ]
