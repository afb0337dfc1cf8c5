"""Walk: update what is known about a tree of folders, listing only the folders that changed.

Timestamps must be read with care. If a folder is edited right after a listing, and the clock of the
file system has not ticked in between, its timestamps stay the same as before the listing. Therefore
a changed folder is listed only one tick after its timestamps were read, and a walk has finished
only when a last look finds every folder as it was read.

A folder's timestamps also stay the same when the target of a link in it becomes something else.
Therefore the folders that contain the targets are watched: their timestamps belong to the state of
the folder with the links, and are also read one tick before the links are followed.
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .addresses import is_image
from .errors import MetadataError
from .fingerprint import (
    TOO_MANY,
    UNREAD,
    Others,
    State,
    class_folders,
    folder_state,
    has_times,
    state_as_noted,
    was_folder,
)
from .look import in_threads
from .progress import progress
from .readdir import WATCHED, Listing, Watch, list_folder

LOOKS = 10  # most looks at a split folder that keeps changing
TICK = 20_000_000  # ns; the clock of Linux' file systems ticks every 1 to 10 ms
COARSE_TICK = 2_100_000_000  # ns; some file systems keep whole seconds, FAT even ones


@dataclass
class Folder:
    """What was found in one folder.

    Attributes:
        state: The state of the folder and of those that its links lead into, read before it was
            listed.
        below: The paths of the folders in it.
        actual_index: (images,), ``<u4``: the numbers of its addressable images.
        images: How many images were found, addressable or not.
        offenders: The first images that are not addressable, each with the reason.
        others: What it contains beside images, see ``fingerprint.Others``.
        special: Whether all that is not addressable leads to no file, see ``Listing.special``.
    """

    state: State
    below: list[str]
    actual_index: np.ndarray
    images: int
    offenders: list[str] = field(default_factory=list)
    others: Others = field(default_factory=dict)
    special: bool = False

    @property
    def skipped(self) -> int:
        """The number of images that are not addressable."""
        return self.images - len(self.actual_index)


Found = dict[str, Folder]
"""Path below the split folder -> what was found there; the split folder itself is ``""``."""


def folders_below(names: Iterable[str]) -> dict[str, list[str]]:
    """Return, for each of some folders, the paths of the folders directly below it."""
    below: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        if name:
            below.setdefault(name.rpartition("/")[0], []).append(name)
    return below


def look(
    folder: Path,
    found: Found,
    targets: "Targets",
    *,
    what: str,
    look_at: Callable[[str, Watch | None], Listing | None],
    take: Callable[[str, Listing, State], Folder],
    trust_timestamps: bool,
    threads: int,
    links_are_classes: bool,
    watch_links: bool = True,
    left_out: Collection[str] = (),
    tops: Sequence[str] = ("",),
) -> list[str]:
    """Bring ``found`` up to date, from the split folder down.

    Args:
        folder: The split folder.
        found: What is known. It is changed in place.
        targets: What links lead into, the same for all looks at the split folder.
        what: What is being done, for the progress bar.
        look_at: Lists a folder, in a thread. It returns None if the folder is missing, and passes
            its second argument on to ``readdir.list_folder``.
        take: Turns a listing into what to remember of the folder, in the main thread.
        trust_timestamps: Whether a folder with the same timestamps holds the same names; otherwise
            its names are compared.
        threads: How many folders may be listed at once, if it takes long enough to list one.
        links_are_classes: Whether links in the split folder can be class folders. Then each link is
            checked, because its target can change while the split folder stays the same.
        watch_links: Whether the next look must notice when the target of a link changes.
        left_out: The names of the folders in the split folder to leave out.
        tops: The paths below ``folder`` where to start, if the split is in several folders.

    Returns:
        The folders that were listed, and those that no longer exist.
    """
    changed: list[str] = []
    reached: set[str] = set()
    level = [*tops]
    if "" in found and links_are_classes:
        known = [
            name for name in found[""].below if name not in found or was_folder(found[name].state)
        ]
        if sorted(known) != sorted(set(class_folders(folder)).difference(left_out)):
            del found[""]
    targets.renew()

    def state_of(name: str) -> State:
        noted = found[name].state if name in found else None
        return state_as_noted(path_below(folder, name), noted, trust_timestamps, targets.state_of)

    def list_one(name: str) -> Listing | None:
        watched = watch_links and (name or not links_are_classes)
        times = trust_timestamps and has_times(states[name])
        return look_at(name, targets.settled if watched and times else None)

    while level:
        states = dict(zip(level, in_threads(state_of, level, threads), strict=True))
        stale = [name for name in level if name not in found or found[name].state != states[name]]
        if trust_timestamps:
            wait_for_a_tick([*(states[name] for name in stale), *targets.states()] if stale else [])
        visited = zip(stale, in_threads(list_one, stale, threads), strict=True)
        for name, listed in progress(visited, len(stale), what):
            if listed:
                found[name] = take(name, listed, _with_targets(states[name], listed.watched))
            elif _may_come(folder / name):
                found[name] = Folder(None, [], np.empty(0, "<u4"), 0)
            else:  # it vanished after its parent was listed: list the parent again
                found.pop(name, None)
                found.pop(name.rpartition("/")[0], None)
        changed += stale
        reached.update(level)
        level = [path for name in level if name in found for path in found[name].below]
    gone = found.keys() - reached
    for name in gone:
        del found[name]
    return changed + sorted(gone)


def _may_come(path: Path) -> bool:
    """Return whether a path is a link that may lead to a folder later, see ``readdir.Listing``."""
    return not is_image(path.name) and path.is_symlink() and not path.exists()


class Targets:
    """The states of the folders that links lead into. Each is read once per look."""

    def __init__(self) -> None:
        self.read: dict[str, tuple[State, int]] = {}

    def renew(self) -> None:
        """Read the states of all folders again that links were found to lead into so far.

        So they are settled when links are followed, whichever folder is listed this time.
        """
        known, self.read = list(self.read), {}
        for folder in known:
            self.state_of(folder)

    def states(self) -> list[State]:
        """Return the states that were read."""
        return [state for state, _ in self.read.values()]

    def state_of(self, folder: str) -> State:
        """Return the state of a folder."""
        if folder not in self.read:
            state = folder_state(folder)
            self.read.setdefault(folder, (state, time.monotonic_ns()))
        return self.read[folder][0]

    def settled(self, folder: str) -> State:
        """Return the state of a folder if it was read at least one tick ago, otherwise ``UNREAD``.

        In the first case, links into the folder can be followed now. In the second case, the next
        look lists the folder with the links again.
        """
        state = self.state_of(folder)
        age = time.monotonic_ns() - self.read[folder][1]
        return state if age >= tick_after([state]) else UNREAD


def _with_targets(state: State, watched: dict[str, State]) -> State:
    """Return the state to note for a folder whose links lead into the ``watched`` folders."""
    if state is None or not has_times(state):
        return state
    if len(watched) > WATCHED:
        return TOO_MANY
    return state._replace(watched=watched)


def path_below(folder: Path, name: str) -> str:
    """Return the path of a folder in a split folder, many times faster than with ``Path``."""
    return f"{folder}/{name}" if name else str(folder)


def visit(
    folder: Path,
    split: str,
    name: str,
    watch: Watch | None = None,
    class_id: str | None = None,
    holds_classes: bool = False,
    name_images: bool = False,
) -> Listing | None:
    """List a folder below a split folder; return None if it is missing.

    Args:
        folder: The split folder.
        split: See ``readdir.list_folder``.
        name: The path below ``folder``.
        watch, class_id: See ``readdir.list_folder``.
        holds_classes: Whether the folder contains class folders. Then a link that leads to
            itself is refused, too.
        name_images: See ``readdir.list_folder``.

    Raises:
        MetadataError: The folder cannot be listed, or a link in it leads to a folder above.
    """
    try:
        listed = list_folder(path_below(folder, name), split, class_id, watch, name_images)
        _refuse_loops(folder, name, listed, holds_classes)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return listed


def wait_for_a_tick(states: Iterable[State]) -> None:
    """Wait until any further edit must leave different timestamps from those just read.

    The wait starts when the timestamps were read. It does not depend on their values, because the
    clock of a file server may be wrong.
    """
    if tick := tick_after(states):
        time.sleep(tick / 1e9)


def tick_after(states: Iterable[State]) -> int:
    """Return the ns after which any edit leaves different timestamps from those in some states."""
    some = list(states)
    targets = [target for state in some if state for target in state.watched.values()]
    ctimes = [state.ctime for state in some + targets if state and has_times(state)]
    if not ctimes:
        return 0
    return COARSE_TICK if any(ctime % 10**9 == 0 for ctime in ctimes) else TICK


def _refuse_loops(folder: Path, name: str, listed: Listing, holds_classes: bool) -> None:
    """Refuse link loops, on which torchvision fails or never ends."""
    if not (listed.links or holds_classes):
        return
    parts = name.split("/") if name else []
    above = [folder.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    paths = [folder / name / link for link in listed.links]
    loops = [
        path
        for path in paths
        if path.exists() and any(os.path.samefile(path, parent) for parent in above)
    ]
    if holds_classes:  # in a class folder, a link to itself is ignored like any other file
        names = [*listed.files, *listed.special]
        loops += [path for path in (folder / file for file in names) if _is_loop(path)]
    if loops:
        raise MetadataError(f"{loops[0]} is a symbolic link loop. Remove it.")


def _is_loop(path: Path) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False
