"""Label forms: read the rows of a labels file in each form in which they can be read."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from ..errors import MetadataError
from ..structures import structured_tables
from ..tables import COMMENT, FORMS, Lines, Table, first_name, lines_of, unquoted

LINES = {
    "blanks": (r"(\S+)(?!\s+\d+\s+\S)\s+(.+)", "a space"),
    "tab": (r"([^\t]*[^\t ]) *\t\s*([^\t\s][^\t]*)", "a tab"),
    "colon": (r"([^:]*[^:\s])\s*:(?!\s*\d+\s*:)\s*(\S.*)", "a colon"),
}
"""Form -> the pattern of a line without surrounding blanks, and the separator in words.

A number between id and name, as in a file with three columns, does not start a name.

Matching takes time linear in the length of the line, and not quadratic: no blank can match two
neighbouring parts of a pattern, unless the second takes whatever comes.
"""

SIGNS = r"(\S+?)(?:\s*(?:[-=]{1,2}>|=)\s*|\s+[-\u2013\u2014]\s+)(\S.*)"
"""Lines with a sign between id and name: =, ->, => or a dash."""

THREE = (r"(\S+)\s+(\d+)\s+(\S.*)", r"(\d+)[:.)]?\s+(\S+)\s+(\S.*)")
"""Lines with a number between id and name, or before both."""

ENUMERATED = r"(\d+)[.)](?:\s+|(?!\d))(\S.*)"

RULE = re.compile(r"[-+|=:\s]+|\(\d+ rows?\)")  # a line of a table that has no cells


def tables_of(text: str, path: str) -> list[Table]:
    """Return the rows of a labels file in each form in which it can be read.

    The form that DINOv3 reads comes first, and then the forms with the clearest separators.

    Args:
        text: The content of the file.
        path: The file, for messages. With the suffix of YAML, YAML is tried.

    Raises:
        MetadataError: The text is JSON or Python that cannot be read, or a quote is not closed.
    """
    return structured_tables(text, path) or list(_text_tables(text, path))


def form_of(text: str) -> str:
    """Tell the form of some lines for messages: one of ``LINES``, ``csv`` or ``semicolon``.

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
    if all(";" in line for line in lines):
        return "semicolon"
    if first.startswith('"') or re.search(r",\S", first) or not re.search(r"\S[\s:]+\S", first):
        return "csv"
    return "colon" if ":" in first else "blanks"


def line_refusal(text: str, path: str, form: str) -> list[str]:
    """Return the message for the first line that does not have a form of ``LINES``."""
    pattern, separator = LINES[form]
    for row, line in zip(*lines_of(text), strict=True):
        if not re.fullmatch(pattern, row):
            said = f"{path}, line {line}: {row[:80]!r} is not an id, {separator} and a name."
            return [said, *FORMS]
    return []


def _text_tables(text: str, path: str) -> Iterator[Table]:
    lines = lines_of(text)
    text = re.sub(r"\Asep=\\t(?=\s)", "sep=\t", text, flags=re.IGNORECASE)
    separator = re.match(r"sep=(.)\s*?(?:\n|$)", text.replace("\r\n", "\n"), re.IGNORECASE)
    if separator:  # Excel writes it, and no other program
        table = _csv_table(text, path, separator[1], skipped=1)
        form = {",": "csv", "\t": "tab"}.get(separator[1], "semicolon")
        yield from filter(is_even, [_stripped(table, form)])
        return
    table = _tidied(_csv_table(text, path, ","), "tidy csv")
    yield table
    if is_even(table) and any(cell != cell.strip(" ") for row in table.rows for cell in row[:-1]):
        yield _stripped(table, "padded")
    if all(";" in row for row in lines.texts):
        yield _tidied(_stripped(_csv_table(text, path, ";"), "semicolon"), "semicolon")
    if all("\t" in row for row in lines.texts):
        yield from _cut(lines, "tab", lambda row: _cells_of(row.split("\t")))
        return
    ruled = [i for i, row in enumerate(lines.texts) if not RULE.fullmatch(row)]
    cells = Lines([lines.texts[i] for i in ruled], [lines.numbers[i] for i in ruled])
    if all("|" in row for row in cells.texts):
        yield from _cut(cells, "table", lambda row: _cells_of(row.strip("|").split("|")))
    yield from _cut(cells, "table", lambda row: _cells_of(row.split("  ")))
    yield from _cut(lines, "table", partial(_matched, re.compile(SIGNS)))
    for form in ("colon", "blanks"):
        yield from _cut(lines, form, partial(_matched, re.compile(LINES[form][0])))
    for pattern in (*THREE, ENUMERATED):
        yield from _cut(lines, "blanks", partial(_matched, re.compile(pattern)))
    if not is_even(table) or len(table.rows[0]) > 1:
        form = "lines" if is_even(table) else "list"
        yield Table(form, [[row] for row in lines.texts], lines.numbers)


def _cut(lines: Lines, form: str, cut: Callable[[str], list[str]]) -> Iterator[Table]:
    """Yield the table of lines that are all cut into the same number of cells, at least two."""
    rows: list[list[str]] = []
    for row in lines.texts:
        rows.append(cut(row))
        if len(rows) == 2 and 0 < len(rows[0]) == len(rows[1]) - 1:
            rows[0].insert(0, "")  # pandas and R write no title above row numbers
        if len(rows[-1]) != len(rows[0]):
            return
    rows = [[*row[:-1], first_name(row[-1])] for row in rows if row]
    if rows and len(rows[0]) > 1 and all(row[-1] for row in rows):
        yield Table(form, rows, lines.numbers)


def _matched(pattern: re.Pattern[str], row: str) -> list[str]:
    found = pattern.fullmatch(row)
    return [*map(unquoted, found.groups()[:-1]), found[found.lastindex or 0]] if found else []


def _cells_of(cells: list[str]) -> list[str]:
    kept = [cell.strip() for cell in cells if cell.strip()]
    return [*map(unquoted, kept[:-1]), *kept[-1:]]


def is_even(table: Table) -> bool:
    """Return whether all rows of a table have as many cells."""
    return len({*map(len, table.rows)}) == 1


def _tidied(table: Table, form: str) -> Table:
    """Leave out comments, rows of empty cells and, beyond the second, empty columns.

    DINOv3 cannot read them, or would publish a class without id and name for them.

    Args:
        table: The table.
        form: The form of the table if something is left out.

    Returns:
        The same table if nothing is left out, or if what remains is not even or lost its names.
    """
    rows = [
        (row, at)
        for row, at in zip(table.rows, table.lines, strict=True)
        if any(map(str.strip, row))
    ]
    alone = all(len(row) == 1 for row in table.rows)
    if alone or not is_even(table):
        rows = [(row, at) for row, at in rows if not COMMENT.match(row[0])]
    cells = [row for row, _ in rows]
    while cells and all(len(row) > 2 and not row[-1].strip() for row in cells):
        cells = [row[:-1] for row in cells]
    tidied = Table(form, cells, [at for _, at in rows])
    kept = is_even(tidied) and (alone or len(cells[0]) > 1)
    return tidied if kept and cells != table.rows else table


def _stripped(table: Table, form: str) -> Table:
    rows = [[cell.strip(" ") for cell in row] for row in table.rows]
    return Table(form, rows, table.lines)


def _csv_table(text: str, path: str, separator: str, skipped: int = 0) -> Table:
    """Read CSV as DINOv3 does.

    DINOv3 opens the file in text mode, so a line end inside quotes becomes a line feed, too.

    Args:
        text, path: See ``tables_of``.
        separator: The character between columns.
        skipped: How many lines to skip at the beginning.
    """
    stream = io.StringIO(text, newline=None)
    for _ in range(skipped):
        next(stream)
    lines = list(stream)
    reader = csv.reader(lines, delimiter=separator)
    rows, numbers, start = [], [], 1
    try:
        for row in reader:
            if "".join(row).strip() or len(row) > 1:
                rows.append(row)
                numbers.append(start + skipped)
            if reader.line_num > start:
                raise _open_quote(lines[start - 1], path, start + skipped, separator)
            start = reader.line_num + 1
    except csv.Error as error:
        raise MetadataError(f"{path}, line {start + skipped}: {error}.") from None
    return Table("csv", rows, numbers)


def _open_quote(row: str, path: str, line: int, separator: str) -> MetadataError:
    """Return the message for a line of CSV with a quote that is not closed in it."""
    cells = (cell for cell in row.rstrip("\n").split(separator) if cell.count('"') % 2)
    return MetadataError(
        f"{path}, line {line}: the quote in {next(cells, row)[:40]!r} is not closed in its line, "
        "so the next lines would be part of it. Close it or remove it."
    )
