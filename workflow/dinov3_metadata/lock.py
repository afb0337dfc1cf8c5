"""Lock: allow only one run at a time on a work folder.

The kernel releases an ``flock`` when its process ends, however it ends. Linux passes the lock on to
NFS servers, which release it when the client's lease runs out. So no lock is ever left behind. If
an NFS mount keeps locks local (``nolock``, ``local_lock``), the lock works only within one host,
which a warning says.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from .access import hiding_umask, share
from .disk import (
    check_work,
    make_folder,
    mark_temporaries,
    mounted,
    naming,
    opened_folder,
    refuse_special,
    remove_shares,
    sync,
)
from .documents import load, to_json
from .errors import MetadataError, logger
from .paths import StrPath, path_of, work_folder
from .replace import undo_unfinished

SMALL = 1 << 16  # most bytes of the text in a lock file; it has a few hundred


@dataclass
class Run:
    """What ``run.lock`` says about the run that holds the lock.

    Attributes:
        host, pid, since: The host and the process of the run, and when it started.
        marks: The names of all temporary files begin with one of these marks, see
            ``disk.temporary_name``. The last mark is that of this run.
    """

    host: str
    pid: int
    since: str
    marks: list[str]


def lock_run(extra: StrPath) -> BinaryIO | None:
    """Become the only run on a work folder, until the returned file is closed or the process ends.

    If jobs of a killed run are still working, wait for them.

    Args:
        extra: The folder for the metadata, which contains the work folder.

    Returns:
        The locked file; None if the file system has no locks, which also logs a warning.

    Raises:
        MetadataError: Another run holds the lock; the message names its host, process and start.
            Or there are links or special files in the work folder, see ``disk.check_work``.
        OSError: The work folder cannot be made or written to.
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
    if umask := hiding_umask(extra):
        logger.warning(
            "umask %s hides new files in %s from everyone else, although others can read that "
            "folder. Run `umask 022` before, or `umask 002` for a group that also writes there.",
            *(umask, extra),
        )
    _warn_of_local_locks(work_folder(extra))
    check_work(work_folder(extra), before)
    undo_unfinished(extra)
    remove_shares(extra)
    _write_run(extra, file, [mark])
    return file


def _warn_of_local_locks(work: str) -> None:
    """Warn if a client of NFS does not pass locks on to the server. Source: nfs(5)."""
    mount = mounted(work)
    local = {"nolock", "local_lock=all", "local_lock=flock"}.intersection(mount.options)
    if local and mount.kind.startswith("nfs"):
        logger.warning(
            "%s is on NFS mounted with %s, so a run here does not see a run on another host: make "
            "sure that only one at a time works there, or mount it without this option.",
            work,
            min(local, key=len),
        )


def _write_run(extra: StrPath, file: BinaryIO | None, marks: list[str]) -> None:
    """Write down who holds the lock, and the marks of all temporary files that may still exist."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    run = Run(os.uname().nodename, os.getpid(), since, marks)
    path = path_of(extra, "run")
    with suppress(OSError), open(path, "ab") if file is None else nullcontext(file) as text:
        text.truncate(0)
        text.write(to_json(run))
        sync(text)  # otherwise another host would not see it


def _marks(extra: StrPath) -> list[str]:
    """Return the marks that ``_write_run`` noted. The last mark is that of the last run."""
    run = load(Run, path_of(extra, "run"), SMALL)
    return run.marks if run else []


@contextmanager
def locked(extra: StrPath) -> Iterator[None]:
    """Hold the lock of ``lock_run`` during the block."""
    file = lock_run(extra)
    try:
        yield
    finally:
        if file:
            with suppress(OSError):  # must not hide the run's own result or error
                fcntl.flock(file, fcntl.LOCK_UN)  # a forked process may still have the file open
            with suppress(OSError):
                file.close()


def lock_job(extra: StrPath) -> BinaryIO | None:
    """Show that a job is working, until the returned file is closed or the process ends."""
    for mark in _marks(extra)[-1:]:
        mark_temporaries(mark)
    return _lock(extra, "jobs", fcntl.LOCK_SH)


def _lock(extra: StrPath, name: str, how: int) -> BinaryIO | None:
    path = path_of(extra, name)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    refuse_special(path)
    with opened_folder(work_folder(extra)) as folder, naming(path):
        file = os.fdopen(os.open(os.path.basename(path), flags, 0o666, dir_fd=folder), "ab+")
        share(folder, file.fileno())
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
