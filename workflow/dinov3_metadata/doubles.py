"""Doubles: find equal and nearly equal images in the tables of audits. No image is opened.

Two images are equal if their files have the same sha256, and near if their perceptual hashes differ
in at most ``MOST`` of 64 bits; ``stages.duplicates`` says why so many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .artefacts import Numbering
from .errors import DamagedError, MetadataError
from .files import open_array
from .formats import AUDIT_ROW, read_audit_summary
from .image_paths import Places, name_image
from .near import distance, groups, nearest, run_starts
from .paths import StrPath, path_of

ROW = np.dtype(AUDIT_ROW)
MOST = 4  # bits in which the perceptual hashes of near images differ
LISTED = 100  # images of a group that duplicates.json names; all are counted


@dataclass
class Images:
    """The images of a split that are compared, in the order of its entries.

    Attributes:
        split, root: The split, and the folder that DINOv3 uses as root.
        is_view: Whether that is a view.
        rows: (images,) of ``ROW``: the table of the audit.
        places: The paths of all of them.
        at: (compared,) ``<i8``: the positions in ``rows`` of the images whose sha256 is known.
        phash: (compared,) ``<u8``: their perceptual hashes; 0 for those not to be compared.
        file: (compared,) ``<i8``: the same number for all images, of any split, with one content.
    """

    split: str
    root: str
    is_view: bool
    rows: np.ndarray
    places: Places
    at: np.ndarray
    phash: np.ndarray
    file: np.ndarray

    def describe(self, one: int) -> dict[str, str]:
        """Describe an image for ``duplicates.json``; in a view, with the file behind the link."""
        return name_image(self.root, self.places[self.at[one]], self.is_view)


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


def open_table(
    extra: StrPath,
    split: str,
    *,
    root: str,
    scan: StrPath,
    selected: StrPath = "",
    numbering: StrPath = "",
    table: StrPath = "",
) -> tuple[np.ndarray, Places] | None:
    """Map the table of a split's audit, and return it with the paths of the images; None if it is
    missing, damaged, or not the table of the current state. For the files see
    ``audit.audit_images``."""
    summary = read_audit_summary(extra, split)
    try:
        rows = open_array(path_of(extra, "audit_table", split=split))
        places = Places.load(split, scan, selected, table)
        images = places.scan
        numbers = Numbering.load(numbering, images)
        index = np.array(numbers.of(images.class_ids.tolist()), "<u4")
        if (
            summary
            and summary.root == root
            and (rows.dtype, rows.shape) == (ROW, images.actual_index.shape)
            and np.array_equal(rows["actual_index"], images.actual_index)
            and np.array_equal(rows["class_index"], index[images.class_index()])
        ):
            return rows, places
    except DamagedError:
        raise  # so that the scan or the numbering is made again
    except MetadataError:
        pass
    return None


def number_files(
    tables: dict[str, tuple[np.ndarray, Places]], root: str, is_view: bool
) -> list[Images]:
    """Return the images of the splits to compare: those that Pillow could open and that have a
    sha256."""
    digests, found = [], []
    for split, (rows, places) in tables.items():
        words = np.ascontiguousarray(rows["sha256"]).view("<u8").reshape(-1, 4)
        at = np.flatnonzero((rows["width"] > 0) & words.any(axis=1))
        digests.append(words[at])
        phash = rows["phash"][at]
        found.append(Images(split, root, is_view, rows, places, at, phash, np.empty(0, int)))
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


def exact_groups(images: Images) -> Groups:
    """Return the groups of images with the same content."""
    members, starts = _runs(images.file)
    return Groups(images, members, starts, np.zeros(len(starts), "u1"), exact=True)


def near_groups(images: Images) -> Groups:
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


def leaks_of(one: Images, other: Images) -> Pairs:
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
