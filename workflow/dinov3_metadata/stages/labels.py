"""Labels: read the name of each class id from a labels file."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress

from ..artefacts import Labels
from ..disk import read_file
from ..errors import MetadataError, count, logger
from ..fingerprint import check_content, digest
from ..paths import LABEL_FILES, StrPath

Rows = Iterator[tuple[int, str, str]]
"""Line, class id and class name of each row."""

FORMS = """\
A labels file has one class per line, its id before its name, in one of these forms:
  n01440764,tench                    CSV; names with commas in quotes: n01443537,"goldfish, carp"
  n01440764 tench, Tinca tinca       a space, a tab or a colon; of several names, the first is used
or JSON in Keras' format: {"0": ["n01440764", "tench"], ...}""".splitlines()

LINES = {
    "blanks": (r"(\S+)(?!\s+\d+\s+\S)\s+(.+)", "a space"),
    "tab": (r"([^\t]*[^\t ]) *\t\s*+([^\t]+)", "a tab"),
    "colon": (r"([^:]*[^:\s])\s*:(?!\s*\d+\s*:)\s*+(.+)", "a colon"),
}
"""Form -> the pattern of a line without surrounding blanks, and the separator in words.

A number between id and name, as in a file with three columns, does not start a name.

Matching takes time linear in the length of the line, and not quadratic: either no blank can match
two neighbouring parts of a pattern, or the first part is possessive and never gives a blank back.
"""


def load_labels(*, labels: StrPath, source: str, content: str) -> None:
    """Read a labels file and write its labels to a work file.

    Args:
        labels: Where to write the labels, see ``artefacts.Labels``.
        source, content: ``path`` and ``fingerprint`` of ``read_labels``.

    Raises:
        MetadataError: See ``read_labels``.
    """
    read_labels(source, content).save(labels)


def read_labels(path: StrPath, fingerprint: str | None = None) -> Labels:
    """Read a labels file.

    The file is UTF-8 with or without a byte order mark and with any line ends; blank lines are
    skipped. In CSV, ids and names are exactly what the csv module returns, surrounding blanks
    included, because DINOv3 does the same (``ImageNet._load_labels``).

    Args:
        path: The file; empty to use the names of the class folders.
        fingerprint: The fingerprint that the file must still have, see ``fingerprint.of_content``;
            None to accept any.

    Raises:
        MetadataError: The file is missing, is not UTF-8 or has no rows, a row is not an id and a
            name, or an id occurs twice. The message gives the file and the line number.
        DatasetChangedError: The file no longer has this fingerprint.

    Example:
        >>> read_labels("/data/imagenet/labels.txt").names["n01440764"]
        'tench'
    """
    if not path:
        logger.info("class names: the names of the class folders")
        return Labels("", "folders", {})
    try:
        return _read_rows(path, fingerprint)
    except MemoryError:
        raise MetadataError(
            f"The labels file {path} is too large: there is not enough memory."
        ) from None


def _read_rows(path: StrPath, fingerprint: str | None) -> Labels:
    text, content = _read(path, fingerprint)
    form, rows = _rows(text, path)
    names: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for line, class_id, class_name in rows:
        if class_id in names:
            raise MetadataError(
                f"{path}, line {line}: the class id {class_id!r} is already in line "
                f"{line_of[class_id]}. Each class must have one row: remove one of the two."
            )
        for what, value in (("class id", class_id), ("class name", class_name)):
            if not value:
                raise MetadataError(
                    f"{path}, line {line}: the {what} is empty. Each class needs an id and a name."
                )
            if "\0" in value or value != value.encode(errors="replace").decode():
                raise MetadataError(
                    f"{path}, line {line}: the {what} contains a character that is not text. "
                    "Remove it."
                )
        names[class_id], line_of[class_id] = class_name, line
    if not names:
        raise MetadataError(f"The labels file {path} has no rows.", FORMS)
    logger.info("%s: %s, %s", path, form, count(len(names), "class", "classes"))
    return Labels(os.fspath(path), form, names, content)


def _read(path: StrPath, fingerprint: str | None) -> tuple[str, str]:
    if os.path.exists(path) and not os.path.isfile(path):
        raise MetadataError(f"The labels file {path} is not a regular file.")
    try:
        content = read_file(path)
        text = content.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise MetadataError(
            f"The labels file {path} does not exist. `labels: auto` takes the first of "
            f"{', '.join(LABEL_FILES)} in root, `labels: <FILE>` any other, and `labels: folders` "
            "the names of the class folders.",
            FORMS,
        ) from None
    except OSError as error:
        raise MetadataError(f"The labels file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        coding = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
        raise MetadataError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8. "
            f"Save the file as UTF-8 (for instance `iconv -f {coding} -t UTF-8`)."
        ) from None
    now = digest(content)
    check_content(path, now, fingerprint)
    return text, now


def _rows(text: str, path: StrPath) -> tuple[str, Rows]:
    """Return the form of a labels file, see ``artefacts.Labels``, and its rows."""
    if re.match(r'\s*[\[{]\s*[\["]', text):
        return "json", _json_rows(text, path)
    form = form_of(text)
    return form, _csv_rows(text, path) if form == "csv" else _line_rows(text, path, form)


def form_of(text: str) -> str:
    """Detect the form of some lines: ``csv``, ``blanks``, ``tab`` or ``colon``.

    If the first line starts with a WordNet id, the character after it decides. Other ids may
    contain blanks and colons in CSV, as in ``great cat,Great Cat``, so such lines are CSV if every
    line has two columns. Otherwise the first line decides.
    """
    lines = [line for line in io.StringIO(text, newline=None) if line.strip()]
    first = lines[0].strip() if lines else ""
    if found := re.match(r"n\d{8}(\s*:|\s+|,)", first):
        kinds = {",": "csv", ":": "colon", "\t": "tab"}
        return next((form for mark, form in kinds.items() if mark in found[1]), "blanks")
    if re.match(r'[^,"]*\t', first):
        return "tab"
    with suppress(csv.Error):
        if all(len(row) == 2 for row in csv.reader(lines)):
            return "csv"
    if first.startswith('"') or re.search(r",\S", first) or not re.search(r"\S[\s:]+\S", first):
        return "csv"
    return "colon" if ":" in first else "blanks"


def _line_rows(text: str, path: StrPath, form: str) -> Rows:
    """Yield the rows of a file whose lines have an id, a separator and one or more names."""
    pattern, separator = LINES[form]
    for line, row in enumerate(map(str.strip, io.StringIO(text, newline=None)), 1):
        if not row:
            continue
        found = re.fullmatch(pattern, row)
        if not found:
            raise MetadataError(
                f"{path}, line {line}: {row[:80]!r} is not an id, {separator} and a name.",
                FORMS,
            )
        quoted = re.fullmatch(r"""(["'])(.*)\1""", found[2])
        yield line, found[1], quoted[2] if quoted else found[2].partition(",")[0].strip()


def _csv_rows(text: str, path: StrPath) -> Rows:
    # DINOv3 opens the file in text mode, so a line end inside quotes becomes "\n" as well.
    rows = csv.reader(io.StringIO(text, newline=None))
    start = 1
    try:
        for row in rows:
            if "".join(row).strip() or len(row) > 1:
                class_id, name = _check_columns(row, path, start)
                yield start, class_id, name
            start = rows.line_num + 1
    except csv.Error as error:
        raise MetadataError(f"{path}, line {start}: {error}.") from None


def _check_columns(row: list[str], path: StrPath, line: int) -> list[str]:
    if len(row) > 2:
        quoted = ",".join(row[1:]).replace('"', '""')
        raise MetadataError(
            f"{path}, line {line}: {len(row)} columns, but an id and a name are expected. "
            "A name with a comma needs quotes:",
            f'  {row[0]},"{quoted}"',
        )
    if len(row) < 2:
        raise MetadataError(
            f"{path}, line {line}: only one column ({row[0][:80]!r}), but an id, a comma and a "
            "name are expected.",
            FORMS,
        )
    return row


def _json_rows(text: str, path: StrPath) -> Rows:
    """Yield the rows of Keras' ``imagenet_class_index.json``, with the entry number as the line."""
    try:
        classes = json.loads(text, object_pairs_hook=list)  # the same key twice is two entries
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise MetadataError(f"{path}, line {line}: this is not JSON ({error}).", FORMS) from None
    for entry, pair in enumerate(classes, 1):
        keyed = isinstance(pair, tuple)
        name, row = pair if keyed else (entry, pair)
        whole = keyed and isinstance(row, list) and len(row) == 2
        if not whole or not all(isinstance(value, str) for value in row):
            raise MetadataError(
                f"{path}: the entry {name!r} is {_shown(row)}, not an id and a name.",
                FORMS,
            )
        yield entry, *row


def _shown(value: object) -> str:
    try:
        return str(value)[:80]
    except RecursionError:
        return "nested too deeply"
