"""Damage: find out whether the content of an image that decodes is what was once written.

Pillow decodes what is left of a damaged JPEG without a word, and so does training. ``simplejpeg``,
which is optional, says whether libjpeg found a contradiction. The other formats are checked by
what they hold for that purpose: PNG has checksums, GIF an end marker, WebP its own length.

Sources: the file jerror.h of libjpeg-turbo for its messages, RFC 2083 (PNG), the specification of
GIF89a, and the container specification of WebP.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

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


def is_damaged(content: bytes, image_format: str) -> bool:
    """Return whether an image that decodes lacks a part, or differs from its own checksums.

    Args:
        content: The file.
        image_format: Pillow's name of the format. Formats that have nothing to check are not
            damaged; for JPEG, see ``decode_strictly``.
    """
    check = CHECKS.get(image_format)
    try:
        return check is not None and check(content)
    except IndexError:  # the file ends within a length
        return True


def _png_is_damaged(content: bytes) -> bool:
    """Follow the chunks to the end marker, and check the checksum of each.

    Pillow does not check those of the pixels, nor whether anything comes after them.
    """
    view, at = memoryview(content), 8
    for _ in range(READS):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return True
        if content.startswith(b"IEND", at + 4):
            return False
        if end + 4 >= len(view):
            return True
        at = end + 4
    return False


def _gif_is_damaged(content: bytes) -> bool:
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


def _webp_is_damaged(content: bytes) -> bool:
    """Follow the chunks to the length that the file is said to have."""
    length, at = 8 + int.from_bytes(content[4:8], "little"), 12
    for _ in range(READS):
        if at >= length:
            break
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return at > length or length > len(content)


CHECKS: dict[str, Callable[[bytes], bool]] = {
    "GIF": _gif_is_damaged,
    "PNG": _png_is_damaged,
    "WEBP": _webp_is_damaged,
}
"""Pillow's name of a format -> the check of a file in it."""
