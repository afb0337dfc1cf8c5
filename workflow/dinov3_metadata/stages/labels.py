"""Labels: read a labels file in each form in which it can be read.

Which form counts is known only when the class folders are, see ``readings``.
"""

import os
import re
import shlex
from itertools import chain
from itertools import count as count_from

from ..artefacts import Labels
from ..coding import binary_kind, find_utf8_line, guess_codings
from ..disk import read_file
from ..errors import SHOWN, MetadataError, count, logger
from ..fingerprint import check_content, digest
from ..paths import LABEL_FILES, StrPath
from ..tables import FORMS
from .label_forms import LINES, form_of, is_even, line_refusal, tables_of

SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".yaml", ".yml")


def load_labels(*, labels: StrPath, source: str, content: str, instead: str = "") -> None:
    """Read a labels file and write its labels to a work file.

    Args:
        labels: Where to write the labels, see ``artefacts.Labels``.
        source, content: ``path`` and ``fingerprint`` of ``read_labels``.
        instead: What to say if the file is missing; empty to say that it is.

    Raises:
        MetadataError: See ``read_labels``.
    """
    if instead and not os.path.lexists(source):
        raise MetadataError(instead.splitlines())
    read_labels(source, content).save(labels)


def read_labels(path: StrPath, fingerprint: str | None = None) -> Labels:
    """Read a labels file in each form in which it can be read.

    The file is UTF-8 with or without a byte order mark and with any line ends; blank lines are
    skipped. In CSV, ids and names are exactly what the csv module returns, surrounding blanks
    included, because DINOv3 does the same (``ImageNet._load_labels``).

    Args:
        path: The file; empty to use the names of the class folders.
        fingerprint: The fingerprint that the file must still have, see ``fingerprint.of_content``;
            None to accept any.

    Raises:
        MetadataError: The file is missing, is not UTF-8 or has no rows, or cannot be read in any
            form. The message gives the file and the line number.
        DatasetChangedError: The file no longer has this fingerprint.

    Example:
        >>> read_labels("/data/imagenet/labels.txt").of(["n01440764"])
        ['tench']
    """
    if not path:
        logger.info("class names: the names of the class folders")
        return Labels("", "folders", [])
    try:
        return _read_tables(os.fspath(path), fingerprint)
    except MemoryError:
        raise MetadataError(
            f"The labels file {path} is too large: there is not enough memory."
        ) from None


def _read_tables(path: str, fingerprint: str | None) -> Labels:
    text, content = _read(path, fingerprint)
    tables = tables_of(text, path)
    if not tables or not tables[0].rows:
        raise MetadataError(f"The labels file {path} has no rows.", FORMS)
    form = form_of(text) if tables[0].form == "csv" else tables[0].form
    refusal = line_refusal(text, path, form) if form in LINES else []
    logger.info("%s: %s, %s", path, form, count(len(tables[0].rows), "row"))
    if form != "csv" and len(tables) > 1 and not is_even(tables[0]):
        del tables[0]  # it is no CSV; only a message about CSV would show it
    return Labels(path, form, tables, refusal, content)


def _read(path: str, fingerprint: str | None) -> tuple[str, str]:
    if os.path.exists(path) and not os.path.isfile(path):
        raise MetadataError(f"The labels file {path} is not a regular file.")
    try:
        content = read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise MetadataError(
            f"The labels file {path} does not exist. `labels: auto` takes the first of "
            f"{', '.join(LABEL_FILES)} in root, `labels: <FILE>` any other, and `labels: folders` "
            f"the names of the class folders.{_beside(path)}",
            FORMS,
        ) from None
    except OSError as error:
        raise MetadataError(f"The labels file {path} cannot be read: {error.strerror}.") from None
    if content.startswith(b"version https://git-lfs.github.com/spec/v1"):
        raise MetadataError(
            f"The labels file {path} is only a pointer of Git LFS. Get its content with "
            "`git lfs pull`."
        )
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)\b", content, re.IGNORECASE):
        raise MetadataError(
            f"The labels file {path} is an HTML page. Download the file itself, for instance with "
            "the button `Raw`."
        )
    if kind := binary_kind(content):
        raise MetadataError(f"The labels file {path} is not a text file, but {kind}.", FORMS)
    now = digest(content)
    check_content(path, now, fingerprint)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, content, error.start) from None
    if "\0" in text and guess_codings(content):  # UTF-16 without a mark
        raise _not_utf8(path, content, content.index(b"\0"))
    return text, now


def _beside(path: str) -> str:
    """Name some files beside a missing labels file that may have the class names."""
    try:
        names = sorted(os.listdir(os.path.dirname(path)))
    except OSError:
        return ""
    some = [name for name in names if name.lower().endswith(SUFFIXES)]
    return f" There is {' and '.join(some[:SHOWN])}." if some else ""


def _not_utf8(path: str, content: bytes, at: int) -> MetadataError:
    """Return the message for a file in another encoding, with the command that converts it."""
    line = content.count(b"\n", 0, at) + 1
    said = f"{path}, line {line}: byte 0x{content[at]:02x} is not UTF-8."
    utf8, others = find_utf8_line(content)
    if utf8:
        return MetadataError(
            f"{said} Line {utf8} is UTF-8, so no one command converts the file. Write all lines in "
            "UTF-8:",
            _as_read(content, utf8, ["UTF-8"]),
            _as_read(content, line, others),
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
            f"{_line(content, line, codings[0])!r}. Convert it, and set `labels:` to the new file, "
            f"{new}:",
            commands,
        )
    telling = _telling_line(content, codings)
    readings = zip(_as_read(content, telling, codings), commands, strict=True)
    return MetadataError(
        f"{said} The file reads as text in several encodings. Convert it from the one in which "
        f"line {telling} is right, and set `labels:` to the new file, {new}:",
        [one for reading in readings for one in reading],
    )


def _line(content: bytes, line: int, coding: str) -> str:
    """Return the start of a line of a text, by its number."""
    return content.decode(coding, "replace").split("\n")[line - 1].strip()[:80]


def _as_read(content: bytes, line: int, codings: list[str]) -> list[str]:
    """Return a line of a text as it reads in each of some encodings."""
    return [f"  line {line} in {one}: {_line(content, line, one)!r}" for one in codings]


def _telling_line(content: bytes, codings: list[str]) -> int:
    """Return the first line that reads differently in most of some encodings."""
    texts = [content.decode(coding).split("\n") for coding in codings]
    different = [len({*readings}) for readings in zip(*texts, strict=True)]
    return different.index(max(different)) + 1
