"""Duplicates: find the images that a split has twice, and those that are in two splits.

Only the tables of the audits are read, and no image is opened. Two images are the same if their
files have the same sha256, and near if their perceptual hashes differ in at most ``MOST`` of 64
bits.

Why 4: of 3,000 drawn scenes, of which 9 % are too flat to have a perceptual hash, it found 97 % of
the copies of half the size, 97 % of those with JPEG quality 40, 99 % of those in grey, and 43 % of
those that lost 5 % at the edges; 93 % of the pairs that it found were copies. 6 would find 99, 99,
100 and 65 %, of which 89 % were copies, and by chance alone some 20 pairs of different images among
a million, where 4 finds none. No number of bits tells a small crop from another frame of the scene
(26 % found by 4, 46 % by 6), or plain backgrounds with different small objects from each other. So
look at a pair before you remove an image.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import chain, combinations, islice
from typing import Any

import numpy as np

from ..addresses import SPLITS, image_path
from ..artefacts import Numbering, Scan
from ..disk import remove_file, remove_folders
from ..documents import Count, write_lists
from ..errors import DamagedError, MetadataError, count, listing, logger
from ..files import open_array, write_atomically
from ..formats import (
    AUDIT_ROW,
    Doubles,
    DuplicatesSummary,
    Leaks,
    name_image,
    read_audit_summary,
    read_description,
)
from ..near import distance, groups, nearest, run_starts
from ..paths import StrPath, file_name, folder_of, path_of
from ..replace import Writer, replaced_files

ROW = np.dtype(AUDIT_ROW)
MOST = 4  # bits in which the perceptual hashes of near images differ
LISTED = 100  # images of a group that duplicates.json names; all are counted
DESCRIBED = 256  # approximate bytes per image there


@dataclass
class Images:
    """The images of a split that are compared, in the order of its entries.

    Attributes:
        split, root: The split, and the folder that DINOv3 uses as root.
        is_view: Whether that is a view.
        rows: (images,) of ``ROW``: the table of the audit.
        class_ids: The class ids in the order of class_index.
        at: (compared,) ``<i8``: the positions in ``rows`` of the images whose sha256 is known.
        phash: (compared,) ``<u8``: their perceptual hashes; 0 for those not to be compared.
        file: (compared,) ``<i8``: the same number for all images, of any split, with one content.
    """

    split: str
    root: str
    is_view: bool
    rows: np.ndarray
    class_ids: list[str]
    at: np.ndarray
    phash: np.ndarray
    file: np.ndarray

    def describe(self, one: int) -> dict[str, str]:
        """Describe an image for ``duplicates.json``; in a view, with the file behind the link."""
        row = self.rows[self.at[one]]
        path = image_path(self.split, self.class_ids[row["class_index"]], int(row["actual_index"]))
        return name_image(self.root, path, self.is_view)


@dataclass
class Groups:
    """Groups of images of one split.

    Attributes:
        images: The images of the split.
        members: (members,) ``<i8``: the images of all groups, one group after another. These are
            positions in ``images.at``.
        starts: (groups,) ``<i8``: where each group begins in ``members``.
        distances: (groups,) ``u1``: the largest distance of an image to the first of its group.
        exact: Whether the images of a group have the same content.
    """

    images: Images
    members: np.ndarray
    starts: np.ndarray
    distances: np.ndarray
    exact: bool

    @property
    def sizes(self) -> np.ndarray:
        """(groups,) ``<i8``: the number of images in each group."""
        return np.diff(self.starts, append=len(self.members))

    def described(self) -> Iterator[dict[str, Any]]:
        """Yield each group as ``duplicates.json`` describes it."""
        for start, size, bits in zip(self.starts, self.sizes, self.distances, strict=True):
            shown = self.members[start : start + min(size, LISTED)]
            yield {
                "split": self.images.split,
                "distance": int(bits),
                "exact": self.exact,
                "count": int(size),
                "images": [self.images.describe(one) for one in shown.tolist()],
            }


@dataclass
class Pairs:
    """Images of one split that are in another split, too.

    Attributes:
        one, other: The images of the two splits.
        ones, others: (pairs,) ``<i8``: an image of ``other`` and the nearest one of ``one``, as
            positions in their ``at``.
        same: (pairs,) ``bool``: whether they have the same content.
        distances: (pairs,) ``u1``: the distance of the two.
    """

    one: Images
    other: Images
    ones: np.ndarray
    others: np.ndarray
    same: np.ndarray
    distances: np.ndarray

    def described(self) -> Iterator[dict[str, Any]]:
        """Yield each pair as ``duplicates.json`` describes it."""
        places = (self.ones.tolist(), self.others.tolist())
        for one, other, same, bits in zip(*places, self.same, self.distances, strict=True):
            yield {
                "distance": int(bits),
                "exact": bool(same),
                "images": [
                    {"split": images.split, **images.describe(place)}
                    for images, place in ((self.one, one), (self.other, other))
                ],
            }


def find_duplicates(
    *,
    compared: StrPath,
    search: str,
    extra: StrPath,
    root: str,
    states: dict[str, dict[str, str]],
    files: dict[str, dict[str, str]],
    splits: Collection[str],
    is_view: bool,
    audit: str,
    standing: str,
    fail_on: Collection[str],
    keep: float = 14,
) -> None:
    """Write ``duplicates.json`` from the tables of the audits.

    Args:
        compared: Where to record that there is nothing that ``fail_on`` names.
        search: The name of this search; if an audit was requested explicitly, with its time.
        extra: The folder with the tables.
        root: The folder that DINOv3 uses as root.
        states: Split -> its current state, for the splits to compare.
        files: Split -> the paths of its ``scan`` and, if its classes are numbered by others, of its
            ``numbering``.
        splits: The splits whose tables must be those of their current states. Each other one is
            left out if its table is another.
        is_view: Whether root is a view.
        audit: The name of the audit with the current settings.
        standing: The name of the search that was not requested explicitly. Its record is kept,
            unless there is something that ``fail_on`` names.
        fail_on: Which of ``formats.GROUPS`` there may not be.
        keep: How many days replaced files are kept for readers on other hosts.

    Raises:
        DamagedError: The table of a split is missing, or is not that of its current state.
        MetadataError: There is what ``fail_on`` names. The file has been written anyway.
    """
    audits = (audit, audit + search[len(standing) :])
    tables = {}
    for split, state in states.items():
        if table := _open_table(extra, split, root=root, **files[split]):
            tables[split] = table
        elif split in splits:
            path = path_of(extra, "audit_table", split=split)
            audited = path_of(extra, "audited", audit=audits[1], **state)
            raise DamagedError(audited, f"does not match {path}")
    left_out = [
        split
        for split in SPLITS
        if split not in tables
        and (read_audit_summary(extra, split) or read_description(extra, split))
    ]
    found = _number_files(tables, root, is_view)
    exact = [_exact(images) for images in found]
    near = [_near(images) for images in found]
    leaks = [_leaks(one, other) for one, other in combinations(found, 2)]
    summary = DuplicatesSummary(
        root=root,
        audited=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        images=Count(sum(len(images.at) for images in found)),
        threshold=Count(MOST),
        left_out=left_out,
        splits={
            same.images.split: Doubles(
                images=Count(len(same.images.at)),
                exact_groups=Count(len(same.starts)),
                exact_images=Count(len(same.members)),
                near_groups=Count(len(alike.starts)),
                near_images=Count(len(alike.members)),
            )
            for same, alike in zip(exact, near, strict=True)
        },
        pairs={
            f"{pairs.one.split}-{pairs.other.split}": Leaks(
                exact=Count(int(pairs.same.sum())), near=Count(int((~pairs.same).sum()))
            )
            for pairs in leaks
        },
    )
    text = json.dumps(asdict(summary), indent=1).encode()
    kinds: dict[str, list[Any]] = {"exact": exact, "near": near, "leaks": leaks}
    lists = {
        name: chain.from_iterable(one.described() for one in several)
        for name, several in kinds.items()
    }
    listed = sum(2 * len(pairs.ones) for pairs in leaks)
    listed += sum(int(one.sizes.clip(max=LISTED).sum()) for one in (*exact, *near))
    refused = [*_refused(fail_on, exact, near, leaks)]
    if left_out and "leak" in fail_on and not refused:
        raise MetadataError(
            f"{' and '.join(left_out)} cannot be compared, as `audit: fail_on` lists `leak`: no "
            "audit has seen what is there now. Add it to `splits`, or remove `leak` from "
            "`fail_on`."
        )
    writers: dict[str, Writer] = {file_name("duplicates"): partial(write_lists, text, lists)}
    with replaced_files(extra, writers, DESCRIBED * (listed + 16), keep):
        if not refused:
            with write_atomically(compared) as file:
                file.write(text)
    remove_folders(
        folder_of(extra, "compared", "search"), {search} if refused else {search, standing}
    )
    logger.info("%s compared", count(summary.images, "image"))
    if refused:
        # Another run audits these splits again, because an image may be repaired in place.
        for split in splits:
            for name in audits:
                remove_file(path_of(extra, "audited", audit=name, **states[split]))
        raise MetadataError(
            *refused,
            f"{extra}/{file_name('duplicates')} lists them. Keep one image of each group or "
            "pair, and run the same command again.",
        )


def _open_table(
    extra: StrPath, split: str, *, root: str, scan: StrPath, numbering: StrPath = ""
) -> tuple[np.ndarray, list[str]] | None:
    """Map the table of a split, and return it with the class ids; None if it is missing, damaged,
    or not the table of the current state."""
    summary = read_audit_summary(extra, split)
    try:
        rows = open_array(path_of(extra, "audit_table", split=split))
        images = Scan.load(scan)
        numbers = Numbering.load(numbering, images)
        index = np.array(numbers.of(images.class_ids.tolist()), "<u4")
        if (
            summary
            and summary.root == root
            and (rows.dtype, rows.shape) == (ROW, images.actual_index.shape)
            and np.array_equal(rows["actual_index"], images.actual_index)
            and np.array_equal(rows["class_index"], index[images.class_index()])
        ):
            return rows, numbers.ids
    except DamagedError:
        raise  # so that the scan or the numbering is made again
    except MetadataError:
        pass
    return None


def _number_files(
    tables: dict[str, tuple[np.ndarray, list[str]]], root: str, is_view: bool
) -> list[Images]:
    """Return the images of the splits to compare: those that Pillow could open and that have a
    sha256."""
    digests, found = [], []
    for split, (rows, class_ids) in tables.items():
        words = np.ascontiguousarray(rows["sha256"]).view("<u8").reshape(-1, 4)
        at = np.flatnonzero((rows["width"] > 0) & words.any(axis=1))
        digests.append(words[at])
        phash = rows["phash"][at]
        found.append(Images(split, root, is_view, rows, class_ids, at, phash, np.empty(0, int)))
    words = np.concatenate([np.empty((0, 4), "<u8"), *digests])
    del digests
    order = np.lexsort(words.T)
    new = np.zeros(len(order), bool)
    for word in words.T:
        new[run_starts(word[order])] = True
    number = np.empty(len(order), int)
    number[order] = np.cumsum(new)
    start = 0
    for images in found:
        images.file = number[start : start + len(images.at)]
        start += len(images.at)
    return found


def _runs(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find what occurs several times.

    Returns:
        The positions of these in ``names``, those of one name after another, in the order in which
        the names first occur; and where each name begins in them.
    """
    order = np.argsort(names, kind="stable")
    starts = run_starts(names[order])
    sizes = np.diff(starts, append=len(order))
    first = np.repeat(order[starts], sizes)  # the first one with the same name
    several = np.repeat(sizes > 1, sizes)
    members = order[several][np.argsort(first[several], kind="stable")]
    return members, run_starts(names[members])


def _exact(images: Images) -> Groups:
    """Return the groups of images with the same content."""
    members, starts = _runs(images.file)
    return Groups(images, members, starts, np.zeros(len(starts), "u1"), exact=True)


def _near(images: Images) -> Groups:
    """Return the groups of images that are near. Of those with the same content, only the first is
    in a group."""
    _, first = np.unique(images.file, return_index=True)
    first = np.sort(first[images.phash[first] != 0])
    hashes, which = np.unique(images.phash[first], return_inverse=True)
    members, starts = _runs(groups(hashes, MOST)[which])
    members = first[members]
    if not len(starts):
        return Groups(images, members, starts, np.empty(0, "u1"), exact=False)
    firsts = np.repeat(members[starts], np.diff(starts, append=len(members)))
    bits = distance(images.phash[members], images.phash[firsts])
    return Groups(images, members, starts, np.maximum.reduceat(bits, starts), exact=False)


def _leaks(one: Images, other: Images) -> Pairs:
    """Return each image of a split that is in another one, too, with the nearest image there."""
    files, first = np.unique(one.file, return_index=True)
    at = np.searchsorted(files, other.file)
    same = at < len(files)
    same[same] = files[at[same]] == other.file[same]
    partner = np.full(len(other.at), -1)
    partner[same] = first[at[same]]
    left = np.flatnonzero(~same & (other.phash != 0))
    hashes, which = np.unique(other.phash[left], return_inverse=True)
    hashed = np.flatnonzero(one.phash != 0)
    known, first = np.unique(one.phash[hashed], return_index=True)
    found, _ = nearest(hashes, known, MOST)
    at = found[which]
    partner[left[at >= 0]] = hashed[first[at[at >= 0]]]
    others = np.flatnonzero(partner >= 0)
    ones = partner[others]
    bits = distance(one.phash[ones], other.phash[others])
    bits[same[others]] = 0
    return Pairs(one, other, ones, others, same[others], bits)


def _refused(
    fail_on: Collection[str], exact: list[Groups], near: list[Groups], leaks: list[Pairs]
) -> Iterator[str | list[str]]:
    """Yield the lines of a message about what ``fail_on`` names."""
    several = sum(len(one.starts) for one in (*exact, *near))
    if "duplicate" in fail_on and several:
        yield (
            f"{count(several, 'group')} of images that are equal or nearly equal within a split "
            "(`audit: fail_on` lists `duplicate`):"
        )
        yield _listing((*exact, *near), several)
    several = sum(len(pairs.ones) for pairs in leaks)
    if "leak" in fail_on and several:
        yield (
            f"{count(several, 'image that is', 'images that are')} equal or nearly equal to one of "
            "another split (`audit: fail_on` lists `leak`):"
        )
        yield _listing(leaks, several)


def _listing(several: Collection[Groups | Pairs], total: int) -> list[str]:
    """Return lines that name the first two images of each group or pair."""
    lines = chain.from_iterable(one.described() for one in several)
    shown = (
        " and ".join(image.get("file", image["image"]) for image in islice(line["images"], 2))
        + (f" and {line['count'] - 2:,} more" if line.get("count", 2) > 2 else "")
        + ("" if line["exact"] else f" (distance {line['distance']})")
        for line in lines
    )
    return listing(shown, total)
