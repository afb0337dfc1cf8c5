"""Replace: the published files of a run take the places of the old ones as one set.

Everything that can fail is done first: the new files are written, checked by their writers and on
the disk, the old ones have a second name in the work folder, and a journal says what is about to be
renamed. Then the renames follow one another. Until the journal is gone the old set can be put back,
and it is: by the same process after an error, by the next run after a kill.

Where another host may have an old file open or mapped, its second name stays for some days: an NFS
server forgets a file with its last name, and a training that has it mapped dies of SIGBUS.
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

from .addresses import SPLITS
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
"""When files were replaced, in ns since 1970: the name of the folder in which they are kept."""

Writer = Callable[[BinaryIO], object]


@dataclass
class Plan:
    """What a journal says.

    Attributes:
        stamp: The folder with the second names of the old files.
        new: Published name -> temporary name and inode of the new file.
    """

    stamp: str
    new: dict[str, tuple[str, int]]

    def __post_init__(self) -> None:
        """Refuse what no publication replaces.

        Raises:
            ValueError: It names other files than ours.
        """
        good = all(
            PUBLIC.fullmatch(name) and TEMPORARY.fullmatch(self.new[name][0]) for name in self.new
        )
        if not (STAMP.fullmatch(self.stamp) and good):
            raise ValueError("this is not the plan of a publication")


@contextmanager
def replaced_files(
    extra: StrPath, writers: dict[str, Writer], size: int, days: float
) -> Iterator[None]:
    """Replace files in ``extra``: all of them or none. They are in place in the block, which may
    note it; an error there, too, puts the old ones back.

    Args:
        extra: The folder.
        writers: Published name -> writes the new file to an open one; in the order of the renames.
        size: Bytes of the new files together: there must be room for them.
        days: How long the old files are kept for readers on other hosts.

    Raises:
        MetadataError: There is no room.
        OSError: Something could not be written. A writer may raise errors of its own.
    """
    place = _place(extra)
    plan = Plan(_new_stamp(extra), {})
    with naming(place), opened_folder(extra) as target, opened_folder(place, make=True) as work:
        make_room(f"{extra}/{next(iter(writers))}", size)
        try:
            for name, write in writers.items():
                plan.new[name] = temporary_name(), 0
                with naming(f"{extra}/{name}"), create(work, plan.new[name][0]) as file:
                    write(file)
                    keep_mode(target, name, file)
                    sync(file)
                    plan.new[name] = plan.new[name][0], os.fstat(file.fileno()).st_ino
            with opened_folder(_kept(extra, plan.stamp), make=True) as old:
                copies = [name for name in writers if not give_second_name(target, name, old)]
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
    with suppress(OSError, MetadataError):  # the new files are in place: tidying fails no run
        for name in copies:
            remove_file(path_of(extra, "kept", stamp=plan.stamp, file=name))
        if is_local(extra) or not _holds_arrays(extra, plan.stamp):
            _forget(extra, plan.stamp)
        for stamp in _old_stamps(extra):
            if int(stamp, 16) < time.time_ns() - days * DAY:
                _forget(extra, stamp)


def undo_unfinished(extra: StrPath) -> None:
    """Put back the files that a publication had begun to replace when it was killed. To be called
    under the lock of the run, before anything else is looked at."""
    for journal, _ in _journals(extra):
        if plan := load(Plan, journal):
            logger.warning(
                "%s: a publication was interrupted. Its files are being rolled back.", extra
            )
            _put_back(extra, plan)
        remove_file(journal)  # one that is not whole was written before any rename
    stamps = _stamps(extra)
    local = bool(stamps) and is_local(extra)
    for stamp in stamps:
        if local or not _holds_arrays(extra, stamp):
            _forget(extra, stamp)


def is_torn(extra: StrPath, split: str) -> bool:
    """Whether a publication that is under way, or was killed, has renamed some of the files of a
    split, those of its audit aside, and not the others."""
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
    """What to say of a split of which ``is_torn`` is true, and stays so."""
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
    """What the publications that are in progress, or were killed, are about to do: the paths and
    the stamps of their journals."""
    return [(path, state["stamp"]) for path, state in existing(extra, "journal")]


def _put_back(extra: StrPath, plan: Plan) -> None:
    """Have the old files, and none where there was none, whatever was renamed before."""
    kept = _kept(extra, plan.stamp)
    with ExitStack() as folders:
        target, work = (folders.enter_context(opened_folder(one)) for one in (extra, _place(extra)))
        old = None
        with suppress(FileNotFoundError):
            old = folders.enter_context(opened_folder(kept))
        for name, (new, inode) in plan.new.items():
            now, before = _inode(target, name), _inode(old, name) if old else 0
            if old and before and now != before:
                again = temporary_name()
                give_second_name(old, name, work, again)
                os.replace(again, name, src_dir_fd=work, dst_dir_fd=target)
            elif not before and now == inode:
                os.unlink(name, dir_fd=target)
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=work)
        os.fsync(target)
        with suppress(FileNotFoundError):
            os.unlink(os.path.basename(_journal(extra, plan.stamp)), dir_fd=work)
        os.fsync(work)
    _forget(extra, plan.stamp)


def give_second_name(folder: int, name: str, other: int, new: str = "") -> bool:
    """Give a file of one open folder a second name in another; a copy, where there are no links.

    Returns:
        False if it is a copy. A file that is not there needs no second name.
    """
    new = new or name
    try:
        os.link(name, new, src_dir_fd=folder, dst_dir_fd=other, follow_symlinks=False)
    except FileNotFoundError:
        return True
    except OSError:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(source, "rb") as file, create(other, new) as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            sync(copy)
        return False
    return True


def keep_replaced(extra: StrPath, folder: int, name: str) -> None:
    """Keep a file of an open folder, which is about to be replaced, for readers on other hosts."""
    if _inode(folder, name) and not is_local(extra):
        with opened_folder(_kept(extra, _new_stamp(extra)), make=True) as kept:
            give_second_name(folder, name, kept)


def keep_mode(folder: int, name: str, file: BinaryIO) -> None:
    """Give a new file the mode of the file whose name it will take."""
    with suppress(FileNotFoundError):
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(state.st_mode):
            os.fchmod(file.fileno(), stat.S_IMODE(state.st_mode))


def make_room(path: StrPath, size: int) -> None:
    """Check that there is room for a file; if need be, remove what is kept, the oldest first, but
    for what the last publication replaced.

    Args:
        path: The file, which need not be there.
        size: Its bytes.

    Raises:
        MetadataError: There is no room.
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
    """How many replaced files are kept, and their bytes."""
    sizes = [size for stamp in _stamps(extra) for size in _sizes(extra, stamp).values()]
    return len(sizes), sum(sizes)


def _sizes(extra: StrPath, stamp: str) -> dict[str, int]:
    """Name -> bytes of the kept files of a stamp; nothing, if the folder can not be listed."""
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
    """The folders of kept files, the oldest first."""
    with (
        suppress(FileNotFoundError),
        opened_folder(folder_of(extra, "kept", upto="stamp")) as folder,
    ):
        return sorted(name for name in os.listdir(folder) if _is_kept(folder, name))
    return []


def _new_stamp(extra: StrPath) -> str:
    after = [int(stamp, 16) + 1 for stamp in _stamps(extra)[-1:]]  # though the clock was set back
    return f"{max([time.time_ns(), *after]):016x}"


def _old_stamps(extra: StrPath) -> list[str]:
    """Those that may be removed: not that of the last publication, nor one of a publication or an
    audit that is under way."""
    under_way = {stamp for _, stamp in _journals(extra)}
    done = (stamp for stamp in _stamps(extra) if stamp not in under_way)
    return [stamp for stamp in done if _holds_arrays(extra, stamp)][:-1]


def _holds_arrays(extra: StrPath, stamp: str) -> bool:
    """Whether there is more among the kept files of a stamp than those of an audit, which no
    training has mapped."""
    published = {name for split in SPLITS for name in published_names(split)}
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
    """The inode of a name in an open folder; 0 if there is none."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return 0
