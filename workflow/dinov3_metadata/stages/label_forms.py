"""Label forms: read the rows of a labels file in each form in which they can be read."""

import ast
import csv
import io
import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from ..errors import MetadataError
from ..tables import Table

FORMS = """\
A labels file has one class per line, its id before its name, in one of these forms:
  n01440764,tench                    CSV; names with commas in quotes: n01443537,"goldfish, carp"
  n01440764 tench, Tinca tinca       a space, a tab or a colon; of several names, the first is used
or JSON, Python or YAML: {"n01440764": "tench", ...}, or Keras' {"0": ["n01440764", "tench"], ...}\
""".splitlines()

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

THREE = (r"(\S+)\s+(\d+)\s+(\S.*)", r"(\d+)[:.)]?\s+(\S+)\s+(\S.*)")
"""Lines with a number between id and name, or before both."""

RULE = re.compile(r"[-+|=:\s]+|\(\d+ rows?\)")  # a line of a table that has no cells

LONGEST = 1 << 24  # most characters of a file to parse as Python or YAML
DEPTH = 4  # how deep JSON, Python or YAML is searched for names
CELLS = 8  # most columns of a table in JSON, Python or YAML
YAML_KEYS = r"names|classes|class_names|labels|categories|id2label"
NAMED = re.compile("name|class|label|categor|synset|wnid", re.IGNORECASE)
STRUCTURED = r"""\s*(?:#.*\n\s*)*(?:\w+\s*=\s*)?[\[({]\s*(?:\d+\s*[:,]|["'\[({\]}]|#|$)"""


class Lines(NamedTuple):
    """The lines of a file that are not blank, without surrounding blanks, and their numbers."""

    texts: list[str]
    numbers: list[int]


class Pairs(list[tuple[str, Any]]):
    """The pairs of an object in JSON, Python or YAML. A key may occur twice."""


def tables_of(text: str, path: str) -> list[Table]:
    """Return the rows of a labels file in each form in which it can be read.

    The form that DINOv3 reads comes first, and then the forms with the clearest separators.

    Args:
        text: The content of the file.
        path: The file, for messages. With the suffix of YAML, YAML is tried.

    Raises:
        MetadataError: The text is JSON or Python that cannot be read, or a quote is not closed.
    """
    for parse in (_json_tables, _python_tables, _yaml_tables):
        if tables := parse(text, path):
            return tables
    if re.match(r'\s*[\[{]\s*[\["]', text):
        raise _not_json(text, path)
    if re.match(STRUCTURED, text):
        raise _not_python(text, path)
    return list(_text_tables(text, path))


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


def lines_of(text: str) -> Lines:
    """Return the lines of a text that are not blank."""
    rows = [(row.strip(), line) for line, row in enumerate(io.StringIO(text, newline=None), 1)]
    kept = [(row, line) for row, line in rows if row]
    return Lines([row for row, _ in kept], [line for _, line in kept])


def _text_tables(text: str, path: str) -> Iterator[Table]:
    lines = lines_of(text)
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
    for form in ("colon", "blanks"):
        yield from _cut(lines, form, partial(_matched, LINES[form][0]))
    for pattern in THREE:
        yield from _cut(lines, "blanks", partial(_matched, pattern))
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
    rows = [[*row[:-1], _first_name(row[-1])] for row in rows if row]
    if rows and len(rows[0]) > 1 and all(row[-1] for row in rows):
        yield Table(form, rows, lines.numbers)


def _matched(pattern: str, row: str) -> list[str]:
    found = re.fullmatch(pattern, row)
    return [*map(_unquoted, found.groups()[:-1]), found[found.lastindex or 0]] if found else []


def _cells_of(cells: list[str]) -> list[str]:
    kept = [cell.strip() for cell in cells if cell.strip()]
    return [*map(_unquoted, kept[:-1]), *kept[-1:]]


def _unquoted(cell: str) -> str:
    found = re.fullmatch(r"""(["'])(.*)\1,?""", cell)
    return found[2] if found and not re.search(f"{found[1]}[ ]?,", found[2]) else cell


def _first_name(cell: str) -> str:
    """Return the first of several names, or what is in quotes."""
    inner = _unquoted(cell)
    return inner if inner != cell else _unquoted(cell.partition(",")[0].strip())


def is_even(table: Table) -> bool:
    """Return whether all rows of a table have as many cells."""
    return len({*map(len, table.rows)}) == 1


def _tidied(table: Table, form: str) -> Table:
    """Leave out comments at the start, rows of empty cells and, beyond the second, empty columns.

    DINOv3 cannot read them, or would publish a class without id and name for them.

    Args:
        table: The table.
        form: The form of the table if something is left out.

    Returns:
        The same table if nothing is left out, or if what remains is not even or has no two columns.
    """
    rows = [
        (row, at)
        for row, at in zip(table.rows, table.lines, strict=True)
        if any(map(str.strip, row))
    ]
    while not is_even(table) and rows and rows[0][0][0].startswith("#"):
        del rows[0]
    cells = [row for row, _ in rows]
    while cells and all(len(row) > 2 and not row[-1].strip() for row in cells):
        cells = [row[:-1] for row in cells]
    tidied = Table(form, cells, [at for _, at in rows])
    return tidied if cells != table.rows and is_even(tidied) and len(cells[0]) > 1 else table


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


def _json_tables(text: str, path: str) -> list[Table]:
    if not re.match(r"\s*[\[{]", text):
        return []
    try:
        value = json.loads(text, object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        value = _json_lines(text)
        if not value:
            return []
    tables = list(_tables(value, "json"))
    if not tables:
        raise _odd_entry(value, path)
    return tables


def _json_lines(text: str) -> list[Any]:
    """Read JSON with an object in each line; nothing if it is not."""
    try:
        return [json.loads(line, object_pairs_hook=Pairs) for line in lines_of(text).texts]
    except (ValueError, RecursionError):
        return []


def _not_json(text: str, path: str) -> MetadataError:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        line, why = getattr(error, "lineno", 1), str(error)
    return MetadataError(f"{path}, line {line}: this is not JSON ({why}).", FORMS)


def _not_python(text: str, path: str) -> MetadataError:
    line, why = 1, "it has no names"
    try:
        _parsed(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        line, why = getattr(error, "lineno", None) or 1, getattr(error, "msg", str(error))
    return MetadataError(f"{path}, line {line}: this is not a Python dict or list ({why}).", FORMS)


def _parsed(text: str) -> ast.Module:
    """Parse Python, without running it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about strings such as "\d"
        return ast.parse(text)


def _python_tables(text: str, path: str) -> list[Table]:
    """Read the dicts and lists of constants of a Python file, also those that get a name."""
    if len(text) > LONGEST or not re.search(r"^[ \t]*(\w+\s*=\s*)?[\[({]", text, re.MULTILINE):
        return []
    try:
        tree = _parsed(text)
        tables = [table for node in tree.body for table in _of_statement(node)]
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    first = [
        table._replace(rows=[[*row[:-1], _first_name(row[-1])] for row in table.rows])
        for table in tables
    ]
    return first + [table for table in tables if len(table.rows[0]) == 1]  # folders with commas


def _of_statement(node: ast.stmt) -> Iterator[Table]:
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.Expr)) and node.value:
        named = not isinstance(node, ast.Expr)
        if isinstance(node.value, (ast.Dict, ast.List)) or named:
            with suppress(ValueError, TypeError):
                yield from _tables(_constant(node.value), "python", node.value)


def _constant(node: ast.expr) -> Any:
    """Return the value of an expression of constants, with the pairs of a dict as they are.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return Pairs((str(ast.literal_eval(key or node)), _constant(one)) for key, one in pairs)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_constant(one) for one in node.elts]
    return ast.literal_eval(node)


def _yaml_tables(text: str, path: str) -> list[Table]:
    keyed = re.search(rf"^({YAML_KEYS})\s*:\s*([\[{{#].*)?$", text, re.MULTILINE)
    named = path.lower().endswith((".yaml", ".yml"))
    if len(text) > LONGEST or not (keyed or named or re.match(r"\s*- \S", text)):
        return []
    import yaml  # few files are YAML

    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        return list(_tables(_of_yaml(root, set()), "yaml")) if root else []
    except (yaml.YAMLError, ValueError, RecursionError):
        return []


def _of_yaml(node: Any, above: set[int]) -> Any:
    """Return the value of a node with all scalars as text; an alias is not followed."""
    if id(node) in above:
        return None
    above.add(id(node))
    if isinstance(node.value, str):
        return node.value
    if node.id == "mapping":
        return Pairs((str(key.value), _of_yaml(value, above)) for key, value in node.value)
    return [_of_yaml(one, above) for one in node.value]


def _tables(
    value: Any, form: str, node: ast.expr | None = None, depth: int = DEPTH
) -> Iterator[Table]:
    """Yield the tables in a value: rows of texts, with a key, a list or titles.

    Args:
        value: The value: ``Pairs``, lists and scalars.
        form: The form of the tables.
        node: The expression of the value in Python, for the lines of its entries.
        depth: How many more levels to search.
    """
    if not isinstance(value, list) or not value or not depth:
        return
    keyed = isinstance(value, Pairs)
    items = [item for _, item in value] if keyed else value
    lines = list(range(1, len(value) + 1))
    if isinstance(node, (ast.Dict, ast.List, ast.Tuple)):
        lines = [one.lineno for one in (node.values if isinstance(node, ast.Dict) else node.elts)]
    keys = [[key] for key, _ in value] if keyed else [[] for _ in value]
    titles = [[key for key, _ in item] if isinstance(item, Pairs) else [] for item in items]
    if titles[0] and all(one == titles[0] for one in titles):
        values = [[_cells(one) for _, one in item] for item in items]
        kept = [i for i in range(len(titles[0])) if all(len(row[i]) == 1 for row in values)]
        rows = [[*key, *(row[i][0] for i in kept)] for key, row in zip(keys, values, strict=True)]
        header = [*([""] if keyed else []), *(titles[0][i] for i in kept)]
        if kept and len(header) <= CELLS:
            yield Table(form, rows, lines, header)
    else:
        rows = [[*key, *_cells(item)] for key, item in zip(keys, items, strict=True)]
        wide = {len(row) - len(key) for row, key in zip(rows, keys, strict=True)}
        numbers = not keyed and not any(isinstance(item, (str, list)) for item in items)
        if len(wide) == 1 and 0 < min(wide) <= CELLS and not numbers:
            yield Table(form, rows, lines)
    for key, item in value if keyed else []:
        if isinstance(item, Pairs) or NAMED.search(key):
            yield from _tables(item, form, depth=depth - 1)


def _cells(value: Any) -> list[str]:
    """Return the texts of a scalar or a list of scalars; nothing for anything else."""
    some = value if isinstance(value, list) else [value]
    good = all(isinstance(one, (str, int, float)) and not isinstance(one, bool) for one in some)
    return [str(one) for one in some] if good and len(some) <= CELLS else []


def _odd_entry(value: Any, path: str) -> MetadataError:
    """Return the message for the first entry that is not like the one before it."""
    if not isinstance(value, list) or not value:
        return MetadataError(f"The labels file {path} has no rows.", FORMS)
    keyed = isinstance(value, Pairs)
    entries = value if keyed else list(enumerate(value, 1))
    wide = [len(_cells(item)) for _, item in entries]
    at = next((i for i, many in enumerate(wide) if not many or many != wide[0]), 0)
    name, item = entries[at]
    return MetadataError(
        f"{path}: the entry {name!r} is {_shown(item)}, not an id and a name.", FORMS
    )


def _shown(value: object) -> str:
    try:
        return str(value)[:80]
    except RecursionError:
        return "nested too deeply"
