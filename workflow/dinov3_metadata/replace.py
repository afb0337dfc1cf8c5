"""Replace: put the new files of a publication in place of the old ones, all of them or none.

Everything that can fail is done first. The new files are written, checked by their writers and
synced to the disk. The old files get a second name in the work folder. A journal notes which files
will be renamed. Then the renames follow one another. As long as the journal exists, the old files
can be put back: after an error by the same process, after a kill by the next run.

If another host may have an old file open or mapped, its second name is kept for some days: an NFS
server deletes a file with its last name, and a training that has it mapped would die of SIGBUS.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from .access import copy_access, keep_access
from .addresses import SPLITS, TARS
from .disk import (
    create,
    create_anew,
    is_local,
    naming,
    opened_folder,
    remove_file,
    remove_own,
    sync,
    temporary_name,
)
from .documents import load, to_json
from .errors import MetadataError, logger
from .paths import (
    PUBLIC,
    TEMPORARY,
    WILDCARDS,
    StrPath,
    existing,
    extra_of,
    folder_of,
    path_of,
    published_names,
)

DAY = 86_400 * 10**9  # ns
STAMP = re.compile(WILDCARDS["stamp"])
"""Matches a stamp: the time in ns since 1970 when files were replaced, which names their folder."""

WRITERS = 2  # files written at a time: one is hashed while the disk takes another

Writer = Callable[[BinaryIO], object]


@dataclass
class Plan:
    """The content of a journal.

    Attributes:
        stamp: The name of the folder with the second names of the old files.
        new: Published name -> temporary name and inode of the new file.
    """

    stamp: str
    new: dict[str, tuple[str, int]]

    def __post_init__(self) -> None:
        """Refuse a plan that no publication makes.

        Raises:
            ValueError: It names files of other programs.
        """
        good = all(
            re.fullmatch(PUBLIC, name) and re.fullmatch(TEMPORARY, self.new[name][0])
            for name in self.new
        )
        if not (STAMP.fullmatch(self.stamp) and good):
            raise ValueError("this is not the plan of a publication")


@contextmanager
def replaced_files(
    extra: StrPath, writers: dict[str, Writer], size: int, days: float
) -> Iterator[None]:
    """Replace files in ``extra``, all of them or none.

    When the block runs, the new files are in place, so that the block can note it. If the block
    raises, the old files are put back.

    Args:
        extra: The folder.
        writers: Published name -> a function that writes the new file's content to an open file, in
            the order of the renames.
        size: The bytes of all new files together: there must be room for them.
        days: How long the old files are kept for readers on other hosts.

    Raises:
        MetadataError: There is not enough room.
        OSError: Something could not be written. A writer may raise other errors.
    """
    from concurrent.futures import ThreadPoolExecutor  # most starts do without

    place = _place(extra)
    plan = Plan(_new_stamp(extra), {})
    with naming(place), opened_folder(extra) as target, opened_folder(place, make=True) as work:
        make_room(f"{extra}/{next(iter(writers))}", size)
        try:
            plan.new = {name: (temporary_name(), 0) for name in writers}

            def write_one(name: str) -> None:
                new = plan.new[name][0]
                with naming(f"{extra}/{name}"), create(work, new) as file:
                    writers[name](file)
                    keep_access(f"{extra}/{name}", target, file)
                    sync(file)
                    plan.new[name] = new, os.fstat(file.fileno()).st_ino

            with ThreadPoolExecutor(WRITERS) as pool:
                for _ in pool.map(write_one, writers):  # raises what one of them raised
                    pass
            with opened_folder(_kept(extra, plan.stamp), make=True) as old:
                local, copies = is_local(extra), []
                for name in writers:
                    with naming(f"{extra}/{name}"):
                        if not give_second_name(target, name, old, is_needed=not local):
                            copies.append(name)
                os.fsync(old)
            journal = _journal(extra, plan.stamp)
            with naming(journal), create_anew(journal) as file:
                file.write(to_json(plan))
                sync(file)
            os.fsync(work)
            for name, (new, _) in plan.new.items():
                with naming(f"{extra}/{name}"):
                    os.replace(new, name, src_dir_fd=work, dst_dir_fd=target)
            with naming(extra):
                os.fsync(target)
            yield
            os.unlink(os.path.basename(journal), dir_fd=work)
            os.fsync(work)
        except BaseException:
            try:
                _put_back(extra, plan)
            except OSError as error:
                logger.error("%s: the old files could not be put back (%s).", extra, error)
            raise
    with suppress(OSError, MetadataError):  # the new files are in place; clean-up may fail
        for name in copies:
            remove_file(path_of(extra, "kept", stamp=plan.stamp, file=name))
        if local or not _holds_arrays(extra, plan.stamp):
            _forget(extra, plan.stamp)
        for stamp in _old_stamps(extra):
            if int(stamp, 16) < time.time_ns() - days * DAY:
                _forget(extra, stamp)


def undo_unfinished(extra: StrPath) -> None:
    """Put back the files that a killed publication had begun to replace.

    Call this under the lock of the run, before anything else is read.
    """
    for journal, _ in _journals(extra):
        if plan := load(Plan, journal):
            logger.warning(
                "%s: a publication was interrupted. Its files are being rolled back.", extra
            )
            _put_back(extra, plan)
        remove_file(journal)  # an incomplete journal was written before any rename
    stamps = _stamps(extra)
    local = bool(stamps) and is_local(extra)
    for stamp in stamps:
        if local or not _holds_arrays(extra, stamp):
            _forget(extra, stamp)


def is_torn(extra: StrPath, split: str) -> bool:
    """Return whether some of a split's files, but not all, belong to an unfinished publication.

    That publication is in progress or was killed. The files of an audit do not count.
    """
    plans = (load(Plan, journal) for journal, _ in _journals(extra))
    for plan in filter(None, plans):
        states = [
            _is_inode(f"{extra}/{name}", inode)
            for name, (_, inode) in plan.new.items()
            if name in published_names(split)
        ]
        if any(states) and not all(states):
            return True
    return False


def torn(extra: StrPath, split: str) -> MetadataError:
    """Return the error for a split for which ``is_torn`` remains true."""
    return MetadataError(
        f"The files of {split} in {extra} belong to two publications, because one was interrupted. "
        "Run snakemake or dinov3_metadata.dump_extra again."
    )


def _is_inode(path: str, inode: int) -> bool:
    try:
        return os.lstat(path).st_ino == inode
    except OSError:
        return False


def _journals(extra: StrPath) -> list[tuple[str, str]]:
    """Return the paths and the stamps of the journals.

    They belong to publications that are in progress or were killed.
    """
    return [(path, state["stamp"]) for path, state in existing(extra, "journal")]


def _put_back(extra: StrPath, plan: Plan) -> None:
    """Put back the old files, whatever was renamed; remove new files that replaced nothing."""
    kept = _kept(extra, plan.stamp)
    with ExitStack() as folders:
        target, work = (folders.enter_context(opened_folder(at)) for at in (extra, _place(extra)))
        old = None
        with suppress(FileNotFoundError):
            old = folders.enter_context(opened_folder(kept))
        for name, (new, inode) in plan.new.items():
            now, before = _inode(target, name), _inode(old, name) if old else 0
            if old and before and now in (inode, 0):  # the old file, or a copy of it, is not there
                again = temporary_name()
                give_second_name(old, name, work, again)
                os.replace(again, name, src_dir_fd=work, dst_dir_fd=target)
            elif now and not before and now == inode:
                os.unlink(name, dir_fd=target)
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=work)
        os.fsync(target)
        with suppress(FileNotFoundError):
            os.unlink(os.path.basename(_journal(extra, plan.stamp)), dir_fd=work)
        os.fsync(work)
    _forget(extra, plan.stamp)


def give_second_name(
    folder: int, name: str, other: int, new: str = "", is_needed: bool = False
) -> bool:
    """Give a file a second name in another folder, or copy it if hard links are not possible.

    Args:
        folder: The descriptor of the file's folder.
        name: The name of the file.
        other: The descriptor of the other folder.
        new: The second name; by default the same name.
        is_needed: Whether a copy would not do, because another host may have the file mapped.

    Returns:
        False if the file was copied. A missing file needs no second name and gives True.

    Raises:
        PermissionError: The name is needed, and the file belongs to a user who has to let others
            write it. Source: protected_hardlinks in proc_sys_fs(5).
    """
    new = new or name
    try:
        os.link(name, new, src_dir_fd=folder, dst_dir_fd=other, follow_symlinks=False)
    except FileNotFoundError:
        return True
    except OSError:
        if is_needed and not os.access(name, os.W_OK, dir_fd=folder):
            raise
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(source, "rb") as file, create(other, new) as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy_access(folder, name, copy)
            sync(copy)
        return False
    return True


def keep_replaced(extra: StrPath, folder: int, name: str) -> None:
    """Keep a file that is about to be replaced for readers on other hosts, if there may be any."""
    if _inode(folder, name) and not is_local(extra):
        with opened_folder(_kept(extra, _new_stamp(extra)), make=True) as kept:
            give_second_name(folder, name, kept)


def make_room(path: StrPath, size: int) -> None:
    """Check that there is room for a file. If there is not, remove kept files, the oldest first.

    The files that the last publication replaced are never removed.

    Args:
        path: The file, which need not exist.
        size: Its size in bytes.

    Raises:
        MetadataError: There is not enough room.
    """
    folder = os.path.dirname(path)
    extra = extra_of(path)
    old = _old_stamps(extra)
    while size > (free := shutil.disk_usage(folder).free):
        if not old:
            raise MetadataError(
                f"{path} needs {size / 1e6:,.1f} MB, but only {free / 1e6:,.1f} MB are free. "
                "Make room and run the same command again."
            )
        _forget(extra, old.pop(0))


def kept_size(extra: StrPath) -> tuple[int, int]:
    """Return how many replaced files are kept, and their total size in bytes."""
    sizes = [size for stamp in _stamps(extra) for size in _sizes(extra, stamp).values()]
    return len(sizes), sum(sizes)


def _sizes(extra: StrPath, stamp: str) -> dict[str, int]:
    """Return the bytes of each kept file of a stamp by its name; empty if they cannot be listed."""
    with suppress(OSError), os.scandir(_kept(extra, stamp)) as entries:
        return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}
    return {}


def _place(extra: StrPath) -> str:
    return folder_of(extra, "journal")


def _journal(extra: StrPath, stamp: str) -> str:
    return path_of(extra, "journal", stamp=stamp)


def _kept(extra: StrPath, stamp: str) -> str:
    return folder_of(extra, "kept", stamp=stamp)


def _stamps(extra: StrPath) -> list[str]:
    """Return the names of the folders with kept files, the oldest first."""
    with (
        suppress(FileNotFoundError),
        opened_folder(folder_of(extra, "kept", upto="stamp")) as folder,
    ):
        return sorted(name for name in os.listdir(folder) if _is_kept(folder, name))
    return []


def _new_stamp(extra: StrPath) -> str:
    after = [int(stamp, 16) + 1 for stamp in _stamps(extra)[-1:]]  # even if the clock was set back
    return f"{max([time.time_ns(), *after]):016x}"


def _old_stamps(extra: StrPath) -> list[str]:
    """Return the stamps whose files can be removed.

    Those of the last publication, and of a publication or an audit in progress, are left out.
    """
    in_progress = {stamp for _, stamp in _journals(extra)}
    done = (stamp for stamp in _stamps(extra) if stamp not in in_progress)
    return [stamp for stamp in done if _holds_arrays(extra, stamp)][:-1]


def _holds_arrays(extra: StrPath, stamp: str) -> bool:
    """Return whether the kept files of a stamp include arrays or descriptions.

    Otherwise they are only files of an audit, which no training maps.
    """
    published = {name for split in (*SPLITS, TARS) for name in published_names(split)}
    return not published.isdisjoint(_sizes(extra, stamp))


def _is_kept(folder: int, name: str) -> bool:
    state = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return bool(STAMP.fullmatch(name)) and stat.S_ISDIR(state.st_mode)


def _forget(extra: StrPath, stamp: str) -> None:
    with (
        suppress(FileNotFoundError),
        opened_folder(folder_of(extra, "kept", upto="stamp")) as folder,
    ):
        remove_own(folder, stamp, PUBLIC)


def _inode(folder: int, name: str) -> int:
    """Return the inode of a file in an open folder; 0 if there is no file."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return 0
