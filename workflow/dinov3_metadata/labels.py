"""Labels: which class id has which name."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .disk import read_file, remove_folders
from .errors import MetadataError, count, listing, logger
from .files import reading, write_atomically
from .fingerprint import check_content, digest, of_content
from .layout import StrPath

Rows = Iterator[tuple[int, str, str]]
"""Line, class id and class name of each row."""

SOURCES = ("labels.txt", "LOC_synset_mapping.txt", "words.txt", "imagenet_class_index.json")
"""Where ``labels: auto`` looks, in this order."""

FORMS = """\
A labels file has one class a line, its id before its name, in one of these forms:
  n01440764,tench                    CSV; names with commas in quotes: n01443537,"goldfish, carp"
  n01440764 tench, Tinca tinca       a blank, a tab or a colon; the first of several names counts
or is JSON as Keras has it: {"0": ["n01440764", "tench"], ...}""".splitlines()

LINES = {
    "blanks": (r"(\S+)(?!\s+\d+\s+\S)\s+(.+)", "a blank"),
    "tab": (r"([^\t]*[^\t ]) *\t\s*+([^\t]+)", "a tab"),
    "colon": (r"([^:]*[^:\s])\s*:(?!\s*\d+\s*:)\s*+(.+)", "a colon"),
}
"""Form -> what a line of it matches, without the blanks around it, and what is between id and name.
A number in between, as of a third column, is no part of a name, unless the name is in quotes.

Each takes a time that grows with the length of the line, not with its square: no two parts next to
each other can share the same blanks, or the first one never gives any back."""


@dataclass(frozen=True)
class Labels:
    """The names of classes.

    Attributes:
        source: The file they were read from; empty if the folders' names are the classes' names.
        form: ``csv``, ``blanks``, ``tab``, ``colon`` or ``json``; ``folders`` without a file.
        names: Class id -> class name, in the order of the file.
        content: The fingerprint of the file; empty without one.
    """

    source: str
    form: str
    names: dict[str, str]
    content: str = ""

    def save(self, path: StrPath) -> None:
        """Write the labels to ``path`` as JSON."""
        with write_atomically(path) as file:
            file.write(json.dumps([vars(self), digest(vars(self))], indent=0).encode())

    @classmethod
    def load(cls, path: StrPath) -> "Labels":
        """Read what ``save`` wrote.

        Raises:
            MetadataError: The file is not whole; it is removed.
        """
        with reading(path):
            labels, due = json.loads(read_file(path))
            if digest(labels) != due:
                raise ValueError("its digest is another")
            return cls(**labels)

    def of(self, class_ids: Sequence[str]) -> list[str]:
        """The name of each class, matched by id; ids without a class folder are passed over.

        Raises:
            MetadataError: Some class folders have no row in the labels file.
        """
        if self.form == "folders":
            return list(class_ids)
        missing = [class_id for class_id in class_ids if class_id not in self.names]
        if missing:
            check_content(self.source, of_content(self.source), self.content)
            what = count(len(missing), "class folder has", "class folders have")
            raise MetadataError(
                f"{what} no row in {self.source}, read as {self.form}:",
                listing(missing, len(missing)),
                "Add a row for each, or move folders that are no classes out of the split.",
            )
        return [self.names[class_id] for class_id in class_ids]


def find_labels(root: StrPath, labels: str, own_names: bool = False) -> str:
    """The labels file that a setting means.

    Args:
        root: The dataset's folder.
        labels: A path, relative to root or absolute; ``auto`` for the first of ``SOURCES`` that
            there is; ``folders`` for none.
        own_names: Whether ``auto`` needs no file.

    Returns:
        A path, whether or not there is a file; empty for ``folders``.
    """
    if labels == "folders":
        return ""
    names = SOURCES if labels == "auto" else [os.path.expanduser(labels)]
    paths = [os.path.join(root, name) for name in names]
    nothing = "" if labels == "auto" and own_names else paths[0]
    return next(filter(os.path.lexists, paths), nothing)


def load_labels(path: StrPath, fingerprint: str, out: StrPath) -> None:
    """Read a labels file and keep the labels in a folder of their name, beside those that some
    split still uses; others are removed.

    Args:
        path, fingerprint: See ``read_labels``.
        out: Where to write the labels.

    Raises:
        MetadataError: See ``read_labels``.
    """
    read_labels(path, fingerprint).save(out)
    folder = Path(out).parent
    used = {used.name for used in folder.parent.parent.glob("*/*/labels-*")}
    remove_folders(folder.parent, {folder.name, *used})


def read_labels(path: StrPath, fingerprint: str | None = None) -> Labels:
    """Read a labels file.

    UTF-8 with or without a byte order mark, any line ends, blank lines passed over. In CSV, ids and
    names stay exactly as the csv module reads them, blanks around them included, because DINOv3
    does the same (``ImageNet._load_labels``).

    Args:
        path: As of ``find_labels``.
        fingerprint: What ``fingerprint.of_content`` said of the file, if it must still be that.

    Raises:
        MetadataError: The file is missing or not UTF-8, has no rows, or has a row that is not an id
            and a name, or the same id twice; with file and line number. Or it has changed.
    """
    if not path:
        logger.info("the names of the class folders are those of the classes")
        return Labels("", "folders", {})
    try:
        return _read_rows(path, fingerprint)
    except MemoryError:
        raise MetadataError(f"The labels file {path} is too large for the memory.") from None


def _read_rows(path: StrPath, fingerprint: str | None) -> Labels:
    text, content = _read(path, fingerprint)
    form, rows = _rows(text, path)
    names: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for line, class_id, class_name in rows:
        if class_id in names:
            raise MetadataError(
                f"{path}, line {line}: the class id {class_id!r} stands already in line "
                f"{line_of[class_id]}. Each class has one row: remove one of the two."
            )
        for what, value in (("class id", class_id), ("class name", class_name)):
            if not value:
                raise MetadataError(
                    f"{path}, line {line}: the {what} is empty. Each class needs an id and a name."
                )
            if "\0" in value or value != value.encode(errors="replace").decode():
                raise MetadataError(
                    f"{path}, line {line}: the {what} holds a character that is no text. Remove it."
                )
        names[class_id], line_of[class_id] = class_name, line
    if not names:
        raise MetadataError(f"The labels file {path} has no rows.", FORMS)
    logger.info("%s: %s, %s", path, form, count(len(names), "class", "classes"))
    return Labels(os.fspath(path), form, names, content)


def _read(path: StrPath, fingerprint: str | None) -> tuple[str, str]:
    if os.path.exists(path) and not os.path.isfile(path):
        raise MetadataError(f"The labels file {path} is not a file.")
    try:
        content = read_file(path)
        text = content.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise MetadataError(
            f"The labels file {path} does not exist. `labels: auto` takes the first of "
            f"{', '.join(SOURCES)} in root, `labels: <FILE>` any other, and `labels: folders` the "
            "names of the class folders.",
            FORMS,
        ) from None
    except OSError as error:
        raise MetadataError(f"The labels file {path} can not be read: {error.strerror}.") from None
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
    """The form of a labels file, as its first line tells, and its rows."""
    if re.match(r'\s*[\[{]\s*[\["]', text):
        return "json", _json_rows(text, path)
    form = form_of(text)
    return form, _csv_rows(text, path) if form == "csv" else _line_rows(text, path, form)


def form_of(text: str) -> str:
    """The form of some lines: ``csv``, ``blanks``, ``tab`` or ``colon``, as the first one tells.

    What follows a WordNet id tells at once. Other ids may hold blanks and colons in CSV, as in
    ``great cat,Great Cat``: there, two columns in every line tell.
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
    """The rows of a file with an id, a separator and one or more names a line."""
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
            f"{path}, line {line}: {len(row)} columns where an id and a name are due. "
            "A name with a comma needs quotes:",
            f'  {row[0]},"{quoted}"',
        )
    if len(row) < 2:
        raise MetadataError(
            f"{path}, line {line}: only one column ({row[0][:80]!r}), where an id, a comma and a "
            "name are due.",
            FORMS,
        )
    return row


def _json_rows(text: str, path: StrPath) -> Rows:
    """The rows of Keras' ``imagenet_class_index.json``; the line is that of the entry."""
    try:
        classes = json.loads(text, object_pairs_hook=list)  # the same key twice is two entries
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise MetadataError(f"{path}, line {line}: this is no JSON ({error}).", FORMS) from None
    for entry, pair in enumerate(classes, 1):
        keyed = isinstance(pair, tuple)
        name, row = pair if keyed else (entry, pair)
        whole = keyed and isinstance(row, list) and len(row) == 2
        if not whole or not all(isinstance(one, str) for one in row):
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
