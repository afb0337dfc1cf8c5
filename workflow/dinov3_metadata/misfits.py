"""Misfits: the messages for a labels file that does not name all classes.

Each says what was read and what was looked for, and proposes only what helps with this file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .errors import SHOWN, MetadataError, count, listing
from .names import alike, match_alike
from .tables import Column, Table, is_wordnet

FEW = 3  # ids and class folders that a message shows beside one another
SEPARATORS = {"csv": ("comma", ","), "semicolon": ("semicolon", ";")}


def misfit(
    source: str,
    form: str,
    tables: Sequence[Table],
    refusal: list[str],
    class_ids: Sequence[str],
    columns: list[Column],
    unclear: list[Column],
) -> MetadataError:
    """Return the message for a file that does not name all classes.

    Args:
        source, form, tables, refusal, class_ids: See ``readings.name_classes``.
        columns: The columns of the tables.
        unclear: Those of them that have all class ids, though it is not clear where the names are.
    """
    if unclear:
        return _unclear(source, unclear[0], class_ids)
    table = next((table for table in tables if table.form == form), tables[0])
    odd = [row for row, cells in enumerate(table.rows) if len(cells) != 2]
    alone = len(table.rows[0]) == 1 and len(odd) == len(table.rows)
    if refusal and not (alone and _are_names(table, class_ids)):
        return MetadataError(refusal)
    if odd and not alone and (form in SEPARATORS or not columns):
        return _odd_row(source, table, odd[0], class_ids)
    return _missing(source, form, class_ids, columns, alone=alone)


def _unclear(source: str, column: Column, class_ids: Sequence[str]) -> MetadataError:
    """Return the message for a column that has all class folders, while no name follows it."""
    row = column.table.rows[column.rows.start]
    first = column.at + 1
    others = [i for i in range(len(row)) if i != column.at]
    place = column.table.place(column.rows.start)
    if len(row) == 2:
        return MetadataError(
            f"{source}, {place}: the class folders are in column {first}, but an id is "
            "expected before its name. Exchange the two columns:",
            f"  {_quoted(row[column.at])},{_quoted(row[others[0]])}",
        )
    quoted = any("," in cell for cells in column.table.rows for cell in cells)
    if column.table.form == "csv" and column.at == 0 and not column.table.header and not quoted:
        return _odd_row(source, column.table, column.rows.start, class_ids)
    return MetadataError(
        f"{source}, {place}: {len(row)} columns, and the class folders are in column {first}. "
        "It is not clear which of the others has the names. Keep two columns, the id and the name:",
        *(f"  {_quoted(row[column.at])},{_quoted(row[i])}" for i in others[:FEW]),
    )


def _odd_row(source: str, table: Table, at: int, class_ids: Sequence[str]) -> MetadataError:
    """Return the message for a row of CSV that has one column, or more than two."""
    row, place = table.rows[at], table.place(at)
    what, sign = SEPARATORS.get(table.form, SEPARATORS["csv"])
    if len(row) < 2:
        return MetadataError(
            f"{source}, {place}: only one column ({row[0][:80]!r}), but an id, a {what} and a "
            "name are expected."
        )
    ids = set(class_ids)
    hits = [sum(cells[i] in ids for cells in table.rows if len(cells) > i) for i in range(len(row))]
    said = f"{source}, {place}: {len(row)} columns, but an id and a name are expected."
    if hits[0] < max(hits):
        best = hits.index(max(hits))
        return MetadataError(
            f"{said} The class folders are in column {best + 1}. Keep two columns, the id and the "
            "name:",
            f"  {_quoted(row[best])},{_quoted(row[(best + 1) % len(row)])}",
        )
    if not any(hits):
        read = [cells[0] for cells in table.rows]
        return MetadataError(f"{said} No column has a class folder.", _beside(read, class_ids))
    name = sign.join(row[1:]).strip()
    if len(name) > 1 and name[0] == name[-1] == '"':  # a blank before the quotes makes them text
        name = name[1:-1].replace('""', '"')
    return MetadataError(
        f"{said} A name with a {what} needs quotes:",
        f"  {_quoted(row[0])}{sign}{_quoted(name.rstrip(sign), always=True)}",
    )


def _are_names(table: Table, class_ids: Sequence[str]) -> bool:
    """Return whether the lines of a table start with no id, so that they are names as a whole."""
    first = {re.split(r"[\s:]", row[0].strip(), maxsplit=1)[0] for row in table.rows}
    return first.isdisjoint(class_ids) and not any(map(is_wordnet, first))


def _quoted(cell: str, always: bool = False) -> str:
    """Return a cell as CSV has it."""
    doubled = cell.replace('"', '""')
    return f'"{doubled}"' if always or doubled != cell or "," in cell else cell


def _beside(read: Sequence[str], looked_for: Sequence[str]) -> list[str]:
    """Show some ids that were read and fit no class folder, and some folders that have no id."""
    shown = [f"  read: {', '.join(cell[:40] for cell in read[:FEW])}"] if read else []
    return [*shown, f"  class folders: {', '.join(looked_for[:FEW])}"]


def _starts(ids: Sequence[str], class_ids: Sequence[str]) -> list[int]:
    """Return the first id and the first class folder if both are numbered without gaps, from
    different numbers; otherwise nothing."""
    starts = []
    for some in (ids, class_ids):
        if not all(one.isascii() and one.isdecimal() for one in some):
            return []
        numbers = sorted(map(int, some))
        starts.append(numbers[0])
        if numbers != [*range(numbers[0], numbers[0] + len(class_ids))]:
            return []
    return starts if starts[0] != starts[1] else []


def _missing(
    source: str, form: str, class_ids: Sequence[str], columns: list[Column], alone: bool
) -> MetadataError:
    """Return the message for class folders without a row in the column that has most of them."""
    ids = set(class_ids)
    hits = [len(ids.intersection(column.cells())) for column in columns]
    most = max(hits)
    likely = [column for column, many in zip(columns, hits, strict=True) if many == most]
    column = next((one for one in likely if one.table.form == form), likely[0])
    cells = {*column.cells()}
    missing = [class_id for class_id in class_ids if class_id not in cells]
    found = match_alike(missing, class_ids, cells)
    read = [cell for cell in column.cells() if cell not in ids.union(found.values())]
    missing = [class_id for class_id in missing if class_id not in found]
    shown = []
    for class_id in missing[:SHOWN]:
        similar = alike(class_id, sorted(cells))
        shown.append(f"{class_id} (it has {'; '.join(similar)})" if similar else class_id)
    what = count(len(missing), "class folder has", "class folders have")
    cure = "Add a row for each, or move folders that are not classes out of the split."
    if alone:
        many = count(len(column.rows), "name")
        cure = (
            f"It has {many} without ids, and nothing says which belongs to which folder. Write an "
            "id and a name in each line, or set `labels: folders` to use the names of the class "
            "folders."
        )
    elif starts := _starts(column.cells(), class_ids):
        cure = (
            f"The ids are numbered from {starts[0]}, but the class folders from {starts[1]}. "
            "Number the ids as the folders are."
        )
    elif any(alike(class_id, cells) for class_id in missing[:SHOWN]):
        cure = (
            "Several rows or several folders look the same, so none was chosen. Write the ids as "
            "the folders are named."
        )
    elif not most and len(class_ids) == 1 < len(read):
        cure = (
            f"It is the only class. If the classes are the folders in it, set `folders`, for "
            f"instance `folders: {{TRAIN: train/{class_ids[0]}}}`."
        )
    elif not most:
        cure = (
            "If this is the file of another dataset, set `labels:` to the right one, or `labels: "
            "folders` to use the names of the class folders."
        )
        if form == "blanks" and _are_names(column.table, class_ids):
            cure += " If its lines are names alone, write the id and a comma before each."
    return MetadataError(
        f"{what} no row in {source}, read as {column.table.form}:",
        listing(shown, len(missing)),
        [] if most and len(missing) < most else _beside(read, missing),
        cure,
    )
