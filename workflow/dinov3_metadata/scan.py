"""Scan: which classes and images a split folder holds, in ImageFolder's order.

Only folders that changed since the previous scan are listed. A folder's timestamps tell, so they
must be read with care: an edit right after a listing can leave the very timestamps that were read
before it, if the clock of the file system has not ticked in between. Therefore a folder that
changed of late is listed only a tick after its timestamps were read, and a scan is through only
when a last look finds every folder as it was read.

No timestamp of a folder changes when the target of a link in it becomes something else. Therefore
the folders that hold the targets are watched: their timestamps belong to the state of the folder
with the links, and are read a tick before the links are followed, too.
"""

import errno
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.lib import format as npy

from .disk import open_regular, remove_folders
from .errors import SHOWN, MetadataError, count, listing, logger
from .files import reading, write_atomically
from .fingerprint import (
    UNREAD,
    State,
    class_folders,
    folder_state,
    is_digest,
    last_records,
    read_retired,
    state_as_noted,
    watched_by,
    write_record,
)
from .folder import (
    FILE,
    WATCHED,
    Listing,
    Watch,
    image_keys,
    is_image,
    list_folder,
    numbers,
    pack,
    special_kind,
)
from .layout import LABELLED, MAX_INDEX, WORK, StrPath, image_name, split_folder
from .log import progress

UNCHANGED = "  all of them in folders that have not changed since the last scan"

LOOKS = 10  # at a split folder that will not hold still
TICK = 20_000_000  # ns; the clock of Linux' file systems ticks every 1 to 10 ms
COARSE_TICK = 2_100_000_000  # ns; some file systems keep whole seconds, FAT even ones
PROBES = 4  # folders that show how long one takes
PAYS = 150_000  # ns for a folder that make a thread more worth while
SHARE = 8  # folders that a thread takes at a time
CHANGES_SHOWN = 20  # changed classes named in the log


@dataclass(frozen=True)
class Scan:
    """The images of a split, class after class in the order of ``ImageFolder``.

    Attributes:
        class_ids: (classes,), ``<U``: the sorted folder names. For TEST one empty string.
        counts: (classes,), ``<i8``: images of each class, all above 0.
        actual_index: (images,), ``<u4``: the number in each image's file name.
        folders: (folders,), ``<U``: every folder that was visited, by its path below the split
            folder, which is the empty string.
        skipped: (folders,), ``<i8``: images in each folder that were passed over because DINOv3
            could not address them.
    """

    class_ids: np.ndarray
    counts: np.ndarray
    actual_index: np.ndarray
    folders: np.ndarray
    skipped: np.ndarray

    def save(self, path: StrPath) -> None:
        """Write the scan to ``path``, an uncompressed ``.npz``."""
        with write_atomically(path) as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: StrPath) -> "Scan":
        """Read what ``save`` wrote.

        Raises:
            MetadataError: The file is not a whole scan; it is removed.
        """
        with reading(path), open_regular(path) as file:
            _check_members(file)
            with np.load(file, allow_pickle=False) as arrays:
                scan = cls(**arrays)
            images = len(scan.actual_index)
            kinds = [f"{array.dtype.kind}{array.ndim}" for array in vars(scan).values()]
            if not (
                kinds == ["U1", "i1", "u1", "U1", "i1"]
                and scan.actual_index.itemsize == 4
                and len(scan.class_ids) == len(scan.counts)
                and len(scan.folders) == len(scan.skipped)
                and 0 <= scan.counts.min() <= scan.counts.max() <= images
                and scan.counts.sum() == images
            ):
                raise ValueError("its arrays do not fit each other")
            return scan

    def class_index(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(images,), ``<u4``: the position in ``class_ids`` of the classes of some images."""
        ends = np.cumsum(self.counts).clip(start, stop)
        counts = np.diff(ends, prepend=start)
        return np.repeat(np.arange(len(counts), dtype="<u4"), counts)


def _check_members(file: BinaryIO) -> None:
    """Check that an ``.npz`` needs no more memory than it has bytes.

    Raises:
        ValueError: It has compressed arrays, or others than it has bytes for.
    """
    left = os.fstat(file.fileno()).st_size
    with ZipFile(file) as members:
        for one in members.infolist():
            left -= one.file_size
            if one.compress_type != ZIP_STORED or left < 0:
                raise ValueError("an array in it is compressed, or larger than the file")
            with members.open(one) as member:
                npy.read_magic(member)
                shape, _, dtype = npy.read_array_header_1_0(member)
            if math.prod(shape) * dtype.itemsize > one.file_size:
                raise ValueError("an array in it is cut off")
    file.seek(0)


@dataclass
class Folder:
    """What was found in one folder.

    Attributes:
        state: Of the folder and of those that its links lead into, read before it was listed.
        below: The paths of the folders in it.
        actual_index: (images,), ``<u4``: the numbers of its addressable images.
        images: How many images were found, addressable or not.
        offenders: The first of the others, with the reason.
    """

    state: State
    below: list[str]
    actual_index: np.ndarray
    images: int
    offenders: list[str] = field(default_factory=list)

    @property
    def skipped(self) -> int:
        """How many images are not addressable."""
        return self.images - len(self.actual_index)


Found = dict[str, Folder]
"""Path below the split folder -> what was found there; the split folder itself is ``""``."""


def scan_split(
    root: StrPath,
    split: str,
    *,
    engine: str = "scandir",
    unaddressable: str = "refuse",
    trust_timestamps: bool = True,
    previous: Found | None = None,
    threads: int = 4,
    made_now: bool = False,
    watch_links: bool = True,
    retired: Collection[str] = (),
) -> tuple[Scan, dict[str, State]]:
    """Scan a split folder.

    Classes, images and their order are those of ``torchvision.datasets.ImageFolder``; TEST is flat
    and in ascending order of ``actual_index``.

    Args:
        root: The dataset's folder.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        engine: ``scandir`` lists the folders with our own code, ``torchvision`` lets ImageFolder
            do it, many times slower. The result is the same. TEST is always listed by us.
        unaddressable: ``refuse`` raises for images that DINOv3 could not open by the path it
            rebuilds; ``skip`` passes them over and counts them.
        trust_timestamps: Whether a folder whose timestamps are the same is the same; otherwise
            its names are compared.
        previous: What an earlier scan of the same folder found; see ``last_scan``.
        threads: How many folders may be listed at once, if it takes long enough to list one.
        made_now: Whether the folders are those of a view, whose times may well be those of now.
        watch_links: Whether the next scan must notice when the target of an image that is a link
            changes. Not needed for a view whose images were linked one by one: making the view
            notices it, and replaces the link.
        retired: The links and the folders of classes to leave out, by their path below the split
            folder: those of a view that are to be removed after the next publication.

    Returns:
        The scan, and the state of every folder that was visited, all at one moment of the scan.

    Raises:
        MetadataError: The split folder is missing, empty or not of the layout that is due, a class
            has no images, images are not addressable, or folders keep changing.
    """
    folder = Path(root, split_folder(split))
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise MetadataError(
            f"The {split} split folder {folder} {what}. `root` must be the folder that "
            f"holds {split_folder(split)}/; `splits` says which splits are wanted, for instance "
            "`--config splits='[TRAIN]'`."
        )
    found = dict(previous or {})
    left_out: dict[str, set[str]] = {}
    for path in retired:
        above, _, name = path.rpartition("/")
        left_out.setdefault(above, set()).add(name)
    look_at, take = partial(_visit, folder, split, left_out), partial(_take, folder, split)
    listed: set[str] = set()
    for _ in range(LOOKS):
        changed = look(
            folder,
            f"scan {split}",
            found,
            look_at,
            take,
            trust_timestamps,
            threads,
            split in LABELLED,
            watch_links,
            left_out.get("", set()),
        )
        if not changed:
            break
        if trust_timestamps and not listed and not made_now:
            all_changed = bool(previous and previous.keys() <= set(changed))
            _doubt_times(folder, found, all_changed)
        listed.update(changed)
        if engine == "torchvision" and split in LABELLED:
            _ask_image_folder(folder, split, found, left_out)
    else:
        raise MetadataError(
            f"{folder} keeps changing while it is scanned (for instance "
            f"{folder / min(changed)}). Run the same command again when all is copied. If nobody "
            "writes there, the times of its folders mean nothing: set "
            "`scan: trust_timestamps: false`."
        )
    classes = [""]
    if split in LABELLED:
        classes = sorted(name for name in found[""].below if found[name].state)
    _check(folder, split, found, classes, unaddressable)
    visited = sorted(name for name in found if found[name].state)
    indices = [found[name].actual_index for name in classes]
    if split not in LABELLED:
        indices = [np.sort(indices[0])]
    scan = Scan(
        np.array(classes),
        np.array(list(map(len, indices)), "<i8"),
        np.concatenate(indices),
        np.array(visited),
        np.array([found[name].skipped for name in visited], "<i8"),
    )
    _log_changes(previous, found, listed)
    logger.info(
        "%s: %s in %s; %d of %s listed",
        folder,
        count(len(scan.actual_index), "image"),
        count(len(classes), "class", "classes"),
        len(listed.intersection(visited)),
        count(len(visited), "folder"),
    )
    return scan, {name: found[name].state for name in sorted(found)}


def update_scan(
    root: str,
    split: str,
    out: str,
    record: str,
    settings: str,
    after: str = "",
    published: str = "",
    view: str = "",
    **options: Any,
) -> None:
    """Scan a split folder anew, but for what the last scan in the work folder still knows.

    Args:
        root, split: See ``scan_split``.
        out: Where to write the scan: in a folder of its name, beside those of other scans, which
            are removed.
        record: Where to note the states of the folders, see ``fingerprint.of_tree``.
        settings, after: For the record.
        published: The name of the scan that was published last, which stays until the next
            publication.
        view: The record of the view that is scanned, which says what is retired; empty for none.
        options: Of ``scan_split``.

    Raises:
        MetadataError: See ``scan_split``.
    """
    work = Path(out).parent
    retired = read_retired(view)
    previous = last_scan(work.parent, settings, retired)
    options |= {"previous": previous, "made_now": bool(after), "retired": retired}
    scan, folders = scan_split(root, split, **options)
    scan.save(out)
    write_record(record, settings, folders, after, sorted(retired))
    remove_folders(work.parent, {work.name, published})


def last_scan(work: StrPath, settings: str, retired: Collection[str] = ()) -> Found | None:
    """What the last scan with the same settings found, if it lies in ``work`` and can be read.

    A folder in which other links are ``retired`` now than then is to be listed again: its state
    cannot tell.
    """
    for path, folders in last_records(work, settings):
        found = found_before(path.with_name("scan.npz"), folders)
        if found is not None:
            for one in read_retired(path).symmetric_difference(retired):
                if (above := one.rpartition("/")[0]) in found:
                    found[above].state = UNREAD
            return found
    return None


def found_before(scan: StrPath, folders: dict[str, State]) -> Found | None:
    """What an earlier scan found, for ``scan_split`` to start from.

    Args:
        scan: The file of the scan.
        folders: The states that it noted.

    Returns:
        None if the file can not be read or does not fit the states: then all is listed anew.
    """
    try:
        before = Scan.load(scan)
    except MetadataError:
        return None
    visited = sorted(name for name, state in folders.items() if state)
    if visited != before.folders.tolist() or "" not in visited:
        return None
    skipped = dict(zip(before.folders.tolist(), before.skipped.tolist(), strict=True))
    indices = np.split(before.actual_index, np.cumsum(before.counts)[:-1])
    images = dict(zip(before.class_ids.tolist(), indices, strict=True))
    below = folders_below(folders)
    nothing = np.empty(0, "<u4")
    return {
        name: Folder(folders[name], below[name], index, len(index) + skipped.get(name, 0))
        for name in folders
        for index in [images.get(name, nothing)]  # TEST has its images in ""
    }


def folders_below(names: Iterable[str]) -> dict[str, list[str]]:
    """The paths of the folders right below each of some folders."""
    below: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        if name:
            below.setdefault(name.rpartition("/")[0], []).append(name)
    return below


def look(
    folder: Path,
    what: str,
    found: Found,
    look_at: Callable[[str, Watch | None], Listing | None],
    take: Callable[[str, Listing, State], Folder],
    trust_timestamps: bool,
    threads: int,
    links_are_classes: bool,
    watch_links: bool = True,
    left_out: Collection[str] = (),
) -> list[str]:
    """Bring ``found`` up to date, from the split folder down.

    Args:
        folder: The split folder.
        what: What is done, for the progress.
        found: What is known; changed in place.
        look_at: Lists a folder, in a thread; returns None if there is none. Its second argument is
            that of ``folder.list_folder``.
        take: Makes of a listing, in the main thread, what is to be known of the folder.
        trust_timestamps: See ``scan_split``.
        threads: See ``scan_split``.
        links_are_classes: Whether to ask each link in the split folder if it leads to a folder now,
            which may change without the folder's knowledge.
        watch_links: See ``scan_split``.
        left_out: The names of the folders in the split folder to leave out.

    Returns:
        The folders that were listed, and those that are gone.
    """
    changed: list[str] = []
    reached: set[str] = set()
    level = [""]
    if "" in found and links_are_classes:
        known = [name for name in found[""].below if name not in found or found[name].state]
        if sorted(known) != sorted(set(class_folders(folder)).difference(left_out)):
            del found[""]
    targets = Targets()

    def state_of(name: str) -> State:
        noted = found[name].state if name in found else None
        return state_as_noted(_path(folder, name), noted, trust_timestamps, targets.state_of)

    def list_one(name: str) -> Listing | None:
        watched = watch_links and (name or not links_are_classes)
        times = trust_timestamps and not is_digest(states[name])
        return look_at(name, targets.settled if watched and times else None)

    while level:
        states = dict(zip(level, _in_threads(state_of, level, threads), strict=True))
        stale = [name for name in level if name not in found or found[name].state != states[name]]
        if trust_timestamps:
            wait_for_a_tick([states[name] for name in stale])
        visited = zip(stale, _in_threads(list_one, stale, threads), strict=True)
        for name, listed in progress(visited, len(stale), what):
            if listed:
                found[name] = take(name, listed, _with_targets(states[name], listed.watched))
            elif _may_come(folder / name):
                found[name] = Folder(None, [], np.empty(0, "<u4"), 0)
            else:  # gone, or no folder any more, since its parent was listed: list that again
                found.pop(name, None)
                found.pop(name.rpartition("/")[0], None)
        changed += stale
        reached.update(level)
        level = [path for name in level if name in found for path in found[name].below]
    gone = found.keys() - reached
    for name in gone:
        del found[name]
    return changed + sorted(gone)


def _in_threads(
    function: Callable[[Any], Any], items: Sequence[Any], threads: int
) -> Iterator[Any]:
    """``map``, by as many threads as pay for the time that an item takes: one for small folders on
    a local disk, two for large ones, many where a file server lets one wait."""
    rest = items[PROBES:]
    took = []
    for item in items[:PROBES]:
        start = time.perf_counter_ns()
        result = function(item)
        took.append(time.perf_counter_ns() - start)
        yield result
    threads = min(threads, min(took, default=0) // PAYS)
    if threads < 2:
        yield from map(function, rest)
        return
    share = max(1, min(SHARE, len(rest) // threads))
    shares = [rest[start : start + share] for start in range(0, len(rest), share)]
    with ThreadPoolExecutor(threads) as pool:
        for results in pool.map(lambda share: list(map(function, share)), shares):
            yield from results


def _may_come(path: Path) -> bool:
    """Whether a path is a link that may lead to a folder later, see ``folder.Listing``."""
    return not is_image(path.name) and path.is_symlink() and not path.exists()


class Targets:
    """The states of the folders that links lead into, each read once in a look."""

    def __init__(self) -> None:
        self.read: dict[str, tuple[State, int]] = {}

    def state_of(self, folder: str) -> State:
        """The state of a folder."""
        if folder not in self.read:
            state = folder_state(folder)
            self.read.setdefault(folder, (state, time.monotonic_ns()))
        return self.read[folder][0]

    def settled(self, folder: str) -> State:
        """The state of a folder if it was read a tick ago, so that links into the folder may be
        followed now; if not, what makes the next look list the folder with the links again."""
        state = self.state_of(folder)
        age = time.monotonic_ns() - self.read[folder][1]
        return state if age >= tick_after([state]) else UNREAD


def _with_targets(state: State, watched: dict[str, State]) -> State:
    """The state to note of a folder whose links lead into some folders."""
    if not state or is_digest(state):
        return state
    if len(watched) > WATCHED:
        return [""]  # no digest, so that the next look makes one and lists the folder again
    return [*state[:3], watched] if watched else state[:3]


def _path(folder: Path, name: str) -> str:
    return f"{folder}/{name}" if name else str(folder)  # many times faster than a Path


def _visit(
    folder: Path, split: str, left_out: dict[str, set[str]], name: str, watch: Watch | None
) -> Listing | None:
    """List a folder, but for the names to leave out of it."""
    if split in LABELLED:
        class_id = name if name and "/" not in name else None
    else:
        class_id = None if name else ""
    listed = visit(folder, split, name, watch, class_id, not name and split in LABELLED)
    if listed and WORK in listed.subfolders:
        raise MetadataError(f"{folder / name} holds the work folder {WORK}: it can not be a class.")
    if listed and (names := left_out.get(name)):
        good, key = image_keys(pack(dict.fromkeys(names, FILE)), split, class_id)
        others = ~np.isin(listed.actual_index, numbers(key[good]))
        subfolders, links, files = (
            [one for one in some if one not in names]
            for some in (listed.subfolders, listed.links, listed.files)
        )
        return listed._replace(
            subfolders=subfolders,
            links=links,
            files=files,
            actual_index=listed.actual_index[others],
        )
    return listed


def visit(
    folder: Path,
    split: str,
    name: str,
    watch: Watch | None = None,
    class_id: str | None = None,
    due: bool = False,
) -> Listing | None:
    """List a folder below a split folder; None if there is none.

    Args:
        folder: The split folder.
        split: See ``folder.list_folder``.
        name: The path below ``folder``.
        watch, class_id: See ``folder.list_folder``.
        due: Whether a link to itself would be a class.
    """
    try:
        listed = list_folder(_path(folder, name), split, class_id, watch)
        _refuse_circles(folder, name, listed, due)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return listed


def _doubt_times(folder: Path, found: Found, all_changed: bool) -> None:
    """Warn of timestamps that can not be right: all zero, or all changed and equal to now."""
    ctimes = [one.state[1] for one in found.values() if one.state and not is_digest(one.state)]
    if not ctimes:
        return
    now = time.time_ns()
    zero = not any(ctimes)
    if zero or (all_changed and all(abs(now - ctime) < COARSE_TICK for ctime in ctimes)):
        logger.warning(
            "The times of all folders in %s are %s, so edits can not be told by them. If the file "
            "system has no real ones, set `scan: trust_timestamps: false`.",
            folder,
            "zero" if zero else "those of right now",
        )


def wait_for_a_tick(states: list[State]) -> None:
    """Wait until any further edit leaves other timestamps than those just read.

    The waiting counts from the reading, whatever the timestamps say, as the clock of a file server
    may be wrong.
    """
    if tick := tick_after(states):
        time.sleep(tick / 1e9)


def tick_after(states: Iterable[State]) -> int:
    """The ns after which any edit leaves other timestamps than those in some states."""
    targets = (one for state in states for one in watched_by(state).values())
    ctimes = [state[1] for state in (*states, *targets) if state and len(state) > 1]
    if not ctimes:
        return 0
    return COARSE_TICK if any(ctime % 10**9 == 0 for ctime in ctimes) else TICK


def _refuse_circles(folder: Path, name: str, listed: Listing, due: bool) -> None:
    """Refuse links that lead round in circles, where torchvision fails or never ends on them."""
    if not (listed.links or due):
        return
    parts = name.split("/") if name else []
    above = [folder.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    paths = [folder / name / link for link in listed.links]
    round_about = [
        path
        for path in paths
        if path.exists() and any(os.path.samefile(path, one) for one in above)
    ]
    if due:  # in a class folder, a link to itself is passed over like any file that is no image
        round_about += [path for path in (folder / file for file in listed.files) if _is_loop(path)]
    if round_about:
        raise MetadataError(f"{round_about[0]} is a link that leads round in circles. Remove it.")


def _is_loop(path: Path) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _take(folder: Path, split: str, name: str, listed: Listing, state: State) -> Folder:
    """What counts of a folder's names."""
    below = [f"{name}/{subfolder}" if name else subfolder for subfolder in listed.subfolders]
    images = sorted([*filter(is_image, listed.files), *listed.special])
    logger.debug(
        "listed %s: %d images", _path(folder, name), len(images) + len(listed.actual_index)
    )
    if split in LABELLED and not name:  # images beside the class folders belong to no class
        strays = [f"{count(len(images), 'image')} (for instance {one})" for one in images[:1]]
        return Folder(state, below, listed.actual_index, 0, strays)
    class_id, _, inside = name.partition("/") if split in LABELLED else ("", "", name)
    known = () if inside else listed.actual_index
    offenders = []
    for image in images[:SHOWN]:
        special = listed.special.get(image)
        why = f"{special}, not a file" if special else _why(image, split, class_id, known)
        offenders.append(f"{name}/{image} ({why})".lstrip("/"))
    return Folder(
        state, below, listed.actual_index, len(listed.actual_index) + len(images), offenders
    )


def _ask_image_folder(
    folder: Path, split: str, found: Found, left_out: dict[str, set[str]]
) -> None:
    """Put the images that torchvision's ImageFolder finds in the place of those that we found."""
    images: dict[str, list[str]] = {name: [] for name in found}
    if found[""].below:
        for path, _ in image_folder(folder).samples:
            below, _, name = os.path.relpath(path, folder).rpartition("/")
            if name in left_out.get(below, ()):
                continue
            images.setdefault(below, []).append(name)
    for name in found.keys() - {""}:
        class_id = None if "/" in name else name
        before, special = found[name], {}
        if before.skipped:  # ImageFolder looks at names alone
            paths = {image: f"{_path(folder, name)}/{image}" for image in images[name]}
            kinds = {image: special_kind(path) for image, path in paths.items()}
            special = {image: kind for image, kind in kinds.items() if kind}
        files = [image for image in images[name] if image not in special]
        good, key = image_keys(pack(dict.fromkeys(files, FILE)), split, class_id)
        others = [image for image, found in zip(files, good, strict=True) if not found]
        listed = Listing([], [], others, numbers(key[good]), special, {})
        found[name] = _take(folder, split, name, listed, before.state)
        found[name].below = before.below


def image_folder(folder: Path) -> Any:
    """torchvision's ``ImageFolder`` of a split folder, classes without images allowed.

    Raises:
        MetadataError: It can not read the folder.
    """
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(folder, allow_empty=True)
    except OSError as error:
        raise MetadataError(f"torchvision's ImageFolder can not read {folder}: {error}") from None


def _check(folder: Path, split: str, found: Found, classes: list[str], unaddressable: str) -> None:
    """Refuse what can not become metadata."""
    strays = found[""].offenders if split in LABELLED else []
    if strays and not classes:
        raise MetadataError(
            f"The {split} split folder {folder} is flat: {strays[0]} and no "
            "class folders. Kaggle's val/ comes like this: give the folder that holds ILSVRC/ and "
            "LOC_val_solution.csv for `root`, or sort the images into one folder per class id."
        )
    if not classes:
        raise MetadataError(f"The {split} split folder {folder} is empty: no class folders in it.")
    if strays:
        logger.warning("Passed over, as beside the class folders in %s: %s", folder, strays[0])
    if total := sum(one.skipped for one in found.values()):
        shown = islice((text for name in sorted(found) if name or split not in LABELLED
                        for text in found[name].offenders), SHOWN)  # fmt: skip
        refusal = _refusal(folder, split, list(shown), total)
        if unaddressable == "refuse":
            raise refusal
        logger.warning("%s", refusal)
    empty = [name for name in classes if not len(found[name].actual_index)]
    what = "addressable images" if total else "images"
    if empty and split not in LABELLED:
        raise MetadataError(
            f"The {split} split folder {folder} holds no {what}. Put them there, or take {split} "
            "out of `splits`."
        )
    if empty:
        raise MetadataError(
            f"{split}: {count(len(empty), 'class folder')} in {folder} without {what}:",
            listing(empty, len(empty)),
            "Fill or remove them. A hidden folder (.ipynb_checkpoints) counts as a class too.",
        )


def _log_changes(previous: Found | None, found: Found, listed: set[str]) -> None:
    """Log how many images each changed class gained and lost since the previous scan."""
    if previous is None:
        return
    nothing = np.empty(0, "<u4")
    classes = sorted({name.partition("/")[0] for name in listed if name})
    changes = []
    for name in classes or [""] * bool(listed):
        before = previous[name].actual_index if name in previous else nothing
        after = found[name].actual_index if name in found else nothing
        more, less = (len(np.setdiff1d(*pair)) for pair in ((after, before), (before, after)))
        new = "" if name in previous else "new, "
        gone = "" if name in found else "gone, "
        changes.append((name, f"{new}{gone}+{more:,} \N{MINUS SIGN}{less:,} images"))
    for name, change in changes[:CHANGES_SHOWN]:
        logger.info("%s: %s", name or "the split folder", change)
    if len(changes) > CHANGES_SHOWN:
        logger.info(
            "... and %d more; %d changed in all", len(changes) - CHANGES_SHOWN, len(changes)
        )


def _refusal(folder: Path, split: str, shown: list[str], total: int) -> MetadataError:
    pattern = f"ILSVRC2012_{split.lower()}_<8 digits>"
    if split == "TRAIN":
        pattern = "<class_id>_<number>"
    if split in LABELLED:
        pattern = f"<class_id>/{pattern}"
    return MetadataError(
        f"{split}: DINOv3 can not address {count(total, 'image')} in {folder}. "
        f"It opens only {pattern}.JPEG:",
        listing(shown, total) if shown else UNCHANGED,
        "Rename, move or remove them; or set `scan: unaddressable: skip` to leave them out, or "
        "`layout: folder` to have links with good names made for all images.",
    )


def _why(image: str, split: str, class_id: str, known: Collection[int]) -> str:
    """Why an image is not addressable. The number is found as the reference finds it."""
    stem = os.path.splitext(image)[0]
    try:
        number = int(stem.split("_")[-1])
    except ValueError:
        return "no number before the suffix"
    if number > MAX_INDEX:
        return f"its number is above {MAX_INDEX}"
    if number < 0:
        return "its number is below 0"
    rebuilt = image_name(split, class_id, number)
    where = f"{class_id}/{rebuilt}" if class_id else rebuilt
    return f"DINOv3 would open {where}" + (", another image" if number in known else "")
