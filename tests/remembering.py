"""Show a folder as the client of a file server would, which remembers for a minute what it saw.

    python tests/remembering.py FOLDER MOUNTPOINT [NAME]

What the kernel has asked about a file once, it asks again only after a minute, or if it is forced
to. A name that was missing stays missing until its folder is opened or asked about. That is what
NFS does, too. With the NAME of a file system for buckets, it is mounted as one: all folders have
the time of the mount. Nothing can be written. To end it: ``fusermount3 -u MOUNTPOINT``.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

from mfusepy import FUSE, Operations

KEYS = ("st_mode", "st_ino", "st_nlink", "st_size", "st_uid", "st_gid")
TIMES = ("st_atime", "st_mtime", "st_ctime")


class Remembering(Operations):
    use_ns = True

    def __init__(self, folder: str, is_bucket: bool) -> None:
        self.folder, self.inode = folder, os.stat(folder).st_ino
        self.time_of_folders = time.time_ns() if is_bucket else 0
        self.missing: set[str] = set()

    def getattr(self, path: str, fh: Any = None) -> dict[str, int]:
        if path in self.missing:
            raise FileNotFoundError(errno.ENOENT, "remembered", path)
        if path == "/" and os.stat(self.folder).st_ino != self.inode:
            raise OSError(errno.ESTALE, "another folder is exported", path)
        try:
            found = os.lstat(self.folder + path)
        except FileNotFoundError:
            self.missing.add(path)
            raise
        self.opendir(path)
        times = {name: getattr(found, f"{name}_ns") for name in TIMES}
        if self.time_of_folders and stat.S_ISDIR(found.st_mode):
            times = dict.fromkeys(TIMES, self.time_of_folders)
        return times | {name: getattr(found, name) for name in KEYS}

    def opendir(self, path: str) -> int:
        self.missing = {one for one in self.missing if os.path.dirname(one) != path}
        return 0

    def readdir(self, path: str, fh: int) -> Iterator[tuple[str, dict[str, int], int]]:
        for entry in os.scandir(self.folder + path):
            kind = entry.stat(follow_symlinks=False)
            yield entry.name, {"st_mode": kind.st_mode, "st_ino": kind.st_ino}, 0

    def readlink(self, path: str) -> str:
        return os.readlink(self.folder + path)

    def open(self, path: str, flags: int) -> int:
        return os.open(self.folder + path, os.O_RDONLY)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0


if __name__ == "__main__":
    folder, mountpoint, *name = sys.argv[1:]
    options = {"subtype": name[0]} if name else {}
    FUSE(
        Remembering(folder, is_bucket=bool(name)),
        mountpoint,
        fsname="server",
        attr_timeout=60,
        entry_timeout=60,
        use_ino=True,
        direct_io=True,
        ro=True,
        nothreads=True,
        **options,
    )
