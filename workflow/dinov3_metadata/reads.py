"""Reads: read an image again if that failed for a moment, or another one in place of a bad one.

In a training of days, a file server stumbles at times, and images break after the metadata was
made. DINOv3 ends at the first such image, and does not say which one it is.

``again`` is for the first. For the second, ``read_or_replace`` ends with the path, or reads the
next image of the same class, so that the target is right. That one is noted in
``bad-images.jsonl``, for the next audit.
"""

from __future__ import annotations  # DINOv2's own environment has Python 3.9

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from .access import share
from .disk import opened_folder, read_file
from .errors import MetadataError, count, logger
from .paths import StrPath, path_of

T = TypeVar("T")

BAD_IMAGES = "DINOV3_METADATA_BAD_IMAGES"
"""The variable that says what to do with bad images in DINOv3: ``replace``, or anything else to
stop."""

MOMENTARY = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOTCONN}
PAUSES = (0.1, 0.9, 4, 15, 35)  # seconds before each further try
PATIENCE = 60  # seconds from the first failure to the start of the last try
BRIEFLY = 2  # further tries for an image that is missing in a folder that is there
OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # errors that no image is to blame for

FEW = 10  # bad images that a process may read, however few images it has read
MOST = 1000  # of so many images, one may be bad
LARGEST = 1 << 24  # bytes of bad-images.jsonl that are read
LOCKED = 20  # tenths of a second to wait for another process that writes there

AUDIT = "`snakemake audit` finds all such images, and `select: audit` leaves them out."

_gone: set[str] = set()
"""The folders that were still missing at the last try. Not each image in them is waited for."""

_noted: set[tuple[str, str]] = set()
"""The bad images that this process has noted: the folder with the metadata, and the path."""


class BadImageError(MetadataError, OSError):
    """An image cannot be read or decoded, or too many cannot. Pillow raises an OSError, too."""


class Images(NamedTuple):
    """What ``read_or_replace`` must know of a dataset.

    Attributes:
        root, extra, split: Its folders and its split.
        rows: The number of its images.
        class_of: Returns the class of a row; all are the same in TEST.
        path_of: Returns the path of the row that was read last, or of any row.
        replaces: Whether another image is read in place of a bad one.
        otherwise: How a user asks for that.
    """

    root: str
    extra: str
    split: str
    rows: int
    class_of: Callable[[int], int]
    path_of: Callable[[int], str]
    replaces: bool
    otherwise: str


class Tally:
    """How many images this process has read, and how many of them were bad."""

    read = bad = 0


_tally = Tally()


def again(read: Callable[[], T], path_of: Callable[[], str]) -> T:
    """Return what a function returns, and call it again if it fails for a moment.

    It is called up to five times more, within a minute, after an error of ``MOMENTARY``, or if its
    folder is missing, as when a file system is mounted anew. For an image that is missing in a
    folder that is there, this takes one second. Each failure is logged.

    Args:
        read: Reads an image.
        path_of: Returns its path; it is called after a failure.

    Raises:
        Exception: The last error of ``read``.
    """
    began, tries = 0.0, 0
    while True:
        try:
            return read()
        except OSError as error:
            path, began = path_of(), began or time.monotonic()
            if not _may_pass(error, path, tries):
                raise
            pause = PAUSES[tries]
            if time.monotonic() - began + pause > PATIENCE:
                raise
            tries += 1
            logger.warning(
                "%s: %s. It is read again in %s s (%d of at most %d).",
                *(path, error.strerror, pause, tries, len(PAUSES)),
            )
        time.sleep(pause)


def _may_pass(error: OSError, path: str, tries: int) -> bool:
    """Return whether an image may be readable a moment later."""
    is_last = tries == len(PAUSES)
    if error.errno != errno.ENOENT:
        return error.errno in MOMENTARY and not is_last
    with suppress(OSError):  # to open its folder makes a client of NFS ask for the file again
        os.scandir(os.path.dirname(path)).close()
    folder = os.path.dirname(os.path.realpath(path))  # in a view, that of the link's target
    if tries < BRIEFLY:
        return True
    if is_last:
        _gone.add(folder)
    return not is_last and folder not in _gone and not os.path.isdir(folder)


def read_or_replace(
    images: Callable[[], Images],
    row: int,
    read: Callable[[int], T],
    why: Callable[[Exception], Exception | None],
) -> T:
    """Return the image of a row; or, if it is bad and that is asked for, of the next row of its
    class that is not.

    Args:
        images: Returns the dataset; it is called after a failure.
        row: The row.
        read: Returns the image of a row.
        why: Returns what is wrong with an image, given an error of ``read``; None if that is not
            the image's fault.

    Raises:
        BadImageError: The image is bad; or more than one in ``MOST`` is of those that this process
            has read, ``FEW`` apart.
        Exception: Any other error of ``read``.
    """
    _tally.read += 1
    try:
        return read(row)
    except Exception as error:
        reason = _reason(why(error))
        if not reason:
            raise
        known = images()
        if not -known.rows <= row < known.rows:
            raise
        row %= known.rows
        what = _describe(known, row, reason)
        if not known.replaces:
            raise BadImageError(f"{what} {AUDIT} {known.otherwise}") from error
        _count(known, row, reason, what)
    for other in _others(known, row):
        _tally.read += 1
        try:
            return read(other)
        except Exception as error:
            reason = _reason(why(error))
            if not reason:
                raise
            _count(known, other, reason, _describe(known, other, reason))
    raise BadImageError(f"{what} No other image of its class can be read either. {AUDIT}")


def _reason(error: Exception | None) -> str:
    """Return in words what is wrong with an image; nothing if no image is to blame."""
    if error is None or isinstance(error, (MemoryError, MetadataError)):
        return ""
    number = getattr(error, "errno", None)
    if number in OURS:
        return ""
    if type(error).__name__ == "UnidentifiedImageError":  # its own text is an address in memory
        return "Pillow does not recognise it as an image"
    return str((number and getattr(error, "strerror", "")) or error) or type(error).__name__


def _describe(images: Images, row: int, reason: str) -> str:
    """Return the sentence that names a bad image."""
    path = images.path_of(row)
    return f"{path} (row {row:,} of {images.split}) cannot be read: {reason}."


def _count(images: Images, row: int, reason: str, what: str) -> None:
    """Note a bad image, and count it.

    Raises:
        BadImageError: There are too many.
    """
    if note(images, row, reason):
        logger.warning("%s The next image of its class is read in its place.", what)
    _tally.bad += 1
    if _tally.bad > FEW and _tally.bad * MOST > _tally.read:
        raise BadImageError(
            f"{what} That makes {_tally.bad:,} of {count(_tally.read, 'image')} that this process "
            f"has read, more than one in {MOST:,}. {AUDIT}"
        )


def _others(images: Images, row: int) -> Iterator[int]:
    """Yield the other rows of a row's class, from the next one round to the one before.

    The rows of a class follow one another, in the order of ``ImageFolder``.
    """
    own, end, start = images.class_of(row), row + 1, row
    while end < images.rows and images.class_of(end) == own:
        yield end
        end += 1
    while start and images.class_of(start - 1) == own:
        start -= 1
    yield from range(start, row)


def note(images: Images, row: int, reason: str) -> bool:
    """Note a bad image in ``bad-images.jsonl`` unless it is there. Return whether this process does
    so for the first time.

    Any number of processes may do so, on any hosts: each line is one call of ``write`` to the end
    of the file, under a lock where the file system has locks. If that fails, a warning says so.
    """
    path = images.path_of(row)
    if (images.extra, path) in _noted:
        return False
    _noted.add((images.extra, path))
    file = path_of(images.extra, "bad_images")
    bad = {"split": images.split, "row": row, "reason": reason, "host": os.uname().nodename}
    bad["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        bad |= {"image": os.path.relpath(path, images.root), "path": os.path.abspath(path)}
        _append(file, bad)
    except OSError as error:
        logger.warning(
            "%s: %s. So the next audit is not told of %s.", file, error.strerror or error, path
        )
    return True


def _append(file: str, bad: dict[str, Any]) -> None:
    import fcntl

    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with opened_folder(os.path.dirname(file)) as folder:
        descriptor = os.open(os.path.basename(file), flags, 0o666, dir_fd=folder)
        share(folder, descriptor)  # a group that shares the folder can write, too
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "This is not a regular file")
        for _ in range(LOCKED):
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:  # a file system without locks
                break
            else:
                break
        content = os.pread(descriptor, LARGEST, 0)
        if all(bad["path"] != one["path"] for one in _parse(content)):
            cut = b"\n" if content and not content.endswith(b"\n") else b""  # by a full disk
            os.write(descriptor, cut + json.dumps(bad).encode() + b"\n")
    finally:
        os.close(descriptor)


def _parse(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the bad images of a ``bad-images.jsonl``; lines that are damaged are passed over."""
    for line in content.splitlines():
        with suppress(ValueError, RecursionError):
            bad = json.loads(line)
            if isinstance(bad, dict) and {"split", "image", "path"} <= bad.keys():
                yield bad


def noted_images(extra: StrPath, split: str) -> set[str]:
    """Return the paths below root of the images of a split that ``bad-images.jsonl`` lists."""
    content = b""
    with suppress(OSError):
        content = read_file(path_of(extra, "bad_images"), LARGEST)
    return {str(bad["image"]) for bad in _parse(content) if bad["split"] == split}
