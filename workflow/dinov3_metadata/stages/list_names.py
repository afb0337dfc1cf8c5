"""List names: find the images that the lines of a list name.

``Addressed`` finds the images of a dataset in DINOv3's layout, without a Python object per line.
``Named`` finds those of a view, which have the names that their owner gave them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from ..addresses import SPLITS, name_parts
from ..artefacts import Scan
from ..layouts.split_folders import split_of
from ..readdir import SPARE, Names, number_keys, numbers_of

FEED, DOT, COLON, UNDERSCORE = 10, 46, 58, 95
SLASHES = (47, 92)  # the second is that of Windows
BLANKS = np.isin(np.arange(256), [*b" \t\"'"])  # what may come before a path
STOPS = np.isin(np.arange(256), [*b" \t\"'\n,;|:"])  # what may come after it
SUFFIX = b".JPEG"
BARE = re.compile(rb"^(\S*_\d+)(?=\s|$)", re.MULTILINE)
"""A line with the name of an image without its suffix, as in ImageNet's own lists."""

LONGEST = 64  # most bytes of the name of a folder that is examined

known_split = lru_cache(maxsize=1 << 16)(split_of)


class Found(NamedTuple):
    """What the lines of a block name.

    Attributes:
        line, image: (matches,), the position of a line in the block, and of an image that it names.
        unmatched: The positions of the lines that name no image, and do not belong to another
            split.
        far: The positions of the lines whose paths begin outside of the dataset.
        unclear: The position of a line that may mean several images, and two of these; or None.
    """

    line: np.ndarray
    image: np.ndarray
    unmatched: np.ndarray
    far: np.ndarray
    unclear: tuple[int, int, int] | None = None


def readings(line: str) -> Iterator[str]:
    """Yield a line as a whole, and then what its first column may be."""
    line = line.strip()
    yield line
    if quoted := re.match(r"""(["'])((?:(?!\1).|\1\1)*)\1""", line):
        yield quoted[2].replace(2 * quoted[1], quoted[1])
    for mark in "\t,;":
        if mark in line:
            yield line.partition(mark)[0].strip()
    yield from line.split(None, 1)[:1]
    if ":" in line:
        yield line.partition(":")[0].strip()


def parts_of(text: str) -> tuple[str, ...]:
    """Return the parts of a path, also one of Windows. An absolute path begins with ``/``.

    Example:
        >>> parts_of("C:\\\\data\\\\cats\\\\1.jpg"), parts_of("./cats/1.jpg")
        (('/', 'data', 'cats', '1.jpg'), ('cats', '1.jpg'))
    """
    parts = text.replace("\\", "/").split("/")
    if parts[0] in ("", ".") or parts[0].endswith(":") or "" in parts or "." in parts:
        is_absolute = len(parts) > 1 and (not parts[0] or parts[0][1:] == ":")
        inner = parts[1:] if is_absolute else parts
        return (*("/" if is_absolute else ""), *(one for one in inner if one not in ("", ".")))
    return tuple(parts)


def is_of_another(parts: Sequence[str], split: str) -> bool:
    """Return whether one of the two folders above an image is that of another split."""
    splits = {*map(known_split, parts[-3:-1])} - {""}
    return bool(splits) and split not in splits


class Words:
    """Words to be looked up many at a time.

    Args:
        words: The words. An empty one is never found.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.tables: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        encoded = [os.fsencode(word) for word in words]
        self.words = np.array(encoded, "S")
        for length in {*map(len, encoded)} - {0}:
            at = np.array([i for i, word in enumerate(encoded) if len(word) == length])
            texts = np.array([encoded[i] for i in at], f"S{length}")
            order = texts.argsort()
            self.tables[length] = texts[order], at[order]

    def find(self, names: Names, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Return the position of each piece of the buffer among the words; -1 if it is none."""
        found = np.full(len(start), -1)
        lengths = stop - start
        for length, (texts, at) in self.tables.items():
            here = np.flatnonzero(lengths == length)
            cells = names.strings(start[here], length)
            near = np.searchsorted(texts, cells).clip(max=len(texts) - 1)
            good = texts[near] == cells
            found[here[good]] = at[near[good]]
        return found

    def are_at(
        self, names: Names, start: np.ndarray, stop: np.ndarray, which: np.ndarray
    ) -> np.ndarray:
        """Return whether each piece of the buffer is a certain word, given by its position."""
        found = np.zeros(len(start), bool)
        lengths = np.where(which < 0, -1, stop - start)
        for length in self.tables:
            here = np.flatnonzero(lengths == length)
            found[here] = names.strings(start[here], length) == self.words[which[here]]
        return found


class Numbers:
    """Numbers to be looked up many at a time."""

    def __init__(self, numbers: np.ndarray) -> None:
        self.order = np.argsort(numbers, kind="stable")
        self.sorted = numbers[self.order]

    def find(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of the first and of the next one of each number; -1 for none."""
        order = np.argsort(wanted)  # looked up in order, they are found in a quarter of the time
        near = np.empty(len(wanted), "<i8")
        near[order] = np.searchsorted(self.sorted, wanted[order])
        return self._at(near, wanted), self._at(near + 1, wanted)

    def _at(self, near: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        if not len(self.sorted):
            return np.full(len(wanted), -1)
        inside = near.clip(max=len(self.sorted) - 1)
        good = (near == inside) & (self.sorted[inside] == wanted)
        return np.where(good, self.order[inside], -1)


def _mark(marks: np.ndarray, at: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Return the marks at some positions, or ``floor`` where there is none above it."""
    if not len(marks):
        return floor
    return np.where(at < 0, floor, np.maximum(marks[at.clip(min=0)], floor))


def _splits_at(names: Names, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return which split each folder is, as a position in ``SPLITS``; -1 if it is none."""
    found = np.full(len(start), -1)
    lengths = stop - start
    for length in np.unique(lengths[(lengths > 0) & (lengths <= LONGEST)]).tolist():
        here = np.flatnonzero(lengths == length)
        folders, at = np.unique(names.strings(start[here], length), return_inverse=True)
        splits = [known_split(folder.decode(errors="replace")) for folder in folders.tolist()]
        found[here] = np.array([SPLITS.index(one) if one else -1 for one in splits])[at]
    return found


class Addressed:
    """The images of a dataset in DINOv3's layout, by the names that DINOv3 gives them.

    Args:
        scan: The images.
        split: Their split.
        own: Whether all lines are about this split.
    """

    def __init__(self, scan: Scan, split: str, own: bool) -> None:
        self.split = SPLITS.index(split)
        self.own = own
        self.least = name_parts(split, "")[1]
        stems = [name_parts(one, "")[0][:-1] for one in SPLITS]  # that of TRAIN is empty
        self.stems = Words(stems)
        self.classes = Words(scan.class_ids.tolist())
        self.by_class = Numbers(scan.class_index().astype("<i8") << 32 | scan.actual_index)
        self.by_number = self.by_class if split == "TRAIN" else Numbers(scan.actual_index)

    def find(self, block: bytes) -> Found:
        """Find the images that the lines of a block name."""
        if SUFFIX not in block:
            block = BARE.sub(rb"\1" + SUFFIX, block)
        buffer = np.frombuffer(bytearray(block + bytes(SPARE)), "u1")
        ends = np.flatnonzero(buffer[: len(block)] == FEED)
        starts = _starts(buffer, ends)
        names = Names(buffer, starts, buffer[:0])
        dots, line = _suffixes(names, ends)
        buffer[dots + len(SUFFIX)] = 0
        floor = starts[line] - 1
        slashes = np.flatnonzero((buffer == SLASHES[0]) | (buffer == SLASHES[1]))
        nearest = np.searchsorted(slashes, dots)
        first, second, third = (_mark(slashes, nearest - back, floor) for back in (1, 2, 3))
        scores = np.flatnonzero(buffer == UNDERSCORE)
        under = _mark(scores, np.searchsorted(scores, dots) - 1, first)

        good, key = number_keys(names, under + 1, self.least)
        number = numbers_of(np.where(good, key, 1)).astype("<i8")
        stem = self.stems.find(names, first + 1, under)
        if self.split == SPLITS.index("TRAIN"):
            class_index = self.classes.find(names, first + 1, under)
            good &= class_index >= 0
            in_class = self.classes.are_at(names, second + 1, first, class_index)
        else:
            class_index = self.classes.find(names, second + 1, first)
            good &= stem == self.split
            in_class = class_index >= 0
        direct = np.full(len(dots), -1)
        outside = np.flatnonzero(~in_class)
        direct[outside] = _splits_at(names, second[outside] + 1, first[outside])
        above = _splits_at(names, third + 1, second)
        far_away = _is_absolute(names, starts)[line] & (direct < 0)
        far_away &= self.classes.find(names, second + 1, first) < 0  # not a wrong class
        alone = ~in_class & ((first == floor) | (direct == self.split) | far_away)
        good &= alone | (in_class & ((above < 0) | (above == self.split)))
        start = np.where(in_class, np.where(above < 0, second, third), first)
        start = np.where(~in_class & (direct >= 0), second, start)

        image = np.full(len(dots), -1)
        again = np.full(len(dots), -1)
        keyed = np.flatnonzero(good & (class_index >= 0))
        image[keyed], _ = self.by_class.find((class_index[keyed] << 32) | number[keyed])
        if self.split != SPLITS.index("TRAIN"):
            free = np.flatnonzero(good & alone)
            image[free], again[free] = self.by_number.find(number[free])
        unclear = next(
            ((int(line[i]), int(image[i]), int(again[i])) for i in np.flatnonzero(again >= 0)), None
        )

        rest = np.ones(len(ends), bool)
        rest[line[image >= 0]] = False
        if not self.own:
            said = np.where(in_class | (direct < 0), above, direct)
            other = (said >= 0) & (said != self.split)
            silent = np.flatnonzero((said < 0) & (image < 0))
            other[silent] = self._is_another(names, stem, first, under, silent)
            rest[line[other & (image < 0)]] = False
        found = np.flatnonzero(image >= 0)
        far = line[found[start[found] > floor[found]]]
        return Found(line[found], image[found], np.flatnonzero(rest), far, unclear)

    def _is_another(
        self,
        names: Names,
        stem: np.ndarray,
        first: np.ndarray,
        under: np.ndarray,
        which: np.ndarray,
    ) -> np.ndarray:
        """Return whether some names have the form of another split."""
        stem, first, under = stem[which], first[which], under[which]
        if self.split == SPLITS.index("TRAIN"):
            return stem > 0
        of_train = number_keys(names, under + 1, 1)[0] & (under > first) & (stem < 0)
        return of_train | ((stem > 0) & (stem != self.split))


def _starts(buffer: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return where the paths in some lines begin, after blanks, quotes and ``./``."""
    starts = np.concatenate([[0], ends[:-1] + 1])
    if BLANKS[buffer[starts]].any():
        solid = np.flatnonzero(~BLANKS[buffer])
        starts = solid[np.searchsorted(solid, starts)]
    here = (buffer[starts] == DOT) & np.isin(buffer[starts + 1], SLASHES)
    return starts + 2 * here


def _is_absolute(names: Names, starts: np.ndarray) -> np.ndarray:
    """Return whether the path that begins at each of some places is absolute, also in Windows."""
    first, second = names.buffer[starts], names.buffer[starts + 1]
    return np.isin(first, SLASHES) | (second == COLON)


def _suffixes(names: Names, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the first suffix of an image is in each line that has one, and these lines."""
    dots = np.flatnonzero(names.buffer == DOT)
    dots = dots[names.strings(dots, len(SUFFIX)) == SUFFIX]
    dots = dots[STOPS[names.buffer[dots + len(SUFFIX)]]]
    line = np.searchsorted(ends, dots)
    first = np.flatnonzero(np.diff(line, prepend=-1))
    return dots[first], line[first]


class Match(NamedTuple):
    """What a line names.

    Attributes:
        images: The images.
        bare: Whether the line is a name without a folder.
        far: Whether it is a path that begins outside of the dataset.
    """

    images: list[int]
    bare: bool
    far: bool


class Named:
    """The images of a view, by their paths below the dataset, which may be any.

    Args:
        scan: The images.
        split: Their split.
        own: Whether all lines are about this split.
        paths: The path of each image.
    """

    def __init__(self, scan: Scan, split: str, own: bool, paths: Sequence[str]) -> None:
        self.scan, self.split, self.own, self.paths = scan, split, own, paths
        self.deepest = 1 + max((path.count("/") for path in paths), default=0)
        self.ends = np.cumsum(scan.counts)
        self.tables: dict[int, Numbers] = {}

    def find(self, block: bytes) -> Found:
        """Find the images that the lines of a block name."""
        lines = block.decode(errors="replace").split("\n")[:-1]
        texts = {i: readings(line) for i, line in enumerate(lines)}
        found: dict[int, Match] = {}
        others = set()
        while texts:
            parts = {i: parts_of(next(one, "")) for i, one in texts.items()}
            found |= self._images(parts)
            texts = {i: one for i, one in texts.items() if parts[i] and i not in found}
            others |= {i for i in texts if is_of_another(parts[i], self.split)}
        rest = [i for i in range(len(lines)) if i not in found and (self.own or i not in others)]
        pairs = [(i, image) for i in sorted(found) for image in found[i].images]
        table = np.array(pairs, "<i8").reshape(-1, 2)
        far = np.array(sorted(i for i, one in found.items() if one.far), "<i8")
        doubtful = sorted(i for i, one in found.items() if one.bare and len(one.images) > 1)
        unclear = next(((i, found[i].images[0], found[i].images[1]) for i in doubtful), None)
        return Found(table[:, 0], table[:, 1], np.array(rest, "<i8"), far, unclear)

    def _images(self, parts: dict[int, tuple[str, ...]]) -> dict[int, Match]:
        """Return what some lines name, by the position of the line.

        Args:
            parts: The parts of the path in each line.
        """
        found: dict[int, Match] = {}
        for depth in range(self.deepest, 0, -1):
            some = [
                i
                for i, one in parts.items()
                if i not in found
                and (len(one) == depth or (len(one) > depth and depth >= min(2, self.deepest)))
            ]
            if not some:
                continue
            table = self._table(depth)
            wanted = np.fromiter((hash(parts[i][-depth:]) for i in some), "<i8", len(some))
            low = np.searchsorted(table.sorted, wanted).tolist()
            high = np.searchsorted(table.sorted, wanted, "right").tolist()
            for i, start, stop in zip(some, low, high, strict=True):
                near = table.order[start:stop].tolist()
                images = [image for image in near if self._agrees(image, parts[i], depth)]
                if images:
                    found[i] = Match(images, len(parts[i]) == 1, len(parts[i]) > depth)
        return found | self._in_classes({i: one for i, one in parts.items() if i not in found})

    def _in_classes(self, parts: dict[int, tuple[str, ...]]) -> dict[int, Match]:
        """Return what some lines name by a class and a file name, wherever in the class it is."""
        found = {}
        for i, one in parts.items():
            other = len(one) > 2 and known_split(one[-3]) not in ("", self.split)
            if images := [] if other else self.by_class.get(one[-2:], []):
                found[i] = Match(images, True, len(one) > 2)
        return found

    @cached_property
    def by_class(self) -> dict[tuple[str, ...], list[int]]:
        """Class id and file name -> the images that have both."""
        named: dict[tuple[str, ...], list[int]] = {}
        ids, index = self.scan.class_ids.tolist(), self.scan.class_index().tolist()
        for image, path in enumerate(self.paths):
            named.setdefault((ids[index[image]], path.rpartition("/")[2]), []).append(image)
        return named

    def _table(self, depth: int) -> Numbers:
        """Return the hashes of the last parts of all paths."""
        if depth not in self.tables:
            ends = (hash(tuple(path.split("/"))[-depth:]) for path in self.paths)
            self.tables[depth] = Numbers(np.fromiter(ends, "<i8", len(self.paths)))
        return self.tables[depth]

    def _agrees(self, image: int, parts: tuple[str, ...], depth: int) -> bool:
        """Return whether the last parts of a path may name an image.

        Args:
            image: The image.
            parts: The parts of the path.
            depth: How many of them are to be those of the image.
        """
        own = tuple(self.paths[image].split("/"))
        if own[-depth:] != parts[-depth:]:
            return False
        if len(parts) == depth:
            return True
        if known_split(parts[-depth - 1]) not in ("", self.split):
            return False
        if depth < len(own):  # a part before the class differs
            class_id = self.scan.class_ids[np.searchsorted(self.ends, image, "right")]
            longer = parts[0] == "/" or len(parts) > len(own)
            return longer and (class_id in own[-depth:-1] or class_id not in own)
        return True
