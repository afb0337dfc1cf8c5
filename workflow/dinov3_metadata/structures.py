"""Structures: the tables in a labels file that is JSON, Python or YAML."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from .errors import MetadataError
from .tables import FORMS, Table, first_name, lines_of

LONGEST = 1 << 24  # most characters of a file to parse as Python or YAML
DEPTH = 4  # how deep JSON, Python or YAML is searched for names
CELLS = 8  # most columns of a table in JSON, Python or YAML
YAML_KEYS = r"names|classes|class_names|labels|categories|id2label"
NAMED = re.compile("name|class|label|categor|synset|wnid", re.IGNORECASE)
CONTAINER = r"\w*[dD]ict|list|tuple"  # what Python may call with a dict or list
STRUCTURED = r"""\s*(?:#.*\n\s*)*(?:\w+\s*=\s*)?[\[({]\s*(?:\d+\s*[:,]|["'\[({\]}]|#|$)"""


class Pairs(list[tuple[str, Any]]):
    """The pairs of an object in JSON, Python or YAML. A key may occur twice."""


def structured_tables(text: str, path: str) -> list[Table]:
    """Return the tables of a labels file in JSON, Python or YAML; none if it is none of them.

    Args:
        text: The content of the file.
        path: The file, for messages. With the suffix of YAML, YAML is tried.

    Raises:
        MetadataError: The text is JSON or Python that cannot be read.
    """
    for parse in (_json_tables, _python_tables, _yaml_tables):
        if tables := parse(text, path):
            return tables
    if re.match(r'\s*[\[{]\s*[\["]', text):
        raise _not_json(text, path)
    if re.match(STRUCTURED, text):
        raise _not_python(text, path)
    return []


def _json_tables(text: str, path: str) -> list[Table]:
    if not re.match(r"\s*([\[{]|//|/\*)", text):
        return []
    try:
        value = json.loads(_plain_json(text), object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        value = _json_lines(text)
        if not value:
            return []
    tables = list(_tables(value, "json"))
    if not tables:
        raise _odd_entry(value, path)
    return tables


def _plain_json(text: str) -> str:
    """Remove comments, and commas before a closing bracket, which people write and JSON forbids."""
    for extra in (r"//[^\n]*|/\*(?s:.*?)\*/", r",(?=\s*[\]}])"):
        text = re.sub(rf'("(?:[^"\\]|\\.)*")|{extra}', r"\1", text)
    return text


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
    if len(text) > LONGEST or not re.search(
        rf"^[ \t]*(\w+\s*(:.*)?=\s*)?([\w.]*\b({CONTAINER})\s*)?[\[({{]", text, re.MULTILINE
    ):
        return []
    try:
        tree = _parsed(text)
        tables = [table for node in tree.body for table in _of_statement(node)]
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    first = [
        table._replace(rows=[[*row[:-1], first_name(row[-1])] for row in table.rows])
        for table in tables
    ]
    return first + [table for table in tables if len(table.rows[0]) == 1]  # folders with commas


def _of_statement(node: ast.stmt) -> Iterator[Table]:
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.Expr)) and node.value:
        value = _container(node.value)
        if isinstance(value, (ast.Dict, ast.List)) or not isinstance(node, ast.Expr):
            with suppress(ValueError, TypeError):
                yield from _tables(_constant(value), "python", value)


def _container(node: ast.expr) -> ast.expr:
    """Return the dict or list in ``OrderedDict({...})`` and the like, or the node itself."""
    while isinstance(node, ast.Call) and re.fullmatch(
        CONTAINER, getattr(node.func, "id", getattr(node.func, "attr", ""))
    ):
        keys = [ast.Constant(one.arg) for one in node.keywords]
        values = [one.value for one in node.keywords]
        node = node.args[0] if node.args else ast.Dict([*keys], values)
    return node


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
    """Return the value of a node with all scalars as text; an alias of more is not followed."""
    if id(node) in above:
        return None
    if isinstance(node.value, str):
        return node.value
    above.add(id(node))
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
    if all(isinstance(one, Pairs) and len(one) == 1 for one in value):
        pairs = Pairs(one[0] for one in value)  # a list of pairs, as people write in YAML
        value = pairs if len({key for key, _ in pairs}) > 1 else value
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
    if keyed and all(isinstance(item, list) and _cells(item[:1]) for item in items):
        yield Table(form, [[key, *_cells(item[:1])] for key, item in value], lines)
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
