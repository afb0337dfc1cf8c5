"""Tar headers: read the header of one member of a tar, whatever program wrote it.

Source: tar(5) of libarchive; POSIX.1-2017, pax Interchange Format; GNU tar 1.34, Basic Tar Format.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

BLOCK = 512  # bytes

REGULAR = b"07\0"
"""The types of members that are plain files; 7 asks for contiguous storage."""

KINDS = {b"2": "links", b"3": "devices", b"4": "devices", b"5": "folders", b"6": "FIFOs"}
"""Type of a member that is left out -> what to call several."""

REFUSED = {
    b"1": "a hard link to another member",
    b"S": "a sparse file",
    b"M": "the rest of a file that began in another archive",
}
"""Type of a member that cannot be read in place -> what to call it."""

BODILESS = b"123456"
"""The types of members without data, whatever their size says."""


class HeaderError(Exception):
    """These bytes are not the header of a member; the argument says what they lack."""


class Header(NamedTuple):
    """The header of a member.

    Attributes:
        name: Its path in the archive, as bytes.
        size: How many bytes of data follow.
        kind: Its type, one byte.
    """

    name: bytes
    size: int
    kind: bytes


def read_header(block: bytes) -> Header:
    """Read a header block.

    Args:
        block: 512 bytes, not all of them zero.

    Raises:
        HeaderError: It is not a header: its checksum, or one of its numbers, is wrong.
    """
    name, size, stored, kind, magic = struct.unpack("100s 24x 12s 12x 8s c 100x 8s 247x", block)
    prefix = block[345:500]
    told = number(stored)
    rest = block[:148] + b" " * 8 + block[156:]
    if told != sum(rest) and told != sum(rest) - 256 * sum(byte > 127 for byte in rest):
        raise HeaderError("the checksum of a header")  # old programs add up signed bytes
    length = number(size)
    if length < 0:
        raise HeaderError("the size of a member")
    name = name.partition(b"\0")[0]
    if magic == b"ustar\x0000" and (above := prefix.partition(b"\0")[0]):
        name = above + b"/" + name
    return Header(name, 0 if kind in BODILESS else length, kind)


def number(field: bytes) -> int:
    """Return a number as a header has it: octal digits, or a binary number after a byte of 0x80.

    Example:
        >>> number(b"0000017\\0"), number(b"\\x80\\0\\0\\x01\\0")
        (15, 256)
    """
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big", signed=field[0] == 0xFF)
    digits = field.replace(b"\0", b" ").strip()
    try:
        return int(digits or b"0", 8)
    except ValueError:
        return -1


def pax_records(data: bytes) -> dict[str, bytes]:
    """Return the records of an extended header: lines of the form ``LENGTH KEY=VALUE``.

    Raises:
        HeaderError: They are damaged.
    """
    records = {}
    while data.strip(b"\0"):
        length = int(found[1]) if (found := re.match(rb"(\d{1,10}) ", data)) else 0
        key, equals, value = data[len(found[0]) if found else 0 : length - 1].partition(b"=")
        if not equals or data[length - 1 : length] != b"\n":
            raise HeaderError("the records of an extended header")
        records[key.decode(errors="replace")] = value
        data = data[length:]
    return records


def quoted(name: bytes) -> str:
    r"""Return a name as GNU tar prints it where names are UTF-8: what cannot be printed is escaped.

    Example:
        >>> quoted("猫 1.JPEG".encode()), quoted(b"a\n\xff.JPEG")
        ('猫 1.JPEG', 'a\\n\\377.JPEG')
    """
    text = name.decode(errors="surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if char in ESCAPES or char.isprintable():
        return ESCAPES.get(char, char)
    return "".join(f"\\{byte:03o}" for byte in char.encode(errors="surrogateescape"))


ESCAPES = {char: repr(char)[1:-1] for char in "\n\r\t\\"}
ESCAPES |= {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\v": r"\v"}
"""Character -> its escape, where it has one of its own."""


def padded(size: int) -> int:
    """Return a number of bytes, rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK
