"""Look: ask the file system what is there now, not what this host remembers of it.

A client of a file server remembers for up to a minute what a folder was like, and which names were
missing in it. Until then, ``os.stat`` does not see what another host changed. But the client asks
the server if it is told to, and whenever a folder is opened. On a disk, ``os.stat`` does.

This module is imported at every start. Source: statx(2), nfs(5).
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from .errors import MetadataError
from .paths import StrPath

FORCE_SYNC, NO_FOLLOW, HERE, BASIC = 0x2000, 0x100, -100, 0x7FF  # of <linux/stat.h> and <fcntl.h>

PROBES = 4  # items that are timed first, to see how long one takes
PAYS = 150_000  # ns per item that justify one more thread
SHARE = 8  # items that a thread takes at a time
ASKERS = 16  # most threads that wait for a server; more do not make it faster


_on_disk = sys.platform == "linux"  # whether what is asked next may be on a disk of this host


class Status(NamedTuple):
    """What ``os.stat`` returns about a file or a folder, as far as it is needed; times in ns."""

    mode: int
    size: int
    mtime: int
    ctime: int
    inode: int


def ask(path: StrPath, follow: bool = True) -> Status:
    """Return the status of a file or a folder as it is now, also if another host changed it.

    Args:
        path: Its path.
        follow: Whether to follow a link at its end.

    Raises:
        OSError: There is nothing, or it cannot be reached.
        ValueError: The path contains a NUL character.
    """
    global _on_disk
    if _on_disk:
        found = os.stat(path, follow_symlinks=follow)
        if os.major(found.st_dev):  # Linux gives 0 to whatever is not on a block device
            return _status(found)
    if statx := _statx():
        status, _on_disk = statx(path, follow)
        return status
    if follow:
        try:  # opening a folder makes a client of NFS ask the server
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (NotADirectoryError, PermissionError):
            return _status(os.stat(path))
        try:
            return _status(os.fstat(descriptor))
        finally:
            os.close(descriptor)
    return _status(os.lstat(path))


def _status(found: os.stat_result) -> Status:
    times = found.st_mtime_ns, found.st_ctime_ns
    return Status(found.st_mode, found.st_size, *times, found.st_ino)


@cache
def _statx() -> Callable[[StrPath, bool], tuple[Status, bool]] | None:
    """Return a function that asks for the status of a path, and tells whether it is on a disk.

    Return None if the C library has no statx, or the system refuses it, as old containers do.
    """
    import ctypes  # 3 ms with struct, which a start on a disk does without
    from struct import Struct

    fields = Struct("=28xH2xQQ48xqI4xqI12xI116x")  # of struct statx
    new_buffer = ctypes.c_char * fields.size
    try:
        function = ctypes.CDLL(None, use_errno=True).statx
    except (AttributeError, OSError):
        return None

    def statx(path: StrPath, follow: bool = True) -> tuple[Status, bool]:
        name, buffer = os.fsencode(path), new_buffer()
        if b"\0" in name:
            raise ValueError("embedded null byte")
        flags = FORCE_SYNC if follow else FORCE_SYNC | NO_FOLLOW
        if function(HERE, name, flags, BASIC, buffer):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), os.fspath(path))
        mode, inode, size, changed, changed_ns, modified, modified_ns, major = fields.unpack(buffer)
        times = modified * 10**9 + modified_ns, changed * 10**9 + changed_ns
        return Status(mode, size, *times, inode), bool(major)

    try:
        statx("/")
    except OSError:
        return None
    return statx


def finds_folder(path: StrPath) -> bool:
    """Return whether there is a folder, links followed.

    Raises:
        MetadataError: The server no longer knows the folder.
    """
    return stat.S_ISDIR(_mode(path))


def finds_file(path: StrPath) -> bool:
    """Return whether there is a regular file, links followed."""
    return stat.S_ISREG(_mode(path))


def finds(path: StrPath) -> bool:
    """Return whether there is anything, even a link to nothing."""
    return bool(_mode(path, follow=False))


def _mode(path: StrPath, follow: bool = True) -> int:
    """Return the mode of what is at a path; 0 if there is nothing, or it cannot be reached.

    That a name is missing may be remembered, too, so the folder above is asked before it is said.
    """
    for ask_first in (False, True):
        try:
            if ask_first:
                _open_above(os.path.realpath(path) if follow else os.path.abspath(path))
            return ask(path, follow).mode
        except (OSError, ValueError) as error:
            if getattr(error, "errno", 0) == errno.ESTALE:
                raise MetadataError(
                    f"{os.fspath(path)}: stale file handle. The file server no longer knows this "
                    "folder, because it was replaced or exported anew. Mount it again."
                ) from None
    return 0


def _open_above(path: str) -> None:
    """Open the nearest folder above a path that exists. An NFS client then asks the server, and
    forgets which names were missing in the folder."""
    above = os.path.dirname(path)
    try:
        os.close(os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except FileNotFoundError:
        _open_above(above)


def waiting_ns() -> int:
    """Return a time in ns that stands still while this thread computes.

    As a ``clock``, it lets nothing that only computes justify threads, which would take turns.
    """
    return time.perf_counter_ns() - time.thread_time_ns()


def in_threads(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    threads: int = ASKERS,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Iterator[Any]:
    """Do the same as ``map``, in as many threads as the time for one item justifies.

    That is one thread for small folders on a local disk, two for large ones, and many for a slow
    file server.
    """
    rest = items[PROBES:]
    took = []
    for item in items[:PROBES]:
        start = clock()
        result = function(item)
        took.append(clock() - start)
        yield result
    threads = min(threads, min(took, default=0) // PAYS)
    if threads < 2:
        yield from map(function, rest)
        return
    from concurrent.futures import ThreadPoolExecutor  # most starts do without

    share = max(1, min(SHARE, len(rest) // threads))
    shares = [rest[start : start + share] for start in range(0, len(rest), share)]
    with ThreadPoolExecutor(threads) as pool:
        for results in pool.map(lambda share: list(map(function, share)), shares):
            yield from results
