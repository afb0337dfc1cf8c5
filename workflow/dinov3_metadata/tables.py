"""Tables: the rows of a labels file, and the columns that may contain the class ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

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


class Table(NamedTuple):
    """The rows of a labels file, read in some form.

    Attributes:
        form: The form, see ``artefacts.Labels``.
        rows: The cells of each row. CSV may have rows of different lengths, which cannot be used,
            but shown in a message.
        lines: The line of each row; in JSON, the number of the entry.
        header: The titles of the columns, if they are not a row. Otherwise empty.
    """

    form: str
    rows: list[list[str]]
    lines: list[int]
    header: Sequence[str] = ()


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
