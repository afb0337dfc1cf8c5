"""Near: find 64-bit hashes that differ in few bits, among millions of them.

Two hashes that differ in at most ``most`` bits are the same in at least two of ``most + 2`` blocks
of bits. So each pair of blocks is a key, by which the hashes are sorted, and only hashes with the
same key are compared. The hashes of real images clump: many have the same key, because they are of
plain backgrounds or scanned pages. Such a bucket is searched in the same way by the bits that its
key leaves, so that no pair is missed. Most pairs of a clump need no look at all: once a search by
two bits has joined a clump to one group, the buckets inside it are passed over.

Source: M. Norouzi, A. Punjani, D. Fleet: Fast Exact Search in Hamming Space with Multi-Index
Hashing, 2014, for the idea of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

FIRST = 2  # bits; a search by so few is fast in clumps, too, and spares the next one their pairs
BRUTE = 1 << 20  # pairs of a bucket that are compared without another key
PAIRS = 1 << 18  # pairs that are compared at a time
ALL_BITS = (1 << 64) - 1
NONE = np.uint64(ALL_BITS)

ONES = np.array([number.bit_count() for number in range(1 << 16)], "u1")


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the number of bits in which hashes differ, as ``u1``."""
    differing = one ^ other
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.bitwise_count(differing)
    parts = np.ascontiguousarray(differing).view("u2").reshape(-1, 4)
    return ONES[parts].sum(axis=1, dtype="u1").reshape(differing.shape)


def _keys(free: int, most: int) -> Iterator[int]:
    """Yield the keys for a search: pairs of blocks of the bits that are free."""
    bits = [1 << bit for bit in range(64) if free >> bit & 1]
    blocks = [sum(bits[start :: most + 2]) for start in range(most + 2)]
    return (one | other for one, other in combinations(blocks, 2))


def _sorted_by(
    positions: np.ndarray, hashes: np.ndarray, key: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of hashes in the order of their keys, and these keys."""
    keys = hashes[positions] & np.uint64(key)
    order = np.argsort(keys)
    return positions[order], keys[order]


def run_starts(values: np.ndarray) -> np.ndarray:
    """Return where the runs of equal values begin."""
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return np.flatnonzero(new)


def groups(hashes: np.ndarray, most: int) -> np.ndarray:
    """Put hashes into groups: two that differ in at most ``most`` bits are in the same one.

    Args:
        hashes: (hashes,) ``<u8``; all differ.
        most: How many bits may differ.

    Returns:
        (hashes,) ``<i8``: the position of the first hash of the group that each one is in.
    """
    search, everything = _Groups(hashes), np.arange(len(hashes))
    for bits in sorted({min(FIRST, most), most}):
        search.run(everything, everything, ALL_BITS, bits)
    return search.groups_of(everything)


def nearest(hashes: np.ndarray, others: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Find for each hash the nearest one of some others.

    Args:
        hashes: (hashes,) ``<u8``.
        others: (others,) ``<u8``; all differ.
        most: How many bits may differ.

    Returns:
        (hashes,) ``<i8``: the position of the nearest one, the first of several; -1 if none is near
        enough. And (hashes,) ``u1``: the number of bits in which the two differ.
    """
    search, everything = _Nearest(hashes, others), np.arange(len(others))
    for bits in sorted({0, min(FIRST, most), most}):
        search.run(np.flatnonzero(search.best == NONE), everything, ALL_BITS, bits)
    position = (search.best & np.uint64(0xFFFFFFFF)).astype("i8")
    return np.where(search.best == NONE, -1, position), (search.best >> np.uint64(32)).astype("u1")


class _Search:
    """A search for the pairs of a hash and another one that differ in few bits.

    Args:
        hashes: (hashes,) ``<u8``; all differ.
        others: (others,) ``<u8``, the same array to search among the hashes themselves.
    """

    def __init__(self, hashes: np.ndarray, others: np.ndarray) -> None:
        self.hashes, self.others = hashes, others

    def take(self, left: np.ndarray, right: np.ndarray, bits: np.ndarray) -> None:
        """Take pairs that were found: positions of hashes, in runs, and of others; and how many
        bits differ."""
        raise NotImplementedError

    def wanted_buckets(self, right: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Return whether each of some buckets must be searched, of which ``starts`` are the
        beginnings in ``right``."""
        return np.ones(len(starts), bool)

    def run(self, left: np.ndarray, right: np.ndarray, free: int, most: int) -> None:
        """Find the pairs of some hashes and others, all of which have the same bits but ``free``.

        Args:
            left: The positions of the hashes.
            right: Those of the others. The same array as ``left`` to search each pair once.
            free: The bits that may differ.
            most: In how many of them a pair may differ.
        """
        for key in _keys(free, most) if len(left) and len(right) else ():
            self._by_key(left, right, key, free & ~key, most)

    def _by_key(self, left: np.ndarray, right: np.ndarray, key: int, free: int, most: int) -> None:
        once = left is right
        right, keys = _sorted_by(right, self.others, key)
        if once:
            left, wanted_keys = right, keys
        else:
            left, wanted_keys = _sorted_by(left, self.hashes, key)
        starts = run_starts(keys)
        sizes = np.diff(starts, append=len(right))
        bucket = np.searchsorted(keys[starts], wanted_keys)
        there = bucket < len(starts)
        there[there] = keys[starts[bucket[there]]] == wanted_keys[there]
        good = (sizes > 1) if once else np.ones(len(starts), bool)
        good &= self.wanted_buckets(right, starts)
        there[there] = good[bucket[there]]
        at = np.flatnonzero(there)
        bucket = bucket[at]
        many = np.bincount(bucket, minlength=len(starts))
        large = (many * sizes > BRUTE) & (free.bit_count() > most + 2)
        for i in np.flatnonzero(large).tolist():
            inside = right[starts[i] : starts[i] + sizes[i]]
            self.run(inside if once else left[at[bucket == i]], inside, free, most)
        at, bucket = at[~large[bucket]], bucket[~large[bucket]]
        first = at + 1 if once else starts[bucket]
        self._compare(left[at], right, first, (starts + sizes)[bucket] - first, most)

    def _compare(
        self, left: np.ndarray, right: np.ndarray, first: np.ndarray, many: np.ndarray, most: int
    ) -> None:
        """Compare each of some hashes with the ``many`` of ``right`` that begin at ``first``."""
        hashes, others = self.hashes[left], self.others[right]
        ends = np.concatenate([[0], np.cumsum(many)])
        start = 0
        while start < len(left):
            stop = int(np.searchsorted(ends, ends[start] + PAIRS, side="right")) - 1
            stop = max(stop, start + 1)
            pairs = many[start:stop]
            places = np.arange(ends[stop] - ends[start])
            places += np.repeat(first[start:stop] - ends[start:stop] + ends[start], pairs)
            bits = distance(np.repeat(hashes[start:stop], pairs), others[places])
            near = np.flatnonzero(bits <= most)
            if len(near):
                which = np.searchsorted(ends, near + ends[start], side="right") - 1
                self.take(left[which], right[places[near]], bits[near])
            start = stop


class _Groups(_Search):
    """A search that joins hashes to groups.

    Attributes:
        first: (hashes,) ``<i8``: the position of another hash of the same group, nearer to its
            first one.
    """

    def __init__(self, hashes: np.ndarray) -> None:
        super().__init__(hashes, hashes)
        self.first = np.arange(len(hashes))

    def take(self, left: np.ndarray, right: np.ndarray, bits: np.ndarray) -> None:
        while len(left):
            one, other = self.groups_of(left), self.groups_of(right)
            differ = one != other
            left, right, one, other = left[differ], right[differ], one[differ], other[differ]
            self.first[np.maximum(one, other)] = np.minimum(one, other)

    def groups_of(self, positions: np.ndarray) -> np.ndarray:
        """Return the first hash of the group of each of some hashes."""
        found = self.first[positions]
        while True:
            before = self.first[found]
            if np.array_equal(before, found):
                break
            found = before
        self.first[positions] = found
        return found

    def wanted_buckets(self, right: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Leave out the buckets inside a group."""
        group = self.groups_of(right)
        least, most = (np.ufunc.reduceat(how, group, starts) for how in (np.minimum, np.maximum))
        return least != most


class _Nearest(_Search):
    """A search for the nearest of the others."""

    def __init__(self, hashes: np.ndarray, others: np.ndarray) -> None:
        super().__init__(hashes, others)
        self.best = np.full(len(hashes), NONE, "u8")

    def take(self, left: np.ndarray, right: np.ndarray, bits: np.ndarray) -> None:
        found = bits.astype("u8") << np.uint64(32) | right.astype("u8")
        starts = run_starts(left)
        at = left[starts]
        self.best[at] = np.minimum(self.best[at], np.minimum.reduceat(found, starts))
