"""Times: find out whether the timestamps of a dataset's folders say nothing about changes.

Then a run lists the folders instead, with ``scan: trust_timestamps: auto``. This module is imported
at every start. It looks at the mount table, and at states that were read anyway.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from .disk import LOCAL, mounted
from .fingerprint import FolderState, State, has_times

MADE_UP = "which makes up the timestamps of folders"
NOT_ALWAYS = "on which not every system changes the timestamps of folders"

UNTRUSTED = {
    # Their stores have no folders. A folder has the time of the mount, of a listing, or of an
    # object that marks it, which does not change with the objects in the folder.
    **dict.fromkeys(("blobfuse", "blobfuse2", "cosfs", "gcsfuse", "geesefs", "goofys"), MADE_UP),
    **dict.fromkeys(("mountpoint-s3", "obsfs", "ossfs", "rclone", "s3fs"), MADE_UP),
    # Linux changes them, Windows does not. FUSE calls exFAT and NTFS on a disk alike.
    **dict.fromkeys(("exfat", "fuseblk", "msdos", "vfat"), NOT_ALWAYS),
}
"""File systems whose timestamps of folders are not those of their last change, and why.

JuiceFS, CephFS, GlusterFS, MooseFS and SSHFS are not among them: each has a server that keeps real
ones. Nor is one that passes on those of another file system, such as bindfs or mergerfs.
"""

CACHES = {
    "geesefs": "1 minute, unless its --stat-cache-ttl is shorter",
    "goofys": "1 minute, unless its --type-cache-ttl is shorter",
    "rclone": "5 minutes, unless its --dir-cache-time is shorter",
    "sshfs": "20 seconds, unless it was mounted with -o dir_cache=no",
}
"""File systems that remember a folder themselves, whoever asks -> for how long. Until then, neither
its timestamps nor a listing show what was changed elsewhere."""

IMAGES = {
    *("cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"),
    *("archivemount", "dwarfs", "erofsfuse", "fuse-zip", "fuseiso", "mount-zip", "ratarmount"),
    *("squashfuse", "squashfuse_ll"),
}
"""File systems that cannot change while they are mounted. Another image can be mounted in place of
the first one, which their timestamps show, unless all images are made with the same ones."""

COARSE = {"beegfs", "ext2", "ext3", "hfs", "hfsplus", "lustre", "mfs", "sshfs"}
"""File systems with real timestamps in whole seconds. Folders may all have the same ones because
they were copied within a second."""

REAL = LOCAL | {
    *("beegfs", "ceph", "ceph-fuse", "glusterfs", "gpfs", "juicefs", "lustre", "mfs", "nfs"),
    *("nfs4", "sshfs", "virtiofs"),
}
"""File systems whose folders have the time of their last change. If all of them changed just now,
then ``chmod -R`` or an unpacked archive did it."""

FEW = 3  # folders that can have the same timestamps by chance: a split folder and one class
MOMENT = 2_100_000_000  # ns; some file systems keep whole seconds, FAT even ones
SECOND = 10**9  # ns


class Trust(NamedTuple):
    """Whether a run uses the timestamps of a split's folders.

    Attributes:
        timestamps: Whether it does. Otherwise it lists all folders.
        why: Why it does not, in one sentence; empty if the user decided so.
        cache: When changes appear if the file system remembers folders itself, in one sentence.
    """

    timestamps: bool
    why: str = ""
    cache: str = ""


def find_trust(setting: bool | str, folders: Collection[str], states: Iterable[State]) -> Trust:
    """Return whether to use the timestamps of some folders.

    Args:
        setting: The setting ``trust_timestamps``.
        folders: The folders of a split, which may be on several file systems.
        states: The states of the first of them and of the folders in it. Nearly always, two of them
            show that their timestamps are real ones, and no more are read.
    """
    if isinstance(setting, bool):
        return Trust(setting)
    names = {folder: mounted(folder).name for folder in folders}
    cache = next((one for one in names.values() if one in CACHES), "")
    if cache:
        cache = (
            f"{cache} remembers folders for {CACHES[cache]}: until then, no run sees what was "
            "changed elsewhere."
        )
    for folder, name in names.items():
        if name in UNTRUSTED:
            return Trust(False, f"{folder} is on {name}, {UNTRUSTED[name]}.", cache)
    for folder, name in islice(names.items(), 1):
        if what := _made_up(name, states):
            return Trust(False, f"All folder timestamps in {folder} are {what}.", cache)
    return Trust(True, "", cache)


def doubt(folder: str, states: Collection[State], all_changed: bool = False) -> str:
    """Return the reason why timestamps say nothing about changes, as a warning for the user.

    Args:
        folder: The folder of the dataset that contains the folders.
        states: The states of the folders.
        all_changed: Whether each of them has changed since the last run.

    Returns:
        Whole sentences; empty if nothing is wrong with the timestamps, or if they are not used.
    """
    if not next(_with_times(states), None):
        return ""
    name = mounted(folder).name
    if name in UNTRUSTED:
        return (
            f"{folder} is on {name}, {UNTRUSTED[name]}, so changes cannot be detected from them. "
            "Set `scan: trust_timestamps: false`."
        )
    now, what = time.time_ns(), _made_up(name, states)
    if not what and all_changed and name not in REAL:
        is_now = (abs(now - state.ctime) < MOMENT for state in _with_times(states))
        what = "those of this moment" if all(is_now) else ""
    if not what:
        return ""
    return (
        f"All folder timestamps in {folder} are {what}, so changes cannot be detected from them. "
        "If the file system does not keep real ones, set `scan: trust_timestamps: false`."
    )


def _with_times(states: Iterable[State]) -> Iterator[FolderState]:
    return (state for state in states if state and has_times(state))


def _made_up(name: str, states: Iterable[State]) -> str:
    """Return what the timestamps of some folders are, if a file system made them up.

    If it has real ones, new folders may have the same, too, if its clock did not tick in between.
    But such a tick is a few milliseconds, and its time has a fraction of a second.
    """
    first, alike = None, 0
    for state in _with_times(states):
        first = first or state
        if (state.mtime, state.ctime) != (first.mtime, first.ctime):
            return ""
        alike += 1
    if not first or not first.ctime:
        return "zero" if first else ""
    fixed = name in IMAGES or (first.ctime % SECOND == 0 and name not in COARSE)
    return "the same" if fixed and alike >= FEW else ""
