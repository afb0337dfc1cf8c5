"""Find what can be changed in a module, for mutants.py.

Operators, conditions, numbers, defaults, results, calls, and errors raised or caught are changed.
Texts, annotations and decorators are left alone.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

SWAPS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
    ast.Add: (r"\+", "-"),
    ast.Sub: ("-", "+"),
}
"""A regular expression for each operator, and the operator that replaces it."""


class Mutant(NamedTuple):
    """One change of one module."""

    start: int  # of the bytes of the source that are replaced
    end: int
    text: str  # that replaces them
    line: int
    within: str  # the function or class around it
    change: str  # "before → after"
    runs: frozenset[int]  # a test that runs none of these lines cannot notice it
    path: str = ""  # of the module

    def apply(self, source: bytes) -> bytes:
        """Return the changed source."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {self.change}"


def is_guard(node: ast.AST) -> bool:
    """Return whether a node asks who reads or runs the module."""
    return isinstance(node, ast.If) and bool(
        re.search(r"TYPE_CHECKING|__name__ ==", ast.unparse(node.test))
    )


def children(node: ast.AST) -> Iterable[ast.AST]:
    """Return the parts of a node that are changed: no annotation, decorator or text."""
    match node:
        case ast.JoinedStr() | ast.FunctionDef(name="__repr__" | "__str__"):
            return []  # before Python 3.12, positions within f-strings are wrong
        case ast.FunctionDef(args=arguments):
            return [*filter(None, [*arguments.defaults, *arguments.kw_defaults]), *node.body]
        case ast.AnnAssign():
            return [node.value] if node.value else []
        case ast.ClassDef():
            return node.body
        case ast.If() if is_guard(node):
            return node.orelse
    return ast.iter_child_nodes(node)


def function_lines(node: ast.AST) -> frozenset[int]:
    """Return the lines in the functions of a module or class, or in one function."""
    functions = [one for one in ast.walk(node) if isinstance(one, ast.FunctionDef)]
    return frozenset(
        line for one in functions for line in range(one.body[0].lineno, one.end_lineno + 1)
    )


def statement_lines(node: ast.AST) -> frozenset[int]:
    """Return the lines of a statement, without those of the statements in it."""
    inner = getattr(node, "body", None)
    last = max(node.lineno, inner[0].lineno - 1) if inner else node.end_lineno
    return frozenset(range(node.lineno, last + 1))


def defaults(node: ast.AST) -> dict[ast.AST, ast.arg]:
    """Return the argument of each default of a function."""
    if not isinstance(node, ast.FunctionDef):
        return {}
    places = [*node.args.posonlyargs, *node.args.args]
    pairs = [*zip(reversed(node.args.defaults), reversed(places), strict=False)]
    pairs += zip(node.args.kw_defaults, node.args.kwonlyargs, strict=True)
    return {default: argument for default, argument in pairs if default is not None}


def is_text(node: ast.AST) -> bool:
    """Return whether an expression is plainly a text, from which nothing can be subtracted."""
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def find_mutants(source: bytes, path: str = "") -> list[Mutant]:
    """Return every mutant of a module."""
    lines = [0, 0]  # where each begins
    for text in source.splitlines(keepends=True):
        lines.append(lines[-1] + len(text))
    module = ast.parse(source)
    found: list[Mutant] = []
    arguments: dict[ast.AST, ast.arg] = {}  # whose defaults they are

    def span(node: ast.AST) -> tuple[int, int]:
        first, last = lines[node.lineno], lines[node.end_lineno]
        return first + node.col_offset, last + node.end_col_offset

    def swaps(parts: list[ast.expr], operators: list[ast.AST]) -> Iterator[tuple[int, int, str]]:
        for (left, right), operator in zip(pairwise(parts), operators, strict=True):
            start, end = span(left)[1], span(right)[0]
            gap = re.sub(rb"#.*", lambda note: b" " * len(note[0]), source[start:end])
            pattern, other = SWAPS.get(type(operator), ("(?!)", ""))
            if sign := re.search(pattern.encode(), gap):
                yield start + sign.start(), start + sign.end(), other

    def narrowed(caught: list[ast.expr]) -> Iterator[tuple[int, int, str]]:
        for error in caught:
            if isinstance(error, ast.Name) and error.id == "OSError":
                yield *span(error), "FileNotFoundError"
            if len(caught) > 1:
                yield *span(error), "()"

    def changes(node: ast.AST) -> Iterator[tuple[int, int, str]]:
        """Yield the start and end of what can be replaced, and what replaces it."""
        match node:
            case ast.Compare():
                yield from swaps([node.left, *node.comparators], node.ops)
            case ast.BoolOp():
                yield from swaps(node.values, [node.op] * (len(node.values) - 1))
            case ast.BinOp() if not any(map(is_text, (node.left, node.right))):
                yield from swaps([node.left, node.right], [node.op])
            case ast.AugAssign() if not is_text(node.value):
                yield from swaps([node.target, node.value], [node.op])
            case ast.UnaryOp(op=ast.Not()):
                yield span(node)[0], span(node)[0] + len("not"), ""
            case ast.Constant(value=bool()):
                yield *span(node), str(not node.value)
            case ast.Constant(value=int()):
                yield *span(node), str(node.value + 1)
                yield *span(node), str(node.value - 1)
            case ast.Return(value=ast.expr()) if ast.unparse(node.value) != "None":
                yield *span(node), "return None"
            case ast.Expr(value=ast.Call()) | ast.Raise():
                yield *span(node), "pass"
            case ast.Break():
                yield *span(node), "continue"
            case ast.Continue():
                yield *span(node), "break"
            case ast.ExceptHandler(type=ast.expr() as caught):
                yield *span(caught), "()"
                yield from narrowed(caught.elts if isinstance(caught, ast.Tuple) else [caught])
            case ast.Call(func=ast.Name("suppress") | ast.Attribute(attr="suppress")):
                yield from narrowed(node.args)
                yield span(node.func)[1], span(node)[1], "()"
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.comprehension):
            for test in node.ifs if isinstance(node, ast.comprehension) else [node.test]:
                if not isinstance(test, ast.Constant) and not is_guard(node):
                    yield *span(test), "False"
                    if not isinstance(node, ast.While):
                        yield *span(test), "True"

    def shown(node: ast.AST, parent: ast.AST, start: int, end: int) -> tuple[int, int]:
        """Return as much of the source as makes a change clear to a reader."""
        match node:
            case ast.Compare() | ast.BoolOp() | ast.BinOp() | ast.UnaryOp() | ast.AugAssign():
                return span(node)
            case ast.Call():
                return span(node)
            case ast.Constant() if node in arguments:
                return span(arguments[node])[0], end
            case ast.Constant() if getattr(parent, "lineno", 0) == getattr(parent, "end_lineno", 1):
                return span(parent)
        return start, end

    def walk(
        node: ast.AST, parent: ast.AST, scopes: tuple[ast.AST, ...], runs: frozenset[int]
    ) -> None:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                scopes = *scopes, node
                runs = function_lines(node) or runs
                arguments.update(defaults(node))
            case ast.stmt() | ast.ExceptHandler():
                inside = isinstance(scopes[-1], ast.FunctionDef)
                runs = statement_lines(node) | (frozenset() if inside else runs)
        within = ".".join(scope.name for scope in scopes[1:])
        for start, end, text in changes(node):
            first, last = shown(node, parent, start, end)
            before = source[first:last]
            after = source[first:start] + text.encode() + source[end:last]
            change = " → ".join(" ".join(one.decode().split()) for one in (before, after))
            line = source.count(b"\n", 0, start) + 1
            found.append(Mutant(start, end, text, line, within, change, runs, path))
        for child in children(node):
            walk(child, node, scopes, runs)

    walk(module, module, (module,), function_lines(module))
    return found
