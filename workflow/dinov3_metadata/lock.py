"""One run at a time on a work folder.

``flock`` is released by the kernel when its process ends, however it ends; Linux passes it on to
NFS servers, which release it when a client's lease runs out. So no lock is ever left behind. Where
an NFS mount keeps locks to itself (``nolock``, ``local_lock``), it holds on one host only.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from .disk import (
    check_work,
    make_folder,
    mark_temporaries,
    naming,
    opened_folder,
    refuse_special,
    sync,
)
from .documents import load, to_json
from .errors import MetadataError, logger
from .paths import StrPath, path_of, work_folder
from .replace import undo_unfinished

SMALL = 1 << 16  # bytes of the text in a lock; it has a few hundred


@dataclass
class Run:
    """What ``run.lock`` says of the run that holds it.

    Attributes:
        host, pid, since: Where and since when it runs.
        marks: The names of temporary files begin with one of these, see ``disk.temporary_name``;
            the last one is that of this run.
    """

    host: str
    pid: int
    since: str
    marks: list[str]


def lock_run(extra: StrPath) -> BinaryIO | None:
    """Become the only run on a work folder, until the returned file is closed or the process ends.

    If jobs of a run that was killed are still at work, wait for them.

    Args:
        extra: The folder for the metadata, with the work folder in it.

    Returns:
        None if the file system has no locks; a warning is logged.

    Raises:
        MetadataError: Another run holds the lock; the message names host, process and since when.
            Or there are links or special files in the work folder, see ``disk.check_work``.
        OSError: The work folder cannot be made or written.
    """
    make_folder(work_folder(extra))
    file = _lock(extra, "run", fcntl.LOCK_EX | fcntl.LOCK_NB)
    before, mark = _marks(extra), os.urandom(6).hex()
    mark_temporaries(mark)
    _write_run(extra, file, [*before, mark])
    try:
        jobs = _lock(extra, "jobs", fcntl.LOCK_EX | fcntl.LOCK_NB)
    except MetadataError:
        logger.warning("Waiting for the jobs of a run that was killed, in %s.", work_folder(extra))
        jobs = _lock(extra, "jobs", fcntl.LOCK_EX)
    if jobs:
        jobs.close()
    check_work(work_folder(extra), before)
    undo_unfinished(extra)
    _write_run(extra, file, [mark])
    return file


def _write_run(extra: StrPath, file: BinaryIO | None, marks: list[str]) -> None:
    """Say who holds the lock, and which marks the temporary files may have that are still there."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    run = Run(os.uname().nodename, os.getpid(), since, marks)
    path = path_of(extra, "run")
    with suppress(OSError), open(path, "ab") if file is None else nullcontext(file) as text:
        text.truncate(0)
        text.write(to_json(run))
        sync(text)  # otherwise another host would not see it


def _marks(extra: StrPath) -> list[str]:
    """The marks that ``_write_run`` has noted, the last run's last."""
    run = load(Run, path_of(extra, "run"), SMALL)
    return run.marks if run else []


@contextmanager
def locked(extra: StrPath) -> Iterator[None]:
    """Be the only run on a work folder in the block, see ``lock_run``."""
    file = lock_run(extra)
    try:
        yield
    finally:
        if file:
            with suppress(OSError):  # what the run says or raises is what counts
                fcntl.flock(file, fcntl.LOCK_UN)  # a process forked meanwhile has the file open too
            with suppress(OSError):
                file.close()


def lock_job(extra: StrPath) -> BinaryIO | None:
    """Show that a job is at work, until the returned file is closed or the process ends."""
    for mark in _marks(extra)[-1:]:
        mark_temporaries(mark)
    return _lock(extra, "jobs", fcntl.LOCK_SH)


def _lock(extra: StrPath, name: str, how: int) -> BinaryIO | None:
    path = path_of(extra, name)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    refuse_special(path)
    with opened_folder(work_folder(extra)) as folder, naming(path):
        file = os.fdopen(os.open(os.path.basename(path), flags, 0o666, dir_fd=folder), "ab+")
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        file.close()
        other = load(Run, path, SMALL) or Run("?", 0, "?", [])
        raise MetadataError(
            f"Another run is in progress in {work_folder(extra)}: process {other.pid or '?'} on "
            f"host {other.host}, since {other.since}. Run the same command again when it has "
            "finished."
        ) from None
    except OSError as error:
        file.close()
        logger.warning(
            "%s cannot be locked (%s): make sure that only one run at a time works there.",
            work_folder(extra),
            error.strerror,
        )
        return None
    return file
