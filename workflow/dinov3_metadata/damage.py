"""Damage: find out whether the content of an image that decodes is what was once written.

Pillow decodes what is left of a damaged JPEG without a word, and so does training. ``simplejpeg``,
which is optional, says whether libjpeg found a contradiction. The other formats are checked by
what they hold for that purpose: PNG has checksums, GIF an end marker, WebP its own length.

Sources: the file jerror.h of libjpeg-turbo for its messages, RFC 2083 (PNG), the specification of
GIF89a, and the container specification of WebP.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from .images import READS

try:
    import simplejpeg
except ImportError:
    STRICT = ""
else:
    STRICT = simplejpeg.__version__
"""The version of simplejpeg; empty if it is not installed."""

SMALLEST = 32
"""The least width and height of the grey picture of ``decode_strictly``, if the image has as many
pixels. libjpeg shrinks an image to n eighths as it decodes it, which saves half of the time."""

DAMAGE = ("Corrupt JPEG data", "Premature end", "Inconsistent progression")
"""How those messages of libjpeg-turbo begin that say that data is missing, or contradicts itself.
The others are about what it cannot decode, or about harmless oddities of the header."""

ARITHMETIC = (b"\xff\xc9", b"\xff\xca")
"""The markers of JPEGs with arithmetic coding. libjpeg decodes them, but not piece by piece, as
Pillow reads larger ones."""

ZEROS = re.compile(rb"\0*")

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""The type of a PNG's colours -> the number of its channels."""

ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""The passes of an interlaced PNG: the first column and row of each, and the steps."""


class Decoded(NamedTuple):
    """What strict decoding says of a JPEG.

    Attributes:
        grey: (height, width) ``u1``, shrunk; None if the JPEG could not be decoded strictly.
        extent: Which width and height of ``grey`` show the image. libjpeg rounds up.
        damaged: Whether it was not decoded because its data is damaged.
    """

    grey: np.ndarray | None = None
    extent: tuple[float, float] = (0, 0)
    damaged: bool = False


def decode_strictly(content: bytes, size: tuple[int, int]) -> Decoded:
    """Decode a JPEG, or the first picture of an MPO, to grey, unless it contradicts itself.

    If that succeeds, Pillow can decode the image, too.

    Args:
        content: The file.
        size: Its width and height according to Pillow. An image that has another size according to
            libjpeg is not decoded, because that size is not limited.
    """
    if not STRICT:
        return Decoded()
    try:
        if simplejpeg.decode_jpeg_header(content)[:2] != size[::-1]:
            return Decoded()
        grey = simplejpeg.decode_jpeg(
            content, "GRAY", min_width=SMALLEST, min_height=SMALLEST, strict=True
        )
    except ValueError as error:
        return Decoded(damaged=str(error).startswith(DAMAGE))
    except RuntimeError:  # there was no memory for a decoder
        return Decoded()
    if any(marker in content for marker in ARITHMETIC):
        return Decoded()
    width, height = size
    sizes = {(-(-height * n // 8), -(-width * n // 8)): n / 8 for n in range(8, 0, -1)}
    scale = sizes[grey.shape[:2]]
    return Decoded(grey[..., 0], (width * scale, height * scale))


def is_damaged(content: bytes, image: Image.Image) -> bool:
    """Return whether an image that decodes lacks a part, or differs from its own checksums.

    Args:
        content: The file.
        image: The image, decoded. Formats that have nothing to check are not damaged; for JPEG, see
            ``decode_strictly``.
    """
    check = CHECKS.get(image.format or "")
    try:
        return check is not None and check(content, image)
    except IndexError:  # the file ends within a length
        return True


def _png_is_damaged(content: bytes, image: Image.Image) -> bool:
    """Follow the chunks to the end marker, check the checksum of each, and whether there are pixels
    for each row.

    Pillow checks neither those of the pixels, nor whether anything comes after them. Rows without
    pixels are 0, so that those of other images need not be counted.
    """
    view, at, parts = memoryview(content), 8, []
    for _ in range(READS):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return True
        if content.startswith(b"IDAT", at + 4):
            parts.append(view[at + 8 : end])
        if content.startswith(b"IEND", at + 4):
            last = image.height - 2, image.height - 1  # the last pass of Adam7 has every other row
            return any(map(partial(_is_blank, image), last)) and _is_short(content, parts)
        if end + 4 >= len(view):
            return True
        at = end + 4
    return False


def _is_blank(image: Image.Image, row: int) -> bool:
    """Return whether all bytes of a row are 0."""
    return row >= 0 and not any(image.crop((0, row, image.width, row + 1)).tobytes())


def _is_short(content: bytes, parts: list[memoryview]) -> bool:
    """Return whether the compressed data of a PNG ends before the picture does."""
    width, height, depth, colours, interlaced = struct.unpack_from(">IIBB2xB", content, 16)
    missing = 0
    for left, top, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // across), -((top - height) // down)
        bits = columns * depth * CHANNELS[colours]
        missing += rows * (1 + (bits + 7) // 8) if columns > 0 and rows > 0 else 0
    unpack = zlib.decompressobj()
    for part in parts:
        while part and missing > 0 and not unpack.eof:
            missing -= len(unpack.decompress(part, READS))
            part = memoryview(unpack.unconsumed_tail)
    return missing > 0


def _gif_is_damaged(content: bytes, _image: Image.Image) -> bool:
    """Follow the blocks to the end marker; training sees the first picture only."""
    at = 13 + _colours(content[10])
    for _ in range(READS):
        at = _after_zeros(content, at)
        kind = content[at]
        if kind == ord(";"):
            return False
        if kind == ord("!"):
            at += 2
        elif kind == ord(","):
            at += 11 + _colours(content[at + 9])
        else:
            return True
        while content[at]:
            at += 1 + content[at]
        at += 1
    return False


def _after_zeros(content: bytes, at: int) -> int:
    """Return the place of the next byte that is not zero; decoders pass over zeros."""
    found = ZEROS.match(content, at)
    return found.end() if found else at


def _colours(flags: int) -> int:
    """Return the length of the colour table that the flags of a GIF's block announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp_is_damaged(content: bytes, _image: Image.Image) -> bool:
    """Follow the chunks to the length that the file is said to have."""
    length, at = 8 + int.from_bytes(content[4:8], "little"), 12
    for _ in range(READS):
        if at >= length:
            break
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return at > length or length > len(content)


CHECKS: dict[str, Callable[[bytes, Image.Image], bool]] = {
    "GIF": _gif_is_damaged,
    "PNG": _png_is_damaged,
    "WEBP": _webp_is_damaged,
}
"""Pillow's name of a format -> the check of a file in it."""
