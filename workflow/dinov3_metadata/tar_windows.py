"""Tar windows: find the headers of many small members at once, in a part of a tar."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .tar_headers import BLOCK

USTAR = int.from_bytes(b"ust", "little"), int.from_bytes(b"ar", "little")
LOW = np.uint64(0x00FF00FF00FF00FF)  # every other byte


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
        looks: Whether to look for many headers at once.

    Attributes:
        end: Where it ends in the tar.
    """

    def __init__(self, content: memoryview, at: int, looks: bool) -> None:
        self.content, self.at, self.end = content, at, at + len(content)
        self.blocks = self.after = self.breaks = np.zeros(0, np.int64)
        if looks:
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
        found = np.flatnonzero(blocks[:-1, 257] == ord("u"))  # the data after the last is unknown
        headers = blocks[found]
        words = headers.view("<u4")  # a header has each of its numbers and its magic in whole words
        sizes, checksums = octal(words[:, 31:34], 11), octal(words[:, 37:39], 6)
        plain = (words[:, 64] >> 8 == USTAR[0]) & (words[:, 65] & 0xFFFF == USTAR[1])
        plain &= (headers[:, 156] == ord("0")) | (headers[:, 156] == 0)
        plain &= (headers[:, 0] != 0) & (headers[:, 99] == 0) & (headers[:, 345] == 0)
        plain &= (sizes >= 0) & (checksums == sums(headers))
        self.headers, self.data = headers[plain], blocks[found + 1, :8][plain]
        self.data[sizes[plain] == 0] = 0
        self.blocks = found[plain]
        self.after = self.blocks + 1 - -sizes[plain] // BLOCK
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
        return Run(
            np.ascontiguousarray(self.headers[run, :100]).view("S100")[:, 0],
            starts,
            starts,
            (self.after[run] * BLOCK + self.at).astype(np.uint64),
            self.data[run],
        )


def octal(words: NDArray[np.uint32], digits: int) -> NDArray[np.int64]:
    """Return numbers in octal digits, before a zero or a blank; -1 for anything else.

    Args:
        words: (numbers, words): the bytes of each, four in a word.
        digits: How many digits there are; what follows the zero or blank does not count.
    """
    value, wrong = np.zeros(len(words), np.int64), np.zeros(len(words), bool)
    for column, word in enumerate(words.T):
        inside = min(digits - 4 * column, 4)  # how many bytes of this word are digits
        if inside < 4:
            wrong |= (word >> np.uint32(8 * inside)) & np.uint32(0xDF) != 0
        mask = np.uint32((1 << 8 * inside) - 1)
        word = (word ^ np.uint32(0x30303030)) & mask
        wrong |= word & np.uint32(0xF8F8F8F8) != 0
        pairs = (word << np.uint32(3) | word >> np.uint32(8)) & np.uint32(0x003F003F)
        four = (pairs << np.uint32(6) | pairs >> np.uint32(16)) & np.uint32(0xFFF)
        value = value << 3 * inside | four >> np.uint32(3 * (4 - inside))
    value[wrong] = -1
    return value


def sums(headers: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the checksums of headers, for which their own field counts as blanks.

    Args:
        headers: (headers, 512).
    """
    words = headers.view(np.uint64)  # eight bytes at once: in lanes of 16 bits, no sum overflows
    lanes = (words & LOW) + ((words >> np.uint64(8)) & LOW)
    total = np.ascontiguousarray(lanes.sum(axis=1)).view(np.uint16).reshape(-1, 4).sum(axis=1)
    return total.astype(np.int64) - headers[:, 148:156].sum(axis=1) + 8 * ord(" ")
