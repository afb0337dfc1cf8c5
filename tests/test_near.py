"""The index finds what a comparison of all pairs finds, and clumps do not make it quadratic."""

from unittest.mock import patch

import numpy as np
import pytest
from dinov3_metadata import near
from hypothesis import given
from hypothesis import strategies as st

THRESHOLDS = st.integers(0, 6)


def flipped(random: np.random.Generator, base: int, many: int, flips: int) -> np.ndarray:
    """Hashes that differ from one in at most some bits."""
    found = np.full(many, base, "u8")
    for _ in range(flips):
        found ^= np.uint64(1) << random.integers(0, 64, many).astype("u8")
    return found


def hashes(seed: int) -> np.ndarray:
    """Distinct hashes: scattered ones, three clumps, and some whose high bits are all zero."""
    random = np.random.default_rng(seed)
    bases = random.integers(0, 2**63, 3).tolist()
    clumps = [
        flipped(random, base, 60, flips) for base, flips in zip(bases, (2, 4, 6), strict=True)
    ]
    low, scattered = random.integers(0, 2**12, 60, "u8"), random.integers(0, 2**64, 60, "u8")
    found = np.unique(np.concatenate([scattered, low, *clumps]))
    random.shuffle(found)
    return found


def all_pairs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The distances of all pairs, counted bit by bit."""
    bits = np.unpackbits((one[:, None] ^ other[None])[..., None].view("u1"), axis=-1)
    return bits.sum(axis=-1)


def grouped(found: np.ndarray, most: int) -> list[int]:
    """The group of each hash, by a comparison of all pairs."""
    joined = all_pairs(found, found) <= most
    groups = np.arange(len(found))
    while True:
        least = np.where(joined, groups, len(found)).min(axis=1)
        if np.array_equal(least, groups):
            return groups.tolist()
        groups = least


@pytest.mark.parametrize("brute", [40, 1 << 20])
@given(seed=st.integers(0, 2**32), most=THRESHOLDS)
def test_groups_are_those_of_all_pairs(brute: int, seed: int, most: int) -> None:
    found = hashes(seed)
    with patch.multiple(near, BRUTE=brute, PAIRS=500):
        assert near.groups(found, most).tolist() == grouped(found, most)


@pytest.mark.parametrize("brute", [40, 1 << 20])
@given(seed=st.integers(0, 2**32), most=THRESHOLDS)
def test_the_nearest_is_that_of_all_pairs(brute: int, seed: int, most: int) -> None:
    found = hashes(seed)
    one, other = found[:100], np.concatenate([found[100:], found[:10]])
    distances = all_pairs(one, other)
    best = distances.min(axis=1)
    with patch.multiple(near, BRUTE=brute, PAIRS=500):
        position, bits = near.nearest(one, other, most)
    assert position.tolist() == np.where(best <= most, distances.argmin(axis=1), -1).tolist()
    assert bits[best <= most].tolist() == best[best <= most].tolist()


@pytest.mark.parametrize("one", [0, 1])
@pytest.mark.parametrize("other", [0, 1])
def test_few_hashes(one: int, other: int) -> None:
    none, some = np.zeros(one, "u8"), np.zeros(other, "u8")
    assert near.groups(none, 4).tolist() == [0] * one
    position, bits = near.nearest(none, some, 4)
    assert position.tolist() == [0 if other else -1] * one
    assert bits[position >= 0].tolist() == [0] * (one * other)


def test_the_distance_without_numpy_2() -> None:
    one, other = hashes(0)[:100], hashes(1)[:100]
    by_numpy = near.distance(one[:, None], other[None])
    with patch.object(near, "np", without_bitwise_count()):
        assert near.distance(one[:, None], other[None]).tolist() == by_numpy.tolist()
    assert by_numpy.tolist() == all_pairs(one, other).tolist()


def without_bitwise_count() -> object:
    """A numpy of version 1, as far as ``distance`` uses it."""
    return type("numpy", (), {"ascontiguousarray": np.ascontiguousarray})


def clump(kind: str) -> np.ndarray:
    """300,000 images: hashes within six bits of each other, or that differ in 24 bits only."""
    random = np.random.default_rng(0)
    if kind == "ball":
        return np.unique(flipped(random, 2**63 - 1, 300_000, 3))
    return random.permutation(1 << 24)[:300_000].astype("u8")


@pytest.mark.parametrize(("kind", "part"), [("ball", 0.02), ("24 bits", 0.002)])
def test_a_clump_is_not_compared_pair_by_pair(kind: str, part: float) -> None:
    found = clump(kind)
    compared = []

    def count(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        compared.append(len(one))
        return distance(one, other)

    distance = near.distance
    with patch.object(near, "distance", count):
        groups = near.groups(found, 4)
        position, bits = near.nearest(found[::6] ^ np.uint64(1 << 40), found, 4)
    assert not groups.any()
    assert position.min() >= 0
    assert bits.max() <= 2
    assert max(compared) <= near.PAIRS
    assert sum(compared) < part * len(found) ** 2
