"""Links: the folder of a view, which contains links into a dataset and, for each split and for the
view itself, a file that marks it as made by this program.

The view, the folders of its splits and those of their classes are opened without following links,
and links are made and removed relative to the open folders. So a link that somebody plants there
cannot lead the program out of the view, and only links into the dataset are ever removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from ..access import share
from ..addresses import split_folder
from ..disk import FOLDER, kind_of, make_folder, naming, opened_folder, sync, temporary_name
from ..documents import parse, to_json
from ..errors import MetadataError
from ..paths import MARK, TEMPORARY, work_folder
from .link_texts import LinkTexts

PATIENCE = 60  # seconds to wait for another run
SMALL = 1 << 20  # bytes to read of a mark at most; it has a few hundred
NO_LINKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}  # source: symlink(2)


@dataclass
class Mark:
    """The content of the file that marks a view.

    Attributes:
        extra: The folder for the metadata that the view belongs to.
        home: The path to that folder from the view, which remains if both are moved or copied.
        roots: The current paths of the dataset and its earlier ones, absolute and from the view.
        temporary: The name that the last run used for links before it renamed them.
    """

    extra: str = ""
    home: str = ""
    roots: list[str] = field(default_factory=list)
    temporary: str = ""

    def __post_init__(self) -> None:
        self.roots = [root for root in self.roots if root.startswith(("/", ".."))]


def check_apart(root: str, dataset: str, folder: str) -> None:
    """Check that a view is not among the images, nor images in the view.

    Args:
        root: The folder of the view.
        dataset: The dataset's folder, which a view may be in.
        folder: A folder of the dataset with images.

    Raises:
        MetadataError: One is inside the other.
    """
    view, source = os.path.realpath(root), os.path.realpath(folder)
    inside = os.path.commonpath([view, source])
    if inside == view or (inside == source and source != os.path.realpath(dataset)):
        raise MetadataError(
            f"The view {root} is inside {folder}, or {folder} is inside the view. Point `view:` at "
            "another folder."
        )


class ViewFolder:
    """The folder of one split in a view: a context manager that makes, marks and locks it.

    Args:
        root: The folder of the view, which DINOv3 uses as root.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        extra: The folder for the metadata; each view belongs to one.
        dataset: The dataset's folder.
        links: See ``LinkTexts``.

    Attributes:
        path: The folder of the split.
        texts: What links contain. Every link into the dataset, or into one of its earlier paths,
            counts as made by this program.
        old_links: Set this to True if links may remain that lead to an earlier path of the dataset.
            The earlier paths then stay in the mark.
        changed: The folders to sync to the disk, by their path below the view.

    Raises:
        MetadataError: The view is a link, belongs to other metadata, is locked for too long, or the
            folder was not made by this program.

    Example:
        >>> with ViewFolder("/data/view", "TRAIN", "/data/extra", "/data/images") as view:
        ...     view.make("train/cat")
        ...     with view.opened("train/cat") as folder:
        ...         view.put(folder, "train/cat/cat_0.JPEG", "/data/images/cat/a.jpg")
    """

    def __init__(
        self, root: str, split: str, extra: str, dataset: str, links: str = "auto"
    ) -> None:
        self.root, self.folder, self.extra, self.dataset = root, split_folder(split), extra, dataset
        self.path = f"{root}/{self.folder}"
        self.mark = f"{MARK}-{split}"
        self.links = links
        self._home = os.path.relpath(os.path.realpath(extra), os.path.realpath(root))
        self.old_links = False
        self.changed: set[str] = set()
        self._temporary = ""
        self._replacing = threading.Lock()  # threads that link several classes share that name

    def __enter__(self) -> ViewFolder:
        if os.path.islink(self.root):
            raise MetadataError(
                f"{self.root} is a link, but a view folder must not be one. Point `view:` at the "
                "folder that it leads to, or remove the link."
            )
        make_folder(self.root)
        self._view = os.open(self.root, FOLDER | os.O_NOFOLLOW)
        with suppress(OSError), opened_folder(self.extra) as extra:
            share(extra, self._view)
        try:
            if self._is_used() and not self._state(self.mark):
                raise MetadataError(
                    f"{self.path} already exists and is not a view made by this program. Point "
                    "`view:` at another folder, or move it elsewhere."
                )
            self._open_mark(MARK).close()
            self._file = self._open_mark(self.mark)
        except BaseException:
            os.close(self._view)
            raise
        try:
            self._lock()
            noted = self._read_mark()
            self._check_owner(noted)
            self.texts = LinkTexts(self.root, self.dataset, self.links, noted.roots)
            self._remove_temporary(noted.temporary)
            self._temporary = temporary_name()
            self._write_mark(self.texts.known)
            os.fsync(self._view)  # the mark must be on the disk before any link
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.bring_to_disk()
                self._temporary = ""
                self._write_mark(self.texts.known if self.old_links else self.texts.current)
        finally:
            self._close()

    def _lock(self) -> None:
        """Lock the view against a run for other metadata, which needs it only for a short time."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise MetadataError(
                        f"{self.root}/{self.mark} is locked by another program. Run the same "
                        "command again when it has finished."
                    ) from None
                time.sleep(0.05)
            except OSError:  # this file system has no locks
                return

    def _close(self) -> None:
        self._file.close()
        os.close(self._view)

    def bring_to_disk(self) -> None:
        """Sync the changed folders to the disk."""
        for below in self.changed:
            with suppress(FileNotFoundError), self.opened(below) as folder:
                os.fsync(folder)
        self.changed.clear()

    @contextmanager
    def opened(self, below: str) -> Iterator[int]:
        """Open a folder of the view in the block, and give its descriptor.

        Args:
            below: The path of the folder below the view; empty for the view itself.

        Raises:
            MetadataError: A part of the path is a link or anything else that is not a folder.
            FileNotFoundError: The folder does not exist.
        """
        descriptor, path = os.dup(self._view), self.root
        try:
            for part in filter(None, below.split("/")):
                outer, path = descriptor, f"{path}/{part}"
                try:
                    descriptor = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=outer)
                finally:
                    os.close(outer)
        except OSError as error:
            error.filename = path
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise self._stranger(path) from None
            raise
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def names(self, folder: int) -> set[str]:
        """List an open folder, without hidden files, which other programs leave everywhere."""
        return {name for name in os.listdir(folder) if not name.startswith(".")}

    def image_behind(self, folder: int, below: str) -> tuple[str, bool]:
        """Find the image that a link made by this program leads to.

        Args:
            folder: The open folder that contains the link.
            below: The path of the link below the view.

        Returns:
            The image, below the current path of the dataset, and whether the link is already as it
            would be made now, and does not lead to an earlier path of the dataset.

        Raises:
            MetadataError: This is not a link into the dataset.
        """
        with suppress(OSError):
            text = os.readlink(os.path.basename(below), dir_fd=folder)
            if image := self.texts.target(below, text):
                return image, text == self.texts.of(below, image)
        raise self._stranger(f"{self.root}/{below}")

    def make(self, below: str) -> None:
        """Make a folder if there is none; a link made by this program is replaced.

        Args:
            below: The path of the folder below the view; the folder above it must exist.

        Raises:
            MetadataError: Something else is in its place.
        """
        above, _, name = below.rpartition("/")
        with naming(f"{self.root}/{below}"), self.opened(above) as outer:
            try:
                os.mkdir(name, dir_fd=outer)
            except FileExistsError:
                mode = os.stat(name, dir_fd=outer, follow_symlinks=False).st_mode
                if not stat.S_ISDIR(mode):
                    self.image_behind(outer, below)
                    os.unlink(name, dir_fd=outer)
                    os.mkdir(name, dir_fd=outer)
            with self.opened(below) as folder:
                share(outer, folder)
        self.changed |= {above, below}

    def put(self, folder: int, below: str, target: str) -> bool:
        """Make a link to ``target``. A link made by this program is replaced atomically, and a
        folder that contains only such links is removed first.

        Args:
            folder: The open folder that shall contain the link.
            below: The path of the link below the view.
            target: The path that the link shall lead to, below that of the dataset.

        Returns:
            False if the link was already there.

        Raises:
            MetadataError: Something else is in its place.
        """
        above, _, name = below.rpartition("/")
        text = self.texts.of(below, target)
        try:
            self._link(text, name, folder, below)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                self.remove(folder, below)
                self._link(text, name, folder, below)
            elif self.image_behind(folder, below) == (target, True):
                return False
            else:
                with self._replacing:
                    self._link(text, self._temporary, self._view, below)
                    os.replace(self._temporary, name, src_dir_fd=self._view, dst_dir_fd=folder)
        self.changed.add(above)
        return True

    def _link(self, text: str, name: str, folder: int, below: str) -> None:
        try:
            os.symlink(text, name, dir_fd=folder)
        except OSError as error:
            if error.errno in NO_LINKS:
                raise MetadataError(
                    f"{self.root} is on a file system that has no symbolic links. Point `view:` at "
                    "a folder on another one."
                ) from None
            error.filename, error.filename2 = f"{self.root}/{below}", None
            raise

    def check(self, folder: int, below: str) -> list[str]:
        """Check that a path is a link made by this program, or a folder of only such links.

        Args:
            folder: The open folder that contains the link or folder.
            below: The path of the link or folder below the view.

        Returns:
            For a folder, the names of the links in it; for a link, nothing.

        Raises:
            MetadataError: It is something else, or the folder contains something else.
        """
        state = os.stat(os.path.basename(below), dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(state.st_mode):
            self.image_behind(folder, below)
            return []
        with self.opened(below) as inner:
            names = sorted(self.names(inner))
            for name in names:
                self.image_behind(inner, f"{below}/{name}")
            if others := set(os.listdir(inner)).difference(names):
                raise MetadataError(
                    f"{self.root}/{below}/{min(others)} is in the way: its class no longer exists, "
                    "so the folder of links must be removed. Remove the file."
                )
        return names

    def remove(self, folder: int, below: str) -> None:
        """Remove a link or a folder of links; refuse anything else. For arguments and errors see
        ``check``."""
        above, _, name = below.rpartition("/")
        if names := self.check(folder, below):
            with self.opened(below) as inner:
                for link in names:
                    os.unlink(link, dir_fd=inner)
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
        (os.rmdir if stat.S_ISDIR(state.st_mode) else os.unlink)(name, dir_fd=folder)
        self.changed.add(above)

    def _stranger(self, path: str) -> MetadataError:
        return MetadataError(
            f"{path} is not a link into {self.dataset}. A view folder may contain only links made "
            "by this program. Move the file elsewhere, or point `view:` at another folder."
        )

    def _state(self, name: str) -> os.stat_result | None:
        """Return the state of an entry of the view folder, links not followed; None if missing."""
        try:
            return os.stat(name, dir_fd=self._view, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _is_used(self) -> bool:
        """Return whether the split's path in the view is in use: there is anything but an empty
        folder."""
        state = self._state(self.folder)
        if not state or not stat.S_ISDIR(state.st_mode):
            return bool(state)
        with self.opened(self.folder) as folder:
            return bool(os.listdir(folder))

    def _open_mark(self, name: str) -> BinaryIO:
        """Open a file that marks the view, and make it if necessary.

        Raises:
            MetadataError: There is something else than a regular file.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        state = self._state(name)
        if not state or stat.S_ISREG(state.st_mode):
            with naming(f"{self.root}/{name}"):
                file = os.fdopen(os.open(name, flags, 0o666, dir_fd=self._view), "r+b")
            share(self._view, file.fileno())
            state = os.fstat(file.fileno())
            if stat.S_ISREG(state.st_mode):
                return file
            file.close()
        raise MetadataError(
            f"{self.root}/{name} is {kind_of(state)}. A file with this name must mark the view. "
            f"Remove it and {self.path}, and run the same command again."
        )

    def _read_mark(self) -> Mark:
        """Read the mark; a damaged mark counts as empty."""
        self._file.seek(0)
        content = self._file.read(SMALL).partition(b"\n")[0]
        with suppress(ValueError, RecursionError, MemoryError):
            return parse(Mark, content)
        return Mark()

    def _write_mark(self, roots: list[str]) -> None:
        """Write the mark with a single call, so that a power cut leaves the old or the new one."""
        content = to_json(Mark(self.extra, self._home, roots, self._temporary)) + b"\n"
        self._file.seek(0)
        self._file.write(content)
        self._file.flush()
        self._file.truncate(len(content))
        sync(self._file)

    def _remove_temporary(self, name: str) -> None:
        """Remove the link that a killed run was about to rename, if ``name`` is such a link."""
        state = self._state(name) if re.fullmatch(TEMPORARY, name) else None
        if state and stat.S_ISLNK(state.st_mode):
            os.unlink(name, dir_fd=self._view)

    def _check_owner(self, noted: Mark) -> None:
        others = noted.extra != self.extra and os.path.isdir(work_folder(noted.extra))
        view = os.path.realpath(self.root)
        came_along = noted.home == self._home  # the other one is where both were copied from
        inside = f"{view}/".startswith(f"{os.path.realpath(self.extra)}/")
        if others and not came_along and not inside:
            raise MetadataError(
                f"The view {self.root} belongs to the metadata in {noted.extra}. Point `view:` at "
                "another folder, or use the view itself as `root`."
            )
