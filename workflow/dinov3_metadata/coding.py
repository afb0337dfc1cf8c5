"""Coding: find the encoding in which bytes that are not UTF-8 read as text."""

from __future__ import annotations

import re

BINARY = {
    b"PK\x03\x04": "a zip file (.xlsx and .npz are zip files, too)",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"MATLAB": "a MATLAB file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"PAR1": "a Parquet file",
    b"SQLite": "an SQLite database",
    b"%PDF": "a PDF file",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
}
"""How files that are not text start -> what they are."""

PICKLE = rb"\x80[\x02-\x05][\x00-\x7f\x80-\x8c\x94\x95]"

COMMON = {
    "GBK": rb"[\xb0-\xd7][\xa1-\xfe]",
    "BIG5": rb"[\xa4-\xc6][\x40-\x7e\xa1-\xfe]",
    "SHIFT_JIS": rb"[\x82\x83][\x40-\x7e\x80-\xf1]|[\x88-\x97][\x40-\x7e\x80-\xfc]",
}
"""Encoding, as iconv calls it -> the pattern of its frequent characters of two bytes.

GBK and Big5 put the few thousand most frequent characters first, as does Shift-JIS after the kana.
So most characters of a text match the pattern of its own encoding.
"""

UNUSED = rb"[\x81\x83\x86-\x90\x98-\x9f]"  # in Latin-1 and Windows-1252, not in a text


def binary_kind(content: bytes) -> str:
    """Return what a file is that is not text; empty if it may be text."""
    for start, kind in BINARY.items():
        if content.startswith(start):
            return kind
    return "a Python pickle" if re.match(PICKLE, content) or _is_old_pickle(content) else ""


def _is_old_pickle(content: bytes) -> bool:
    """Return whether this is a pickle of protocol 0 or 1, which may be ASCII."""
    return bool(re.match(rb"\(?[dl]p0\n|[\]}]q\x00", content)) and content.endswith(b".")


def guess_coding(content: bytes) -> str:
    """Return the encoding in which bytes that are not UTF-8 read as text, as iconv calls it.

    Empty if they read as text in none of those that are tried: UTF-16, GBK, Big5, Shift-JIS and
    Latin-1, with what Windows adds to it.
    """
    if found := _utf16(content):
        return found
    western = "WINDOWS-1252" if re.search(rb"[\x80-\x9f]", content) else "LATIN1"
    if not re.search(rb"[\x80-\xff]{2}|" + UNUSED, content):
        return western if _decodes(content, western) else ""  # accents are among plain letters
    shares = {coding: _share(content, coding) for coding in COMMON if _decodes(content, coding)}
    best = max(shares, key=lambda coding: shares[coding], default="")
    if best and (shares[best] or not re.search(rb"[ -~][\x80-\xff](?![\x80-\xff])", content)):
        return best
    control = re.search(rb"[\x00-\x08\x0e-\x1f\x7f]|" + UNUSED, content)
    return western if not control and _decodes(content, western) else ""


def _utf16(content: bytes) -> str:
    """Return which UTF-16 this is: with a byte order mark, or mostly ASCII in two bytes each."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16" if _decodes(content, "UTF-16") else ""
    some = content[:2000]
    for coding, zeros in (("UTF-16LE", some[1::2]), ("UTF-16BE", some[::2])):
        others = some[::2] if coding == "UTF-16LE" else some[1::2]
        if zeros.count(0) > len(zeros) / 2 and not others.count(0) and _decodes(content, coding):
            return coding
    return ""


def _share(content: bytes, coding: str) -> float:
    """Return which part of the characters that are not ASCII are frequent in an encoding."""
    others = [char for char in content.decode(coding)[:10_000] if not char.isascii()]
    frequent = [char for char in others if re.fullmatch(COMMON[coding], char.encode(coding))]
    return len(frequent) / max(1, len(others))


def _decodes(content: bytes, coding: str) -> bool:
    try:
        text = content.decode(coding)
    except UnicodeDecodeError:
        return False
    return "\0" not in text
