"""Tar windows: find the headers of many plain files in a tar at once."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .tar_headers import BLOCK, padded

ALONE = 2 * BLOCK  # bytes to read for a header that is read alone, with the beginning of its data
FOLLOWED = 256  # most headers that are read so before they are looked at
UST, AR = int.from_bytes(b"ust", "little"), int.from_bytes(b"ar", "little")
ZEROS = np.uint32(int.from_bytes(b"0000", "little"))


class Run(NamedTuple):
    """Members that follow one another.

    Attributes:
        names: (members,), ``S``: the names of files; empty for everything else.
        begins: (members,), ``<u8``: where GNU tar lets them begin.
        starts, ends: (members,), ``<u8``: where the header of each begins, and where its data ends.
        data: (members, 8), ``u1``: how its data begins.
    """

    names: NDArray[np.bytes_]
    begins: NDArray[np.uint64]
    starts: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    data: NDArray[np.uint8]


class Window:
    """A part of a tar in memory, which begins with a header.

    Args:
        content: Its bytes. They may be overwritten once the next window is read.
        at: Where it begins in the tar.

    Attributes:
        end: Where it ends in the tar.
    """

    def __init__(self, content: memoryview, at: int) -> None:
        self.content, self.at, self.end = content, at, at + len(content)
        self._look()

    def block(self, at: int) -> bytes:
        """Return the block at a byte of the tar."""
        return bytes(self.content[at - self.at :][:BLOCK])

    def _look(self) -> None:
        """Find the blocks that are headers of plain files, each with the block after its data, and
        those of them that are not followed by another such header there.

        Data can look like a header, too. But nothing leads to it.
        """
        many = len(self.content) // BLOCK
        blocks = np.frombuffer(self.content, np.uint8, many * BLOCK).reshape(many, BLOCK)
        magic = blocks.view("<u4")[:-1, 64] >> 8  # the data after the last block is unknown
        found = np.flatnonzero(magic == UST)
        names, sizes = plain_files(blocks.take(found, axis=0))
        is_plain = sizes >= 0
        if not is_plain.all():
            found, names, sizes = found[is_plain], names[is_plain], sizes[is_plain]
        self.names, self.data = names, blocks[found + 1, :8]
        self.data[sizes == 0] = 0
        self.blocks, self.after = found, found + 1 - -sizes // BLOCK
        is_last = np.append(self.after[:-1] != self.blocks[1:], True)
        self.breaks = np.flatnonzero(is_last)

    def run_from(self, at: int) -> Run | None:
        """Return the plain files from a byte of the tar on; None if there is none."""
        block = (at - self.at) // BLOCK
        first = int(np.searchsorted(self.blocks, block))
        if first == len(self.blocks) or self.blocks[first] != block:
            return None
        last = self.breaks[np.searchsorted(self.breaks, first)]
        run = slice(first, last + 1)
        starts = (self.blocks[run] * BLOCK + self.at).astype(np.uint64)
        ends = (self.after[run] * BLOCK + self.at).astype(np.uint64)
        return Run(self.names[run], starts, starts, ends, self.data[run])


def follow(file: int, at: int) -> Run | None:
    """Return the plain files from a byte of a tar on, of which only the headers are read.

    Args:
        file: The descriptor of the tar.
        at: Where the first of them begins.

    Returns:
        At most ``FOLLOWED`` of them; None if there is none.
    """
    starts, read = [at], list[bytes]()
    while len(read) < FOLLOWED:
        block = os.pread(file, ALONE, starts[-1])
        if len(block) < ALONE or block[156] not in b"0\0":
            break
        try:
            size = int(block[124:135], 8)  # what is wrong with it is found below
        except ValueError:
            break
        if size < 0:
            break
        read.append(block)
        starts.append(starts[-1] + BLOCK + padded(size))
    blocks = np.frombuffer(b"".join(read), np.uint8).reshape(-1, ALONE)
    names, sizes = plain_files(np.ascontiguousarray(blocks[:, :BLOCK]))
    many = int(np.argmin(np.append(sizes, -1) >= 0))
    if not many:
        return None
    offsets, data = np.array(starts[: many + 1], np.uint64), blocks[:many, BLOCK : BLOCK + 8].copy()
    data[sizes[:many] == 0] = 0
    return Run(names[:many], offsets[:-1], offsets[:-1], offsets[1:], data)


def plain_files(headers: NDArray[np.uint8]) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """Return what the headers of plain files say.

    Args:
        headers: (headers, 512), contiguous.

    Returns:
        (headers,), ``S``: the name of each file.
        (headers,): how many bytes of data follow; -1 if this is no header of a plain file, or is
        damaged, or does not have the whole name. ``read_header`` tells these apart.
    """
    words = headers.view("<u4")  # a header has each of its numbers and its magic in whole words
    plain = (words[:, 64] >> 8 == UST) & (words[:, 65] & 0xFFFF == AR)
    plain &= (headers[:, 156] == ord("0")) | (headers[:, 156] == 0)
    plain &= (headers[:, 0] != 0) & (headers[:, 99] == 0) & (headers[:, 345] == 0)
    names = trimmed(headers[:, :100])
    has_more = names != 0
    plain &= ~(has_more[:, 1:] > has_more[:, :-1]).any(axis=1)  # nothing after the end of a name
    sizes = octal(joined(words[:, 32], words[:, 33]))
    if (words[:, 31] != ZEROS).any():  # four more digits before these
        more = octal(joined(ZEROS, words[:, 31]) >> np.uint64(8))
        sizes[more < 0] = -1
        sizes[sizes >= 0] |= more[sizes >= 0] << 21
    stored = joined(words[:, 37], words[:, 38])
    plain &= octal(stored << np.uint64(8) | np.uint64(ord("0"))) == sums(headers, stored)
    sizes[~plain] = -1
    return names.view(f"S{names.shape[1]}")[:, 0], sizes


def trimmed(letters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return names without what is zero in all of them at their ends, contiguous.

    Args:
        letters: (names, longest possible name).
    """
    width = int(np.flatnonzero(letters.any(axis=0)).max(initial=0)) + 1
    return np.ascontiguousarray(letters[:, :width])


def joined(low: NDArray[np.uint32] | np.uint32, high: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return eight bytes as one word: the first four and the last four."""
    return low | high.astype(np.uint64) << np.uint64(32)


def octal(digits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return numbers of seven octal digits before a zero or a blank; -1 for anything else."""
    digits = digits ^ np.uint64(0x0030303030303030)
    wrong = digits & np.uint64(0xDFF8F8F8F8F8F8F8) != 0
    ones = digits << np.uint64(8)  # a first digit of zero makes them eight
    twos = (ones << np.uint64(3) | ones >> np.uint64(8)) & np.uint64(0x003F003F003F003F)
    fours = (twos << np.uint64(6) | twos >> np.uint64(16)) & np.uint64(0x00000FFF00000FFF)
    value = ((fours << np.uint64(12) | fours >> np.uint64(32)) & np.uint64(0xFFFFFF)).view(np.int64)
    value[wrong] = -1
    return value


def sums(headers: NDArray[np.uint8], stored: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the checksums of headers.

    Args:
        headers: (headers, 512), contiguous.
        stored: Their own field, which counts as blanks.
    """
    if not len(headers):
        return np.zeros(0, np.int64)
    words = headers.view(np.uint64)
    varied = (words != words[0]).any(axis=0)  # most words are the same in all headers of a tar
    same = int(words[0, ~varied].view(np.uint8).sum())
    total = added(words.compress(varied, axis=1)) - added(stored[:, None])
    return total + (same + 8 * ord(" "))


def added(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the sum of all bytes in each row, of at most 64 words."""
    for bits in 8, 16, 32:  # add neighbours, then neighbours of these
        low = np.uint64((2**64 - 1) // (2**bits + 1))
        words = (words & low) + (words >> np.uint64(bits) & low)
        if bits == 8:
            words = words.sum(axis=1)  # 128 x 255 fits into 16 bits
    return words.view(np.int64)
