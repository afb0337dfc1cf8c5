"""Tars: find the images in a tar, by its headers alone.

The result is what DINOv2's and DINOv3's ``ImageNet22k`` takes from the lines of GNU ``tar -tR``: a
member begins where such a line says, and ends where the next line begins. But for a member whose
name does not fit into its header, GNU tar names the block of the long name, where the class would
read the name in place of the image. Here, each member begins at its own header.

Source: dinov3/data/datasets/image_net_22k.py; ``print_header`` in list.c of GNU tar 1.34.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .addresses import IMG_EXTENSIONS
from .disk import open_regular
from .errors import DatasetChangedError, MetadataError, logger
from .paths import StrPath
from .tar_headers import (
    BLOCK,
    KINDS,
    REFUSED,
    REGULAR,
    Header,
    HeaderError,
    padded,
    pax_records,
    quoted,
    read_header,
)
from .tar_windows import ALONE, Run, Window, follow

FIRST = 1 << 16  # bytes to read at once, at the beginning
WINDOW = 1 << 22  # the same, where members are small
SPARSE = 1 << 15  # bytes from header to header from which each header is read alone
LONGEST = 1 << 20  # most bytes of an extended header, or of a long name
LARGEST = 1 << 32  # bytes that an offset in the entries can tell, ``<u4``

UNREADABLE = "n06470073_47249.JPEG"
"""The image of ImageNet-22k that Pillow cannot read. The reference leaves it out by this name."""

MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"\x1f\x8b")
"""How the data of images begins, or of images that were compressed by gzip."""

COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}
"""How a file begins that is a compressed archive -> the program that unpacks it."""


class Members(NamedTuple):
    """The images of a tar, in the order of their offsets.

    Attributes:
        names: (images,), ``<U``: their paths in the archive, as GNU tar prints them.
        starts: (images,), ``<u8``: the byte at which the header of each begins.
        ends: (images,), ``<u8``: the byte at which the next member, or the end, begins.
        gzipped: (images,), bool: whether its data begins as gzip's does.
        left_out: What the tar has beside images -> how many of them.
    """

    names: NDArray[np.str_]
    starts: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    gzipped: NDArray[np.bool_]
    left_out: dict[str, int]


def list_members(tar: StrPath) -> Members:
    """Return the images in a tar. Only headers are read, and the data between small members.

    A member is an image if it has the suffix of one, or begins as one. Folders, links, hidden files
    (``._cat.jpg``) and everything else are left out and counted.

    Raises:
        MetadataError: It is not a whole tar, or has a member that cannot be read in place.
        DatasetChangedError: It changed while it was read.
        OSError: It cannot be read.
    """
    with open_regular(tar) as file:
        before = os.fstat(file.fileno())
        walk = Walk(tar, file.fileno(), before.st_size)
        walk.go()
    if _state(before) != _state(os.stat(tar)):
        raise DatasetChangedError(f"{tar} changed while it was read. Run the same command again.")
    return walk.images()


def check_offsets(tar: StrPath, members: Members) -> None:
    """Check that DINOv3's entries can tell where each image of a tar is.

    Raises:
        MetadataError: An image ends beyond 4 GiB.
    """
    beyond = members.ends >= LARGEST
    if beyond.any():
        raise MetadataError(
            f"{tar}: {members.names[beyond][0]} ends beyond 4 GiB, where DINOv3's entries (<u4) "
            f"cannot point to, and so do {int(beyond.sum()) - 1:,} more images. Divide the tar, or "
            "unpack it and train from folders."
        )


def _state(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


class Walk:
    """A walk from header to header through a tar.

    Args:
        tar: Its path, for messages.
        file: Its descriptor.
        size: Its size in bytes.
    """

    def __init__(self, tar: StrPath, file: int, size: int) -> None:
        self.tar, self.file, self.size = tar, file, size
        self.left_out: Counter[str] = Counter()
        self.runs: list[Run] = []
        self.rows: list[tuple[bytes, int, int, int, bytes]] = []  # members of the next run
        self.found = 0  # how many headers were read
        self.end = 0  # where the archive ends
        self.said: dict[str, bytes] = {}  # what extended headers say of the next member
        self.long = 0  # bytes of the long names before its header

    def go(self) -> None:
        """Find all members.

        Raises:
            MetadataError: See ``list_members``.
        """
        at, span, room = 0, FIRST, np.empty(WINDOW, np.uint8).data
        while at < self.size:
            first, before = at, self.found
            if span == ALONE and not self.said and (run := follow(self.file, at)):
                at = self._add(run)
            else:
                got = os.preadv(self.file, [room[:span]], at)
                if span == FIRST == got and room[:got].tobytes().count(b"ustar") > FIRST // SPARSE:
                    got += os.preadv(self.file, [room[got:]], at + got)
                window = Window(room[:got], at)
                # The next window tells how the data after a last block begins, if there is any.
                while at + ALONE <= window.end or at == first <= window.end - BLOCK:
                    run = None if self.said else window.run_from(at)
                    if run:
                        at = self._add(run)
                        continue
                    block = window.block(at)
                    if not block.strip(b"\0"):
                        self._finish(at)
                        return
                    at = self._one(at, block)
            if at == first:
                raise self._cut("a header", at + BLOCK) if at else self._damaged(0, "a header")
            span = WINDOW if (at - first) / (self.found - before) < SPARSE else ALONE
        if at > self.size:
            name = self.rows[-1][0] if self.rows else bytes(self.runs[-1].names[-1])
            raise self._cut(quoted(name), at)
        if not at:
            raise MetadataError(f"{self.tar} is empty. Download or pack it again.")
        self._finish(at)
        logger.warning(
            "%s lacks the two empty blocks with which a tar ends: perhaps it was cut.", self.tar
        )

    def _finish(self, at: int) -> None:
        if self.said or self.long:
            raise self._damaged(at, "the member that the header before it announces")
        self._flush()
        self.end = at

    def _add(self, run: Run) -> int:
        """Take members; return where the next one begins."""
        self._flush()
        self.runs.append(run)
        self.found += len(run.ends)
        return int(run.ends[-1])

    def _flush(self) -> None:
        """Turn the members that were found one by one into a run."""
        if self.rows:
            names, begins, starts, ends, data = zip(*self.rows, strict=True)
            known = np.frombuffer(b"".join(data), np.uint8).reshape(-1, 8)
            begins, starts, ends = np.array([begins, starts, ends], np.uint64)
            self.runs.append(Run(np.array(names), begins, starts, ends, known))
            self.rows.clear()

    def _one(self, at: int, block: bytes) -> int:
        """Take a member of any kind; return where the next one begins."""
        self.found += 1
        try:
            header = read_header(block)
            if header.kind in b"LKxXg":
                return self._extended(at, header)
            if (size := self.said.get("size", b"0")).isdigit():
                header = header._replace(
                    name=self.said.get("path", header.name), size=int(size) or header.size
                )
            else:
                raise HeaderError("the size in an extended header")
        except HeaderError as error:
            raise self._damaged(at, str(error)) from None
        sparse = any(key.startswith("GNU.sparse.") for key in self.said)
        if refused := REFUSED.get(b"S" if sparse else header.kind):
            raise MetadataError(
                f"{self.tar}: {quoted(header.name)} is {refused}, which cannot be read in place. "
                "Unpack the tar, and pack it again with --hard-dereference and without --sparse."
            )
        after = at + BLOCK + padded(header.size)
        name, data = b"", b""
        if header.name.endswith(b"/"):  # as programs before POSIX write folders
            self.left_out["folders"] += 1
        elif header.kind in REGULAR:
            name, data = header.name, os.pread(self.file, 8, at + BLOCK)[: header.size]
        else:
            self.left_out[KINDS.get(header.kind, "others")] += 1
        self.rows.append((name, at - self.long, at, after, data.ljust(8, b"\0")))
        self.said, self.long = {}, 0
        return after

    def _extended(self, at: int, header: Header) -> int:
        """Take what a header says of the next member, or of all (``g``), as data of its own."""
        data = os.pread(self.file, min(header.size, LONGEST), at + BLOCK)
        after = at + BLOCK + padded(header.size)
        if header.size > LONGEST:
            raise HeaderError("an extended header of reasonable size")
        if header.kind in b"LK":
            self.long += after - at
            self.said["path" if header.kind == b"L" else "linkpath"] = data.partition(b"\0")[0]
        elif header.kind in b"xX":
            self.said = {"comment": b"", **pax_records(data), **self.said}  # never empty
        return after

    def _cut(self, what: str, until: int) -> MetadataError:
        return MetadataError(
            f"{self.tar} is cut: it has {self.size:,} bytes, but {what} needs {until:,}. Download "
            "or copy it again."
        )

    def _damaged(self, at: int, expected: str) -> MetadataError:
        begin = os.pread(self.file, 8, 0)
        if at:
            return MetadataError(
                f"{self.tar} is damaged at byte {at:,}, where {expected} was expected. Download or "
                "copy it again."
            )
        for magic, program in COMPRESSED.items():
            if begin.startswith(magic):
                return MetadataError(
                    f"{self.tar} is compressed by {program}, which has no random access. Unpack it "
                    "once, and keep the tar inside under this name."
                )
        return MetadataError(
            f"{self.tar} is not a tar: it begins with {begin!r}, where {expected} was expected."
        )

    def _check_kind(self, letters: NDArray[np.uint8], images: int) -> None:
        """Refuse tars that are made for something else, by the names of their other files.

        Raises:
            MetadataError: The tar contains tars, or is a shard of WebDataset.
        """
        if not images and has_suffix(letters, [".tar"]).any():
            raise MetadataError(
                f"{self.tar} contains tars, as ILSVRC2012_img_train.tar does. Unpack this level "
                f"alone, and name the new folder: mkdir tars && tar -xf {self.tar} -C tars"
            )
        if images and has_suffix(letters, [".cls"]).sum() >= images:
            raise MetadataError(
                f"{self.tar} is a shard of WebDataset, whose classes are in files beside the "
                "images (.cls). DINOv3 reads tars of one class each: unpack the shards into "
                "folders by class."
            )

    def images(self) -> Members:
        """Return the images among the members, once all are found."""
        if not self.runs:
            none = np.zeros(0, np.uint64)
            return Members(np.zeros(0, "<U1"), none, none, none.astype(bool), {})
        names, begins, starts, _, data = map(np.concatenate, zip(*self.runs, strict=True))
        ends = np.append(begins[1:], np.uint64(self.end))
        letters = names.view(np.uint8).reshape(len(names), -1)
        files = letters[:, 0] != 0
        hidden = files & is_hidden(letters)
        images = has_suffix(letters)
        images[~images] = has_magic(data[~images])
        images &= files & ~hidden
        known = images & (names == UNREADABLE.encode())
        kept = images & ~known
        self._check_kind(letters[files & ~images], int(kept.sum()))
        counts = {
            **self.left_out,
            "hidden files": int(hidden.sum()),
            "files that are no images": int((files & ~hidden & ~images).sum()),
            "images that cannot be decoded": int(known.sum()),
        }
        return Members(
            as_printed(letters[kept]),
            starts[kept],
            ends[kept],
            (data[kept, 0] == 0x1F) & (data[kept, 1] == 0x8B),
            {what: many for what, many in counts.items() if many},
        )


def is_hidden(letters: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which names have a part that begins with a dot, other than ``.`` and ``..``."""
    many, width = letters.shape
    if b"/." not in letters.tobytes() and not (letters[:, 0] == ord(".")).any():
        return np.zeros(many, bool)
    around = np.full((many, width + 3), ord("/"), np.uint8)  # with what comes before and after
    around[:, 1:-2] = letters
    dot, ends = around == ord("."), (around == ord("/")) | (around == 0)
    one, two = ends[:, 2:-1], dot[:, 2:-1] & ends[:, 3:]  # ``.`` and ``..``
    return (ends[:, :-3] & dot[:, 1:-2] & ~one & ~two).any(axis=1)


def has_suffix(
    letters: NDArray[np.uint8], suffixes: Sequence[str] = IMG_EXTENSIONS
) -> NDArray[np.bool_]:
    """Return which names have a suffix, by default that of an image: ``addresses.is_image``."""
    many, width = letters.shape
    flat = np.zeros(8 + many * width + 1, np.uint8)
    flat[8:-1] = letters.ravel()
    lengths = np.where(letters[:, -1] != 0, width, (letters != 0).argmin(axis=1))
    eights = np.ndarray(many * width + 1, "<u8", flat, strides=(1,))  # before each letter
    tails = eights[np.arange(many) * width + lengths] | np.uint64(0x2020202020202020)
    found = np.zeros(many, bool)
    for suffix in suffixes:
        rest = np.uint64(8 * (8 - len(suffix)))
        wanted = int.from_bytes(suffix.encode(), "little")
        found |= (tails >> rest == wanted) & (lengths >= len(suffix))
        if found.all():
            break
    return found


def has_magic(data: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which data begins as that of an image."""
    found = np.zeros(len(data), bool)
    for magic in MAGIC if len(data) else ():
        found |= (data[:, : len(magic)] == np.frombuffer(magic, np.uint8)).all(axis=1)
    return found


def as_printed(letters: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Return names as GNU tar prints them, see ``tar_headers.quoted``."""
    if not len(letters):
        return np.zeros(0, "<U1")
    plain = (letters == 0) | ((letters >= 32) & (letters < 127) & (letters != ord("\\")))
    if plain.all():
        return letters.astype("<u4").view(f"<U{letters.shape[1]}")[:, 0]
    return np.array([quoted(row.tobytes().rstrip(b"\0")) for row in letters])
