"""Times: find out whether the timestamps of a dataset's folders say nothing about changes.

Then a run may miss an edit, unless the user sets ``scan: trust_timestamps: false``. This module is
imported at every start. It only looks at states that were read anyway, and at the mount table.
"""

import time
from collections.abc import Collection, Iterator

from .disk import mounted
from .fingerprint import FolderState, State, has_times

MADE_UP = {
    # Their stores have no folders. A folder has the time of the mount, of a listing, or of an
    # object that marks it, which does not change with the objects in the folder.
    *("blobfuse", "blobfuse2", "cosfs", "gcsfuse", "geesefs", "goofys", "mountpoint-s3", "obsfs"),
    *("ossfs", "s3fs"),
    # The same, if it mounts such a store. A listing is kept for minutes whatever it mounts.
    "rclone",
}
"""FUSE file systems that make up the timestamps of folders.

JuiceFS, CephFS, GlusterFS, MooseFS and SSHFS are not among them: each has a server that keeps real
ones. Nor is one that passes on those of another file system, such as bindfs, mergerfs or ntfs-3g.
"""

IMAGES = {
    *("cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"),
    *("archivemount", "dwarfs", "erofsfuse", "fuse-zip", "fuseiso", "mount-zip", "ratarmount"),
    *("squashfuse", "squashfuse_ll"),
}
"""File systems that cannot change while they are mounted. Another image can be mounted in place of
the first one, which their timestamps show, unless all images are made with the same ones."""

COARSE = {
    *("beegfs", "exfat", "ext2", "ext3", "hfs", "hfsplus", "lustre", "mfs", "msdos", "sshfs"),
    "vfat",
}
"""File systems with real timestamps in whole seconds. Folders may all have the same ones because
they were copied within a second."""

FEW = 3  # folders that can have the same timestamps by chance: a split folder and one class
MOMENT = 2_100_000_000  # ns; some file systems keep whole seconds, FAT even ones
SECOND = 10**9  # ns


def doubt(folder: str, states: Collection[State], all_changed: bool = False) -> str:
    """Return the reason why timestamps say nothing about changes, as a warning for the user.

    Nearly always, the first two folders show that their timestamps are real ones.

    Args:
        folder: The folder of the dataset that contains the folders.
        states: The states of the folders.
        all_changed: Whether each of them has changed since the last run.

    Returns:
        Whole sentences; empty if nothing is wrong with the timestamps, or if they are not used.
    """
    first = next(_with_times(states), None)
    if not first:
        return ""
    kind, source = mounted(folder)
    name = source if kind == "fuse" else kind.removeprefix("fuse.")
    if name in MADE_UP:
        return (
            f"{folder} is on {name}, which makes up the timestamps of folders, so changes cannot "
            "be detected from them. Set `scan: trust_timestamps: false`."
        )
    now, what = time.time_ns(), ""
    if not any(state.ctime for state in _with_times(states)):
        what = "zero"
    elif _are_fixed(first, name) and _are_same(first, states):
        what = "the same"
    elif all_changed and all(abs(now - state.ctime) < MOMENT for state in _with_times(states)):
        what = "those of this moment"
    if not what:
        return ""
    return (
        f"All folder timestamps in {folder} are {what}, so changes cannot be detected from them. "
        "If the file system does not keep real ones, set `scan: trust_timestamps: false`."
    )


def _with_times(states: Collection[State]) -> Iterator[FolderState]:
    return (state for state in states if state and has_times(state))


def _are_fixed(state: FolderState, name: str) -> bool:
    """Return whether a file system made up the timestamps of some folders, if all are the same.

    If it has real ones, new folders may have the same, too, if its clock did not tick in between.
    But such a tick is a few milliseconds, and its time has a fraction of a second.
    """
    return name in IMAGES or (state.ctime % SECOND == 0 and name not in COARSE)


def _are_same(first: FolderState, states: Collection[State]) -> bool:
    times = (first.mtime, first.ctime)
    same = all((state.mtime, state.ctime) == times for state in _with_times(states))
    return same and sum(1 for _ in _with_times(states)) >= FEW
