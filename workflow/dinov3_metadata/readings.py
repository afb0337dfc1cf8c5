"""Readings: choose, by the class folders, how the rows of a labels file are to be read.

A labels file can often be read in several forms, and its first line does not always show which one
is meant. The form whose ids are the class folders is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .errors import MetadataError, count
from .misfits import misfit
from .names import difference, match_alike
from .tables import NAMES, Column, Table, columns_of, has_header, is_wordnet

SHOWN = 3  # class folders that a note shows

NOTED = {
    "padded": "CSV whose columns are padded with blanks",
    "tidy csv": "CSV without its comments, empty rows and empty columns",
    "semicolon": "a table with semicolons",
    "table": "a table with |, =, -> or several blanks between its columns",
    "python": "Python",
    "yaml": "YAML",
    "list": "a list of names",
}
"""Forms that are noted -> the form in words.

The others are the usual ones, and ``lines``: lines of CSV that may be names as a whole.
"""

STRUCTURED = ("json", "python", "yaml")
"""Forms that say themselves which of their texts belong together."""

QUOTES = ("'", '"')
BRACKETS = {"(": ")", "[": "]", "{": "}", "\N{LEFT DOUBLE QUOTATION MARK}": "”", "«": "»"}
MIRRORED = str.maketrans({**BRACKETS, **{closes: opens for opens, closes in BRACKETS.items()}})


@dataclass(frozen=True)
class Naming:
    """The names of classes, as they were read from a labels file.

    Attributes:
        source: The file; empty if the class folders' own names are used.
        form: The form in which the file was read; ``folders`` if the class folders' own names are
            used, because there is no file or it has no others.
        names: Class id -> class name, for all rows of the file.
        notes: What a user should know about it, one sentence each.
    """

    source: str
    form: str
    names: dict[str, str]
    notes: list[str] = field(default_factory=list)


def name_classes(
    source: str, form: str, tables: Sequence[Table], refusal: list[str], class_ids: Sequence[str]
) -> Naming:
    """Name the classes by the first table with a row for each, in the order of ``tables``.

    Args:
        source: The labels file, for messages and notes.
        form: The form that the file appears to have, for messages.
        tables: The rows of the file, in each form in which it can be read.
        refusal: Why the file cannot be read in the form that it appears to have; empty if it can.
        class_ids: The ids of the classes.

    Raises:
        MetadataError: No table has a row for each class, or it is not clear which column has the
            names, or a row cannot be used. The message shows what was read and what was looked for.
    """
    columns = list(columns_of(tables, set(class_ids)))
    unclear: list[Column] = []
    for column in columns:
        if set(class_ids) <= {*column.cells()}:
            if naming := _naming(source, column, {one: one for one in class_ids}, []):
                return naming
            unclear.append(column)
    for table in tables:
        if naming := _numbered(source, table, class_ids):
            return naming
    for column in [] if unclear else columns:
        cells = {*column.cells()}
        missing = [class_id for class_id in class_ids if class_id not in cells]
        found = match_alike(missing, class_ids, cells)
        if len(found) == len(missing):
            row_of = {one: found.get(one, one) for one in class_ids}
            if naming := _naming(source, column, row_of, [_alike_note(source, found)]):
                return naming
            unclear.append(column)
    for table in [] if unclear else tables:
        if naming := _spelt_out(source, table, class_ids):
            return naming
    raise misfit(source, form, tables, refusal, class_ids, columns, unclear)


def _naming(source: str, column: Column, row_of: dict[str, str], notes: list[str]) -> Naming | None:
    """Name the classes by a column that has all of them.

    Args:
        source: The labels file.
        column: The column with the ids.
        row_of: Class id -> the id in the column.
        notes: What to note besides.

    Returns:
        None if it is not clear which column has the names.
    """
    table, notes = column.table, list(notes)
    name_at = _name_column(column)
    if name_at is None:
        return None
    if column.rows.start:
        header = ", ".join(table.rows[0])
        notes.append(f"Line {table.lines[0]} of {source} is a header and was skipped: {header}")
    if name_at == column.at:
        notes.append(
            f"{source} has no names besides those of the class folders, so these are the class "
            "names, as with `labels: folders`."
        )
        return Naming(source, "folders", {one: one for one in row_of}, notes)
    _check_rows(source, column, name_at)
    if table.form in NOTED:
        notes.append(f"{source} was read as {NOTED[table.form]}.")
    if name_at < column.at and table.form in STRUCTURED:
        notes.append(f"{source} has the class ids behind the names.")
    if len(table.rows[0]) > 2 and table.form not in STRUCTURED:
        notes.append(
            f"{source} has {len(table.rows[0])} columns: the ids were read from column "
            f"{column.at + 1} and the names from column {name_at + 1}."
        )
    names = dict(zip(column.cells(), column.cells(name_at), strict=True))
    if all(map(_is_number, names.values())):
        notes.append(
            f"The class names are numbers, as the second column of {source} has no others."
        )
    found_at = dict(zip(column.cells(), column.rows, strict=True))
    for other in row_of.values():
        _check_ends(names[other], f"{source}, {table.place(found_at[other])}")
    named = {one: names[other] for one, other in row_of.items()}
    return Naming(source, table.form, names | named, notes)


def _name_column(column: Column) -> int | None:
    """Return the column with the names; that of the ids if all others have numbers.

    None if it is not clear which one it is. A name comes after its id, unless the table has titles
    or the ids are numbers.
    """
    table, at = column.table, column.at
    width = len(table.rows[0])
    if table.form == "csv" and width == 2 and at == 0:
        return 1  # whatever it contains, because DINOv3 reads it like this
    others = [i for i in range(width) if i != at and not all(map(_is_number, column.cells(i)))]
    others = [i for i in others if not all(map(is_wordnet, column.cells(i)))] or others
    header = table.header or (table.rows[0] if column.rows.start else [""] * width)
    titles = [title.strip().casefold() for title in header]
    for title in NAMES:
        if named := [i for i in others if titles[i] == title]:
            return named[0]
    if not others or titles[at] in NAMES:
        return at
    pairs = width == 2 and table.form in STRUCTURED
    known = pairs or others[0] > at or all(map(_is_number, column.cells()))
    return others[0] if known and len(others) == 1 else None


def _is_number(cell: str) -> bool:
    return cell.isascii() and cell.isdecimal()


def _numbered(source: str, table: Table, class_ids: Sequence[str]) -> Naming | None:
    """Name classes whose folders are numbers by a list of names alone.

    Returns:
        None if the folders are not numbers, or it is not certain which name belongs to which.
    """
    if table.form == "lines" or any(len(row) != 1 for row in table.rows):
        return None
    if not all(map(_is_number, class_ids)):
        return None
    header = has_header(table, 0, set(class_ids))
    names = [row[0] for row in table.rows[header:]]
    if table.form == "list":
        names = [name.partition(",")[0].strip() for name in names]  # the first of several
    numbers = [int(one) for one in class_ids]
    if len({*numbers}) != len(numbers):
        return None
    if 2 * sum(bool(re.match(r"n?\d", name)) for name in names) > len(names):
        return None  # these are ids, with names behind them
    if min(numbers) == 0 and max(numbers) < len(names):
        first = 0
    elif min(numbers) > 0 and max(numbers) == len(names):
        first = 1
    else:
        return None
    for number in numbers:
        where = f"{source}, {table.place(header + number - first)}"
        _check_text(names[number - first], "class name", where)
        _check_ends(names[number - first], where)
    note = f"{source} has names alone. They were numbered from {first}, as the class folders are."
    found = {one: names[i - first] for one, i in zip(class_ids, numbers, strict=True)}
    return Naming(source, table.form, found, [note])


def _spelt_out(source: str, table: Table, class_ids: Sequence[str]) -> Naming | None:
    """Name class folders such as ``apple_pie`` by a list of names such as ``Apple pie``.

    Returns:
        None if a class has no such name or several, or if the file has more than names.
    """
    if any(len(row) != 1 for row in table.rows):
        return None
    found_at = {row[0]: at for at, row in enumerate(table.rows)}
    spaced = {one: one.replace("_", " ") for one in class_ids}
    found = match_alike(spaced.values(), [*spaced.values()], found_at)
    if len(found) < len(class_ids):
        return None
    names = {one: found[spaced[one]] for one in class_ids}
    for name in names.values():
        where = f"{source}, {table.place(found_at[name])}"
        _check_text(name, "class name", where)
        _check_ends(name, where)
    one = class_ids[0]
    note = (
        f"{source} has names alone. They were matched to the class folders, for instance "
        f"{names[one]} to {one}."
    )
    return Naming(source, "list", names, [note])


def _check_rows(source: str, column: Column, name_at: int) -> None:
    """Check that each row has an id of its own and a name."""
    found_at: dict[str, int] = {}
    place = column.table.place
    pairs = zip(column.rows, column.cells(), column.cells(name_at), strict=True)
    for row, class_id, name in pairs:
        if class_id in found_at:
            raise MetadataError(
                f"{source}, {place(row)}: the class id {class_id!r} is already in "
                f"{place(found_at[class_id])}. Each class must have one row: remove one of the two."
            )
        found_at[class_id] = row
        if not (class_id and class_id.isprintable()):
            _check_text(class_id, "class id", f"{source}, {place(row)}")
        if not (name and name.isprintable()):
            _check_text(name, "class name", f"{source}, {place(row)}")


def _check_text(value: str, what: str, where: str) -> None:
    if not value:
        raise MetadataError(f"{where}: the {what} is empty. Each class needs an id and a name.")
    if "\0" in value or value != value.encode(errors="replace").decode():
        raise MetadataError(
            f"{where}: the {what} contains a character that is not text. Remove it."
        )
    if re.search(r"[\r\n]", value):
        raise MetadataError(
            f"{where}: the {what} {value[:40]!r} contains a line end. Each class must be on a line "
            "of its own: look for a quote that is missing or too many."
        )


def _check_ends(name: str, where: str) -> None:
    """Check that a name neither begins nor ends with a quote or bracket without its counterpart."""
    text = name.strip()
    if text[:1].isalnum() and text[-1:].isalnum():
        return
    mirrored = text[::-1].translate(MIRRORED)
    ends = ((text[:1], "begins", "closed", text), (text[-1:], "ends", "opened", mirrored))
    for sign, does, done, one in ends:
        if sign and _is_alone(one):
            cure = f"Remove the {sign}, or complete the pair."
            if sign == "'":
                cure += " If it is an apostrophe, write \N{RIGHT SINGLE QUOTATION MARK} (U+2019)."
            raise MetadataError(
                f"{where}: the class name {name[:80]!r} {does} with {sign}, which is not {done} in "
                f"it. {cure}"
            )


def _is_alone(text: str) -> bool:
    """Return whether a text begins with a quote or bracket that has no counterpart."""
    sign = text[:1]
    if sign in QUOTES:
        inner = len(re.findall(r"(?<=\w)'(?=\w)", text)) if sign == "'" else 0  # apostrophes
        return (text.count(sign) - inner) % 2 > 0
    if sign not in BRACKETS:
        return sign in BRACKETS.values()
    depth = 0
    for char in text:
        depth += (char == sign) - (char == BRACKETS[sign])
        if not depth:
            return False
    return True


def _alike_note(source: str, found: dict[str, str]) -> str:
    """Say which class folders differ from their ids in the file only in what nobody sees."""
    some = [
        f"{one} (in the file {other}, which differs in {difference(one, other)})"
        for one, other in [*found.items()][:SHOWN]
    ]
    shown = ", ".join(some) + (" and others" if len(found) > SHOWN else "")
    what = count(len(found), "class folder differs", "class folders differ")
    return f"{what} from the id in {source} and got its name all the same: {shown}."
