"""Tables: the rows of a labels file, and the columns that may contain the class ids."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

FORMS = """\
A labels file has one class per line, its id before its name, in one of these forms:
  n01440764,tench                    CSV; names with commas in quotes: n01443537,"goldfish, carp"
  n01440764 tench, Tinca tinca       a space, a tab or a colon; of several names, the first is used
or JSON, Python or YAML: {"n01440764": "tench", ...}, or Keras' {"0": ["n01440764", "tench"], ...}\
""".splitlines()

COMMENT = re.compile(r"#(\s|$)")

NAMES = (
    *("name", "names", "class_name", "classname", "class name", "label_name", "category_name"),
    *("label", "labels", "class", "classes", "category", "lemma", "lemmas", "words", "title"),
    *("species", "description", "text"),
)
"""The titles of a column with names; of several such columns, the first title here counts."""

TITLES = {
    *NAMES,
    *("id", "ids", "class_id", "classid", "class id", "wnid", "wnids", "synset", "synset_id"),
    *("folder", "dir", "directory", "index", "idx", "class_index", "class_idx", "label_id"),
    *("category_id", "key", "code", "number", "no"),
}
"""The titles of columns, by which a header line is recognised."""


MOST = 64  # columns of a table that is looked at


class Lines(NamedTuple):
    """The lines of a file that are not blank, without surrounding blanks, and their numbers."""

    texts: list[str]
    numbers: list[int]


class Table(NamedTuple):
    """The rows of a labels file, read in some form.

    Attributes:
        form: The form, see ``artefacts.Labels``.
        rows: The cells of each row. CSV may have rows of different lengths, which cannot be used,
            but shown in a message.
        lines: The line of each row; in JSON and YAML, the number of the entry.
        header: The titles of the columns, if they are not a row. Otherwise empty.
    """

    form: str
    rows: list[list[str]]
    lines: list[int]
    header: Sequence[str] = ()

    def place(self, row: int) -> str:
        """Return where a row is in its file."""
        entry = self.form in ("json", "yaml")
        return f"{'entry' if entry else 'line'} {self.lines[row]}"


class Column(NamedTuple):
    """A column of a table that may contain the class ids.

    Attributes:
        table: The table.
        at: The position of the column.
        rows: The positions of the rows that are not a header.
    """

    table: Table
    at: int
    rows: range

    def cells(self, at: int | None = None) -> list[str]:
        """Return the cells of this column, or of the column at another position."""
        at = self.at if at is None else at
        return [self.table.rows[row][at] for row in self.rows]


def lines_of(text: str) -> Lines:
    """Return the lines of a text that are neither blank nor comments."""
    rows = [(row.strip(), line) for line, row in enumerate(io.StringIO(text, newline=None), 1)]
    kept = [(row, line) for row, line in rows if row and not COMMENT.match(row)]
    return Lines([row for row, _ in kept], [line for _, line in kept])


def unquoted(cell: str) -> str:
    """Remove the quotes around a cell, unless they are the first of several names' own."""
    if cell[:1] not in ("'", '"'):
        return cell
    found = re.fullmatch(r"""(["'])(.*)\1,?""", cell)
    return found[2] if found and not re.search(f"{found[1]}[ ]?,", found[2]) else cell


def first_name(cell: str) -> str:
    """Return the first of several names, or what is in quotes.

    A comma in brackets does not end a name, as in ``crane (bird, grey)``.
    """
    inner = unquoted(cell)
    if inner != cell:
        return inner
    first = re.match(r"(?:[^,([{]|\([^()]*\)|\[[^][]*\]|\{[^{}]*\})+(?=,|$)", cell)
    return unquoted((first[0] if first else cell.partition(",")[0]).strip())


def is_wordnet(cell: str) -> bool:
    """Return whether a cell has a WordNet id (wnid)."""
    return bool(re.fullmatch(r"n\d{8}", cell))


def rows_for(tables: Sequence[Table], class_ids: Sequence[str]) -> list[str]:
    """Return the class ids that have a row in the table with the most of them."""
    ids = set(class_ids)
    found = [ids.intersection(column.cells()) for column in columns_of(tables, ids)]
    most: set[str] = max(found, key=len, default=set())
    return [class_id for class_id in class_ids if class_id in most]


def columns_of(tables: Sequence[Table], ids: set[str]) -> Iterator[Column]:
    """Yield the columns of all tables that have as many cells in each row.

    Args:
        tables: The tables.
        ids: The class ids, which are no titles.
    """
    for table in tables:
        widths = {len(row) for row in table.rows}
        if len(widths) != 1 or max(widths) > MOST:
            continue
        for at in range(widths.pop()):
            rows = range(has_header(table, at, ids), len(table.rows))
            if rows:
                yield Column(table, at, rows)


def has_header(table: Table, at: int, ids: set[str]) -> bool:
    """Return whether the first row of a table has titles, if the ids are in the column ``at``."""
    titles = [cell.strip().casefold() for cell in table.rows[0]]
    known = [title in TITLES for title in titles]
    index = not titles[at] and any(known)  # pandas writes no title above its row numbers
    return not table.header and table.rows[0][at] not in ids and (known[at] or index)
