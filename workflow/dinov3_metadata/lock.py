"""One run at a time on a work folder.

``flock`` is released by the kernel when its process ends, however it ends; Linux passes it on to
NFS servers, which release it when a client's lease runs out. So no lock is ever left behind. Where
an NFS mount keeps locks to itself (``nolock``, ``local_lock``), it holds on one host only.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from .disk import (
    check_work,
    make_folder,
    mark_temporaries,
    naming,
    opened_folder,
    read_json,
    refuse_special,
    sync,
)
from .errors import MetadataError, logger
from .layout import StrPath
from .replace import undo_unfinished

RUN = "run.lock"  # held by the run, with its name in it
SMALL = 1 << 16  # bytes of the text in a lock; it has a few hundred
JOBS = "jobs.lock"  # shared by the jobs of a run, which may outlive it when it is killed


def lock_run(work: StrPath) -> BinaryIO | None:
    """Become the one run on a work folder, until the returned file is closed or the process ends.

    If jobs of a run that was killed are still at work, they are waited for.

    Returns:
        None if the file system knows no locks; a warning is logged.

    Raises:
        MetadataError: Another run holds the lock; the message names host, process and since when.
        OSError: The work folder can not be made or written.
        MetadataError: There are links or special files in it, see ``disk.check_work``.
    """
    make_folder(work)
    path = Path(work, RUN)
    file = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    before, mark = _marks(work), token_hex(6)
    mark_temporaries(mark)
    _write_run(path, file, [*before, mark])
    try:
        jobs = _lock(Path(work, JOBS), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except MetadataError:
        logger.warning("Waiting for the jobs of a run that was killed, in %s.", work)
        jobs = _lock(Path(work, JOBS), fcntl.LOCK_EX)
    if jobs:
        jobs.close()
    check_work(work, before)
    undo_unfinished(Path(work).parent)
    _write_run(path, file, [mark])
    return file


def _write_run(path: Path, file: BinaryIO | None, marks: list[str]) -> None:
    """Say who holds the lock, and which marks the temporary files may have that are still there."""
    run = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        "marks": marks,
    }
    with suppress(OSError), open(path, "ab") if file is None else nullcontext(file) as text:
        text.truncate(0)
        text.write(json.dumps(run).encode())
        sync(text)  # or another host would not see it


def _marks(work: StrPath) -> list[str]:
    """The marks that ``_write_run`` has noted, the last run's last."""
    marks = read_json(Path(work, RUN), SMALL).get("marks")
    return list(map(str, marks)) if isinstance(marks, list) else []


@contextmanager
def locked(work: StrPath) -> Iterator[None]:
    """Be the one run on a work folder in the block, see ``lock_run``."""
    file = lock_run(work)
    try:
        yield
    finally:
        if file:
            with suppress(OSError):  # what the run says or raises is what counts
                fcntl.flock(file, fcntl.LOCK_UN)  # a process forked meanwhile has the file open too
            with suppress(OSError):
                file.close()


def lock_job(work: StrPath) -> BinaryIO | None:
    """Show that a job is at work, until the returned file is closed or the process ends."""
    for mark in _marks(work)[-1:]:
        mark_temporaries(mark)
    return _lock(Path(work, JOBS), fcntl.LOCK_SH)


def _lock(path: Path, how: int) -> BinaryIO | None:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    refuse_special(path)
    with opened_folder(path.parent) as folder, naming(path):
        file = os.fdopen(os.open(path.name, flags, 0o666, dir_fd=folder), "ab+")
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        file.close()
        other = read_json(path, SMALL)
        pid, host, since = (other.get(key, "?") for key in ("pid", "host", "since"))
        raise MetadataError(
            f"Another run is at work in {path.parent}: process {pid} on host {host}, "
            f"since {since}. Run the same command again when it is through."
        ) from None
    except OSError as error:
        file.close()
        logger.warning(
            "%s can not be locked (%s): take care that only one run at a time works there.",
            path.parent,
            error.strerror,
        )
        return None
    return file
