"""Texts: read a text file that a user named, and say what is wrong with one that is none."""

from __future__ import annotations

import os
import re
import shlex
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from itertools import count as count_from
from typing import NamedTuple

from .coding import binary_kind, find_utf8_line, guess_codings
from .disk import open_regular, read_file
from .errors import SHOWN, MetadataError

SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".yaml", ".yml")


BLOCK = 1 << 18  # bytes of a long list that are read at a time
LONGEST = 1 << 20  # most bytes of a line in a long list


class TextFile(NamedTuple):
    """A text file that a user named.

    Attributes:
        path: The file.
        setting: The setting that names it, as it is to be set to another file: ``labels``.
        what: What to call the file at the beginning of a sentence.
        place: What to write before the number of a line.
        missing: What to say besides if the file does not exist.
        forms: The forms that it may have, to be shown where it has another one.
    """

    path: str
    setting: str
    what: str
    place: str
    missing: str = ""
    forms: Sequence[str] = ()


@contextmanager
def reading(file: TextFile) -> Iterator[None]:
    """Turn what the system says of a file that cannot be read into a message.

    Raises:
        MetadataError: The file is missing, is not a regular file, or cannot be read.
    """
    if os.path.exists(file.path) and not os.path.isfile(file.path):
        raise MetadataError(f"{file.what} is not a regular file.")
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise MetadataError(
            f"{file.what} does not exist.{file.missing}{_beside(file.path)}", file.forms
        ) from None
    except OSError as error:
        raise MetadataError(f"{file.what} cannot be read: {error.strerror}.") from None


def check_kind(file: TextFile, content: bytes) -> None:
    """Refuse what is no text file, or only stands for one.

    Args:
        file: The file.
        content: Its content, or the beginning of it.

    Raises:
        MetadataError: It is a pointer of Git LFS, a web page or a binary file.
    """
    if content.startswith(b"version https://git-lfs.github.com/spec/v1"):
        raise MetadataError(
            f"{file.what} is only a pointer of Git LFS. Get its content with `git lfs pull`."
        )
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)\b", content, re.IGNORECASE):
        raise MetadataError(
            f"{file.what} is an HTML page. Download the file itself, for instance with the button "
            "`Raw`."
        )
    if kind := binary_kind(content):
        raise MetadataError(f"{file.what} is not a text file, but {kind}.", file.forms)


def read_content(file: TextFile) -> bytes:
    """Return the content of a text file.

    Raises:
        MetadataError: See ``reading`` and ``check_kind``.
    """
    with reading(file):
        content = read_file(file.path)
    check_kind(file, content)
    return content


def read_blocks(file: TextFile) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a text file, block by block, so that a large file needs little memory.

    Yields:
        The number of the first line of a block, and some whole lines. Each ends with a line feed,
        however it ends in the file.

    Raises:
        MetadataError: See ``read_content`` and ``decode``; or it contains a NUL, or a line is too
            long.
    """
    number, rest = 1, b""
    with reading(file), open_regular(file.path) as stream:
        while more := stream.read(BLOCK):
            if number == 1 and not rest:
                check_kind(file, more)
                if b"\0" in more:  # it may be UTF-16
                    decode(file, more[: BLOCK // 16])
                more = more.removeprefix(BOM_UTF8)
            if more.endswith(b"\r"):
                more += stream.read(1)
            if b"\r" in more:
                more = more.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            whole, end, rest = (rest + more).rpartition(b"\n")
            if len(rest) > LONGEST:
                number += whole.count(b"\n") + len(end)
                raise MetadataError(
                    f"{file.place}, line {number}: the line is longer than {LONGEST:,} bytes."
                )
            if end:
                yield number, checked(file, whole + end, number)
                number += whole.count(b"\n") + 1
    if rest:
        yield number, checked(file, rest + b"\n", number)


def checked(file: TextFile, block: bytes, number: int) -> bytes:
    """Return some lines unless they are no text.

    Args:
        file: The file.
        block: The lines.
        number: The number of the first one.

    Raises:
        MetadataError: See ``read_blocks``.
    """
    if not block.isascii():
        decode(file, block, number - 1)
    if b"\0" in block:
        line = number + block.count(b"\n", 0, block.index(b"\0"))
        raise MetadataError(
            f"{file.place}, line {line}: the line contains a NUL, so this is not a text file."
        )
    return block


def decode(file: TextFile, content: bytes, before: int = 0) -> str:
    """Return the text of a file, without its byte order mark.

    Args:
        file, content, before: See ``not_utf8``.

    Raises:
        MetadataError: It is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(file, content, error.start, before) from None
    if "\0" in text and guess_codings(content):  # UTF-16 without a mark
        raise not_utf8(file, content, content.index(b"\0"), before)
    return text


def _beside(path: str) -> str:
    """Name some files beside a missing text file that may be meant."""
    try:
        names = sorted(os.listdir(os.path.dirname(path)))
    except OSError:
        return ""
    own = os.path.basename(path)  # it may be there, as a link to nothing
    some = [name for name in names if name.lower().endswith(SUFFIXES) and name != own]
    return f" There is {' and '.join(some[:SHOWN])}." if some else ""


def not_utf8(file: TextFile, content: bytes, at: int, before: int = 0) -> MetadataError:
    """Return the message for a file in another encoding, with the command that converts it.

    Args:
        file: The file.
        content: Its content, or some whole lines of it.
        at: Where in ``content`` the first byte is that is not UTF-8.
        before: How many lines of the file come before ``content``.
    """
    path = file.path
    line = content.count(b"\n", 0, at) + 1
    said = f"{file.place}, line {before + line}: byte 0x{content[at]:02x} is not UTF-8."
    utf8, others = find_utf8_line(content)
    if utf8:
        return MetadataError(
            f"{said} Line {before + utf8} is UTF-8, so no one command converts the file. Write all "
            "lines in UTF-8:",
            _as_read(content, utf8, ["UTF-8"], before),
            _as_read(content, line, others, before),
        )
    codings = guess_codings(content)
    if not codings:
        return MetadataError(
            f"{said} Save the file as UTF-8. It is not text in any other encoding that was tried, "
            "so part of it may be damaged or in yet another one."
        )
    start, end = os.path.splitext(path)
    some = (f"{start}.utf8{number}{end}" for number in chain([""], count_from(2)))
    new = next(one for one in some if not os.path.lexists(one))
    commands = [
        f"  iconv -f {coding} -t UTF-8 {shlex.quote(path)} > {shlex.quote(new)}"
        for coding in codings
    ]
    if len(codings) == 1:
        return MetadataError(
            f"{said} The file reads as text in {codings[0]}, where this line is "
            f"{_line(content, line, codings[0])!r}. Convert it, and set `{file.setting}:` to "
            f"the new file, {new}:",
            commands,
        )
    telling = _telling_line(content, codings)
    readings = zip(_as_read(content, telling, codings, before), commands, strict=True)
    return MetadataError(
        f"{said} The file reads as text in several encodings. Convert it from the one in which "
        f"line {before + telling} is right, and set `{file.setting}:` to the new file, {new}:",
        [one for reading in readings for one in reading],
    )


def _line(content: bytes, line: int, coding: str) -> str:
    """Return the start of a line of a text, by its number."""
    return content.decode(coding, "replace").split("\n")[line - 1].strip()[:80]


def _as_read(content: bytes, line: int, codings: list[str], before: int) -> list[str]:
    """Return a line of a text as it reads in each of some encodings.

    Args:
        content, before: See ``not_utf8``.
        line: The number of the line in ``content``.
        codings: The encodings.
    """
    return [f"  line {before + line} in {one}: {_line(content, line, one)!r}" for one in codings]


def _telling_line(content: bytes, codings: list[str]) -> int:
    """Return the first line that reads differently in most of some encodings."""
    texts = [content.decode(coding).split("\n") for coding in codings]
    different = [len({*readings}) for readings in zip(*texts, strict=True)]
    return different.index(max(different)) + 1
