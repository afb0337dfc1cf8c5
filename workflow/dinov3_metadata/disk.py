"""Disk: folders and files opened so that nothing that is planted among them does harm.

A folder of ours, ``<EXTRA>/.dinov3-metadata`` and what is below it, is opened component by
component, and no component may be a link; what is made or removed in it is made or removed relative
to that handle. What is read is a regular file of bounded size: a FIFO or a device neither hangs a
run nor fills the memory.

Source: open(2), unlinkat(2); ``shutil.rmtree`` removes in the same way.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from typing import Any, BinaryIO

from .errors import MetadataError
from .paths import OWN, ROOMS, STATE, TEMPORARY, WORK, StrPath, existing

MOST = 1 << 28  # bytes of a file that is read whole; no labels file and no record comes near
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
    """What something on the disk is, in words."""
    return KINDS.get(stat.S_IFMT(state.st_mode), "neither a file nor a folder")


@contextmanager
def opened_folder(path: StrPath, make: bool = False) -> Iterator[int]:
    """Open a folder for the block.

    Args:
        path: The folder. Links in its path are followed as far as the folder that holds the work
            folder; the work folder and all below it must be real folders.
        make: Whether to make what is missing of it, and bring that to the disk.

    Returns:
        Its descriptor.

    Raises:
        MetadataError: The work folder, or a component below it, is a link or no folder.
        OSError: The folder is missing, or can not be opened.
    """
    path = os.path.abspath(path)
    above, work, below = f"{path}/".partition(f"/{WORK}/")
    parts = [WORK, *filter(None, below.split("/"))] if work else []
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
    """Open the folder at ``path``, which is right in the folder ``outer``."""
    name = os.path.basename(path)
    try:
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=outer)
                os.fsync(outer)
        return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=outer)
    except OSError as error:
        error.filename = path
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            state = os.stat(name, dir_fd=outer, follow_symlinks=False)
            raise _no_place_for(path, state) from None
        raise


def _make_folders(path: str) -> None:
    """``os.makedirs``, whose folders are still there after a power cut."""
    if not os.path.isdir(path):
        above = os.path.dirname(path.rstrip("/"))
        _make_folders(above)
        with suppress(FileExistsError):
            os.mkdir(path)
        with suppress(PermissionError), opened_folder(above) as descriptor:
            os.fsync(descriptor)


def make_folder(path: StrPath) -> None:
    """Make a folder, and those above it; see ``opened_folder``."""
    with opened_folder(path, make=True):
        pass


def _no_place_for(path: str, state: os.stat_result) -> MetadataError:
    return MetadataError(
        f"{path} is {kind_of(state)}. The work folder may contain only files and folders made by "
        "this program. Remove it and run the same command again."
    )


def refuse_special(path: StrPath) -> None:
    """Refuse what is in the place of a file of ours, and no regular file.

    Raises:
        MetadataError: There is a link, a FIFO or the like.
    """
    with suppress(FileNotFoundError):
        state = os.lstat(path)
        if not stat.S_ISREG(state.st_mode):
            raise _no_place_for(os.fspath(path), state)


def check_work(work: StrPath, marks: Collection[str] = ()) -> None:
    """Refuse a work folder that has links or special files among the files and folders of ours, and
    remove what a killed run left unfinished. To be called under the lock of the run.

    Args:
        work: The work folder.
        marks: Of the runs before, as they have noted them, see ``mark_temporaries``.

    Folders with names that are not ours are left alone.

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
                if entry.name in ROOMS or STATE.fullmatch(entry.name):
                    below = _enter(descriptor, inner)
                    try:
                        _check_folder(below, inner, marks)
                    finally:
                        os.close(below)
            elif not entry.is_file(follow_symlinks=False):
                raise _no_place_for(inner, entry.stat(follow_symlinks=False))
            elif TEMPORARY.fullmatch(entry.name) and entry.name[1:13] in marks:
                os.unlink(entry.name, dir_fd=descriptor)


def create(folder: int, path: StrPath) -> BufferedWriter:
    """Open a new file for writing, in an open folder; only messages need all of its path."""

    def opener(name: str, flags: int) -> int:
        return os.open(os.path.basename(name), flags | os.O_NOFOLLOW, 0o666, dir_fd=folder)

    with naming(path):
        return open(path, "xb", opener=opener)


def create_anew(path: StrPath) -> BufferedWriter:
    """Open a new file for writing, in the place of a file or link with its name."""
    with opened_folder(os.path.dirname(path), make=True) as folder:
        with suppress(FileNotFoundError):
            os.unlink(os.path.basename(path), dir_fd=folder)
        return create(folder, path)


def temporary_name() -> str:
    """A name that nobody can guess, for a file that is renamed when it is whole."""
    return f".{_mark}-{os.urandom(16).hex()}.tmp"  # secrets would take 10 ms to import


def mark_temporaries(mark: str) -> None:
    """Begin the names of all temporary files of this process with the mark of its run."""
    global _mark
    _mark = mark


@contextmanager
def naming(path: StrPath) -> Iterator[None]:
    """Name the file that an error in the block is about, where the system does not, or names it by
    less than its path."""
    try:
        yield
    except OSError as error:
        known = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        if not os.path.isabs(known) or TEMPORARY.fullmatch(os.path.basename(known)):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def sync(file: BinaryIO) -> None:
    """Bring all that was written to an open file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def open_regular(path: StrPath) -> BufferedReader:
    """Open a file for reading.

    Raises:
        OSError: There is none, or it is no regular file: a FIFO or a device does not even wait.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)

    file = open(path, "rb", opener=opener)  # noqa: SIM115
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode):
        file.close()
        raise OSError(errno.EINVAL, f"This is {kind_of(state)}, not a regular file", str(path))
    return file


def read_file(path: StrPath, most: int = MOST) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        most: The bytes that it may have.

    Raises:
        OSError: There is none, it is no regular file, or too large.
    """
    with naming(path), open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"The file has more than {most:,} bytes", str(path))
    return content


def read_json(path: StrPath, most: int = MOST) -> dict[str, Any]:
    """The object that a JSON file holds; empty if there is none, or it is damaged."""
    with suppress(OSError, ValueError, RecursionError, MemoryError):
        found = json.loads(read_file(path, most))
        return found if isinstance(found, dict) else {}
    return {}


def remove_file(path: StrPath) -> None:
    """Remove a file, if it is there, from a folder that is opened as ``opened_folder`` says."""
    with (
        suppress(FileNotFoundError),
        naming(path),
        opened_folder(os.path.dirname(path)) as folder,
    ):
        os.unlink(os.path.basename(path), dir_fd=folder)


def remove_folders(folder: StrPath, keep: Collection[str] = ()) -> None:
    """Remove the folders of states in ``folder``, if it is there, but for those to keep. What is
    not ours stays where it is, in them or beside them."""
    with suppress(FileNotFoundError), opened_folder(folder) as descriptor:
        for name in os.listdir(descriptor):
            if name not in keep and STATE.fullmatch(name):
                remove_own(descriptor, name, OWN)


def remove_shares(extra: StrPath) -> None:
    """Remove the shares of an audit that was killed: its images may have been repaired in place."""
    for path, _ in existing(extra, "share"):
        remove_file(path)


def remove_own(folder: int, name: str, files: re.Pattern[str]) -> None:
    """Remove what is ours in a folder, and the folder if nothing else is in it; what the system
    refuses to remove stays.

    Args:
        folder: An open folder.
        name: Of the folder in it.
        files: The names of files of ours.
    """
    with suppress(OSError):
        descriptor = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        try:
            for inner in os.listdir(descriptor):
                mode = os.stat(inner, dir_fd=descriptor, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode) and STATE.fullmatch(inner):
                    remove_own(descriptor, inner, files)
                elif stat.S_ISREG(mode) and files.fullmatch(inner):
                    os.unlink(inner, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=folder)


# File systems that no other host sees while this one has them mounted.
LOCAL = {"aufs", "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk"}
LOCAL |= {"jfs", "nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "squashfs", "tmpfs"}
LOCAL |= {"vfat", "xfs", "zfs"}


def is_local(path: StrPath) -> bool:
    """Whether a path is on a file system of this host alone; not if that can not be told.

    Source: proc_pid_mountinfo(5); of the mounts at one place the last one counts.
    """
    real, best, kind = os.path.realpath(path), "", ""
    with suppress(OSError), open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            fields, _, rest = line.partition(b" - ")
            escaped = fields.split()[4]
            mount = os.fsdecode(
                re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), escaped)
            )
            inside = f"{real}/".startswith(f"{mount.rstrip('/')}/")
            if inside and len(mount) >= len(best):
                best, kind = mount, os.fsdecode(rest.split()[0])
    return kind in LOCAL
