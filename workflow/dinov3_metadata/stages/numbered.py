"""Numbered: the images of a split with their paths and numbers, as a run before left them.

A number is kept from when it is published. What a run noted that published nothing saves the next
one from listing folders, but gives no number away: otherwise the numbers would depend on how often
a run failed.
"""

import os
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from ..artefacts import Scan
from ..errors import MetadataError
from ..fingerprint import Record, read_record
from ..image_paths import ImagePaths, read_published, read_view
from ..paths import StrPath, existing, path_of


class Rows(NamedTuple):
    """Images of a class.

    Attributes:
        paths: (images,), ``S``: their paths below the dataset.
        numbers: (images,), ``<i8``.
        special: (images,), ``bool``: whether each is in the dataset, but cannot be opened.
    """

    paths: np.ndarray
    numbers: np.ndarray
    special: np.ndarray


class Piece(NamedTuple):
    """A class.

    Attributes:
        text: (bytes,), ``u1``: the paths of its images in the order of the scan.
        sizes: (images,), ``<i8``: the bytes of each path.
        numbers: (images,), ``<u4``.
        others: What cannot be opened, with its numbers.
    """

    text: np.ndarray
    sizes: np.ndarray
    numbers: np.ndarray
    others: Rows


NONE = Rows(np.empty(0, "S1"), np.empty(0, "<i8"), np.empty(0, bool))


class Numbered:
    """The images of a split with their paths and numbers.

    Attributes:
        scan, paths: The images and their paths.
        tree: The name of their scan, if they are from a table in the work folder.
        places: Class -> the positions at which its images start and stop.
    """

    def __init__(self, scan: Scan, paths: ImagePaths, tree: str = "") -> None:
        self.scan, self.paths, self.tree = scan, paths, tree
        ends = np.cumsum(scan.counts)
        spans = zip((ends - scan.counts).tolist(), ends.tolist(), strict=True)
        self.places = dict(zip(scan.class_ids.tolist(), spans, strict=True))
        self._others: dict[str, list[int]] = {}
        for i, class_id in enumerate(paths.class_ids.tolist()):
            self._others.setdefault(class_id, []).append(len(scan.actual_index) + i)

    def rows(self, class_id: str) -> Rows:
        """Return the images of a class; nothing if there is no such class."""
        start, stop = self.places.get(class_id, (0, 0))
        numbers = self.scan.actual_index[start:stop].astype("<i8")
        return Rows(self.paths.rows(start, stop), numbers, np.zeros(stop - start, bool))

    def by_path(self, dataset: str) -> dict[str, dict[str, int]]:
        """Return class -> path of each image in the dataset -> number."""
        return {
            class_id: {
                f"{dataset}/{self.paths.path(i)}": int(self.scan.actual_index[i])
                for i in range(*place)
            }
            for class_id, place in self.places.items()
        }

    def piece(self, class_id: str) -> Piece:
        """Return a class as it is, without a copy."""
        (start, stop), paths = self.places[class_id], self.paths
        first, last = (int(paths.ends[at - 1]) if at else 0 for at in (start, stop))
        sizes = np.diff(paths.ends[start:stop], prepend=first)
        others = NONE
        if at := self._others.get(class_id):
            texts = paths.rows(at[0], at[-1] + 1)  # those of a class follow one another
            numbers = paths.numbers[np.array(at) - len(self.scan.actual_index)].astype("<i8")
            others = Rows(texts, numbers, np.ones(len(at), bool))
        return Piece(paths.text[first:last], sizes, self.scan.actual_index[start:stop], others)


def published_images(extra: StrPath, split: str, published: str) -> Numbered | None:
    """Return the images of a split that were published last, by a view or by a table; None if
    nothing was published, or if it cannot be read.

    They keep their numbers. A number that was given by a run that published nothing is not kept.

    Args:
        extra, split: The folder for the metadata, and the split.
        published: The name of the scan that was published last; may be empty.
    """
    if found := read_view(extra, split, published):
        return Numbered(*found)
    trees = [tree for _, tree in _tables(extra, split)]
    if published in trees and (table := _load(extra, split, published)):
        return table
    if found := read_published(extra, split):
        return Numbered(*found)
    if not os.path.exists(path_of(extra, "last_scan", split=split)):
        return None
    return next(filter(None, (_load(extra, split, tree) for tree in trees)), None)


def last_table(
    extra: StrPath, split: str, settings: str, published: Numbered | None
) -> tuple[Numbered, Record] | None:
    """Return the last table of a split that was made with some settings, and the states of its
    folders; None if there is none in which the published images have their numbers."""
    since = 0
    with suppress(FileNotFoundError):
        since = os.stat(path_of(extra, "metadata", split=split)).st_mtime_ns
    for time, tree in _tables(extra, split):
        known = published if published and published.tree == tree else None
        record = read_record(path_of(extra, "folders", split=split, tree=tree))
        fits = (known or time > since) and record and record.settings == settings
        if record and fits and (table := known or _load(extra, split, tree)):
            return table, record
    return None


def _load(extra: StrPath, split: str, tree: str) -> Numbered | None:
    """Read a table of the work folder; None if it is damaged."""
    with suppress(MetadataError):
        scan = Scan.load(path_of(extra, "scan", split=split, tree=tree))
        paths = ImagePaths.load(path_of(extra, "table", split=split, tree=tree), scan)
        return Numbered(scan, paths, tree)
    return None


def _tables(extra: StrPath, split: str) -> list[tuple[int, str]]:
    """Return the time and the name of each table in the work folder, the newest first."""
    found = existing(extra, "table", split=split)
    return sorted([(os.stat(path).st_mtime_ns, state["tree"]) for path, state in found])[::-1]
