"""Disk: open, make and remove files so that links or special files planted there do no harm.

The work folder, ``<EXTRA>/.dinov3-metadata``, and the folders below it are opened one path
component at a time, and no component may be a link. Files in them are made and removed relative to
the open folder. Only regular files of limited size are read, so a FIFO or a device can neither hang
a run nor fill the memory.

Source: open(2), unlinkat(2); ``shutil.rmtree`` removes in the same way.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from typing import Any, BinaryIO, NamedTuple

from .access import share
from .errors import MetadataError
from .paths import OWN, ROOMS, STATE, TEMPORARY, StrPath, existing, is_work_file, work_parts

MOST = 1 << 28  # most bytes of a file that is read whole; labels and records are far smaller
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_mark = os.urandom(6).hex()

KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
}
"""File type, as in ``st_mode`` -> what to call it."""


def kind_of(state: os.stat_result) -> str:
    """Return the type of a file in words, such as "a FIFO"."""
    return KINDS.get(stat.S_IFMT(state.st_mode), "neither a file nor a folder")


@contextmanager
def opened_folder(path: StrPath, make: bool = False) -> Iterator[int]:
    """Open a folder for the block.

    Args:
        path: The folder. Links in its path are followed down to the folder that contains the work
            folder. The work folder and everything below it must be real folders.
        make: Whether to make missing folders of the path, and sync them to the disk. Folders of
            this user below the folder for the metadata are shared with those who may write there.

    Yields:
        Its descriptor.

    Raises:
        MetadataError: The work folder, or a component below it, is a link or not a folder.
        OSError: The folder is missing or cannot be opened.
    """
    path = os.path.abspath(path)
    above, parts = work_parts(path)
    if make:
        _make_folders(above or "/")
    descriptor = os.open(above or "/", FOLDER)
    for part in parts:
        outer, above = descriptor, f"{above.rstrip('/')}/{part}"
        try:
            descriptor = _enter(outer, above, make)
        finally:
            os.close(outer)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(outer: int, path: str, make: bool = False) -> int:
    """Open the folder at ``path``, which is directly in the open folder ``outer``."""
    name = os.path.basename(path)
    try:
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=outer)
                os.fsync(outer)
        descriptor = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=outer)
    except OSError as error:
        error.filename = path
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            state = os.stat(name, dir_fd=outer, follow_symlinks=False)
            raise _no_place_for(path, state) from None
        raise
    if make:
        share(outer, descriptor)
    return descriptor


def _make_folders(path: str) -> None:
    """Do the same as ``os.makedirs``, but make folders that survive a power cut."""
    if not os.path.isdir(path):
        above = os.path.dirname(path.rstrip("/"))
        _make_folders(above)
        with suppress(FileExistsError):
            os.mkdir(path)
        with suppress(PermissionError), opened_folder(above) as descriptor:
            os.fsync(descriptor)


def make_folder(path: StrPath) -> None:
    """Make a folder and its parents; see ``opened_folder``."""
    with opened_folder(path, make=True):
        pass


def _no_place_for(path: str, state: os.stat_result) -> MetadataError:
    return MetadataError(
        f"{path} is {kind_of(state)}. The work folder may contain only files and folders made by "
        "this program. Remove it and run the same command again."
    )


def refuse_special(path: StrPath) -> None:
    """Refuse anything but a regular file at the path of a work file; nothing at all is fine, too.

    Raises:
        MetadataError: There is a link, a FIFO or the like.
    """
    with suppress(FileNotFoundError):
        state = os.lstat(path)
        if not stat.S_ISREG(state.st_mode):
            raise _no_place_for(os.fspath(path), state)


def check_work(work: StrPath, marks: Collection[str] = ()) -> None:
    """Refuse links and special files in the work folder, and remove a killed run's temporary files.

    Call this only under the lock of the run. Folders whose names this program does not use are
    ignored.

    Args:
        work: The work folder.
        marks: The marks of the previous runs, with which the names of their temporary files begin;
            see ``mark_temporaries``.

    Raises:
        MetadataError: There is a link, FIFO, socket or device; the message names it.
    """
    with opened_folder(work) as descriptor:
        _check_folder(descriptor, os.fspath(work), set(marks))


def _check_folder(descriptor: int, path: str, marks: set[str]) -> None:
    with os.scandir(descriptor) as entries:
        for entry in entries:
            inner = f"{path}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if entry.name in ROOMS or re.fullmatch(STATE, entry.name):
                    below = _enter(descriptor, inner)
                    try:
                        _check_folder(below, inner, marks)
                    finally:
                        os.close(below)
            elif not entry.is_file(follow_symlinks=False):
                raise _no_place_for(inner, entry.stat(follow_symlinks=False))
            elif re.fullmatch(TEMPORARY, entry.name) and entry.name[1:13] in marks:
                os.unlink(entry.name, dir_fd=descriptor)


def create(folder: int, path: StrPath) -> BufferedWriter:
    """Make a file for writing in an open folder.

    Only the last component of ``path`` names the file; error messages show all of it.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(os.path.basename(name), flags | os.O_NOFOLLOW, 0o666, dir_fd=folder)

    with naming(path):
        return open(path, "xb", opener=opener)


def create_anew(path: StrPath) -> BufferedWriter:
    """Make a file for writing. If there is a file or a link at ``path``, remove it first."""
    with opened_folder(os.path.dirname(path), make=True) as folder:
        with suppress(FileNotFoundError):
            os.unlink(os.path.basename(path), dir_fd=folder)
        file = create(folder, path)
        if is_work_file(path):
            share(folder, file.fileno())
        return file


def temporary_name() -> str:
    """Return a name that nobody can guess, for a file that is renamed once it is complete."""
    return f".{_mark}-{os.urandom(16).hex()}.tmp"  # secrets would take 10 ms to import


def mark_temporaries(mark: str) -> None:
    """From now on, begin the names of this process's temporary files with the mark of its run."""
    global _mark
    _mark = mark


@contextmanager
def naming(path: StrPath) -> Iterator[None]:
    """Put ``path`` into an OSError of the block that names no file, or not by an absolute path.

    A temporary name is replaced by ``path``, too.
    """
    try:
        yield
    except OSError as error:
        known = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        if not os.path.isabs(known) or re.fullmatch(TEMPORARY, os.path.basename(known)):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def sync(file: BinaryIO) -> None:
    """Flush an open file, and wait until its content is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def open_regular(path: StrPath) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: It does not exist, or is not a regular file. A FIFO or a device does not block.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)

    file = open(path, "rb", opener=opener)  # noqa: SIM115
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode):
        file.close()
        raise OSError(errno.EINVAL, f"This is {kind_of(state)}, not a regular file", str(path))
    return file


def check_whole(content: bytes | None, size: int, path: StrPath) -> None:
    """Check that a file was read up to its end.

    Args:
        content: What was read; None if nothing could be read without waiting.
        size: Of the file, in bytes.
        path: Its path.

    Raises:
        OSError: There is more.
    """
    if content is None or len(content) < size:
        had = f"only {len(content or b''):,} of {size:,} bytes could be read"
        raise OSError(errno.EIO, had, os.fspath(path))


def read_file(path: StrPath, most: int = MOST) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file.
        most: The most bytes that it may have.

    Raises:
        OSError: It does not exist, is not a regular file, or is too large.
    """
    with naming(path), open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"The file has more than {most:,} bytes", str(path))
    return content


def read_json(path: StrPath, most: int = MOST) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if the file is missing or damaged."""
    with suppress(OSError, ValueError, RecursionError, MemoryError):
        found = json.loads(read_file(path, most))
        return found if isinstance(found, dict) else {}
    return {}


def remove_file(path: StrPath) -> None:
    """Remove a file if it exists. Its folder is opened with ``opened_folder``."""
    with (
        suppress(FileNotFoundError),
        naming(path),
        opened_folder(os.path.dirname(path)) as folder,
    ):
        os.unlink(os.path.basename(path), dir_fd=folder)


def remove_folders(folder: StrPath, keep: Collection[str] = ()) -> None:
    """Remove the folders in ``folder`` that hold one state each, except those named in ``keep``.

    Files that this program did not make stay, in these folders and next to them. A missing
    ``folder`` is no error.
    """
    with suppress(FileNotFoundError), opened_folder(folder) as descriptor:
        for name in os.listdir(descriptor):
            if name not in keep and re.fullmatch(STATE, name):
                remove_own(descriptor, name, OWN)


def remove_shares(extra: StrPath) -> None:
    """Remove the shares of a killed audit, whose images may have been repaired in place since."""
    for path, _ in existing(extra, "share"):
        remove_file(path)


def remove_own(folder: int, name: str, files: str) -> None:
    """Remove this program's files in a folder, and the folder if nothing else is in it.

    Whatever the system refuses to remove stays.

    Args:
        folder: The descriptor of the folder that contains it.
        name: The name of the folder to remove.
        files: The regular expression for the names of this program's files.
    """
    with suppress(OSError):
        descriptor = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        try:
            for inner in os.listdir(descriptor):
                mode = os.stat(inner, dir_fd=descriptor, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode) and re.fullmatch(STATE, inner):
                    remove_own(descriptor, inner, files)
                elif stat.S_ISREG(mode) and re.fullmatch(files, inner):
                    os.unlink(inner, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=folder)


# File systems that no other host can see while this host has them mounted.
LOCAL = {"aufs", "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk"}
LOCAL |= {"jfs", "nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "squashfs", "tmpfs"}
LOCAL |= {"vfat", "xfs", "zfs"}


def link_target(link: StrPath, real_path: Callable[[str], str] = os.path.realpath) -> str:
    """Return the path that a link leads to, but no further if that is a link, too.

    Args:
        link: The link.
        real_path: Pass a function that remembers its results, if there are many links.
    """
    target, above = os.readlink(link), os.path.dirname(os.path.abspath(link))
    if target.startswith("../"):  # it leads up from the real folder, whatever the path to that
        above = real_path(above)
    while target.startswith("../"):
        above, target = os.path.dirname(above), target[len("../") :]
    return os.path.join(above, target)


def on_one_mount(one: StrPath, other: StrPath) -> bool:
    """Return whether two folders are on the same mount; False if one cannot be opened.

    Two bind mounts of a file system are two mounts. Where the system does not number its mounts,
    the file systems count. Source: proc_pid_fdinfo(5).
    """
    mounts = []
    for folder in (one, other):
        try:
            descriptor = os.open(folder, FOLDER)
        except OSError:
            return False
        try:
            mounts.append(_mount_of(descriptor))
        finally:
            os.close(descriptor)
    return mounts[0] == mounts[1]


def _mount_of(descriptor: int) -> str:
    with suppress(OSError), open(f"/proc/self/fdinfo/{descriptor}") as facts:
        for line in facts:
            if line.startswith("mnt_id:"):
                return line
    return f"device {os.fstat(descriptor).st_dev}"


def is_local(path: StrPath) -> bool:
    """Return whether a path is on a file system that only this host sees; False if unknown."""
    return mounted(path).kind in LOCAL


class Mount(NamedTuple):
    """A mounted file system; its attributes are empty if it is unknown.

    Attributes:
        kind: Its type, such as ``ext4`` or ``fuse.s3fs``.
        source: Where its content is, such as ``/dev/sda1``.
        options: Its options, such as ``ro``.
    """

    kind: str = ""
    source: str = ""
    options: Collection[str] = ()

    @property
    def name(self) -> str:
        """The name of its type. FUSE calls it ``fuse.NAME``, or names only the source."""
        return self.source if self.kind == "fuse" else self.kind.removeprefix("fuse.")


def mounted(path: StrPath) -> Mount:
    """Return the file system that contains a path.

    Source: proc_pid_mountinfo(5). If there are several mounts at one place, the last one counts.

    Example:
        >>> mounted("/mnt/bucket/train").name
        'mountpoint-s3'
    """
    real, best, found = os.path.realpath(path), "", Mount()
    with suppress(OSError), open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            fields, _, rest = line.partition(b" - ")
            escaped = fields.split()[4]
            mount = os.fsdecode(
                re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), escaped)
            )
            inside = f"{real}/".startswith(f"{mount.rstrip('/')}/")
            if inside and len(mount) >= len(best):
                kind, source, options = map(os.fsdecode, rest.split()[:3])
                best, found = mount, Mount(kind, source, options.split(","))
    return found
