"""Documents: read and write this program's JSON files as dataclasses.

Each value must have the type of its field. A file that somebody damaged or forged is therefore
treated as missing. This module and the documents of ``replace`` must also work on Python 3.9.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import lru_cache, partial
from itertools import islice, takewhile
from typing import Any, BinaryIO, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from .disk import MOST, open_regular, read_file
from .paths import StrPath

T = TypeVar("T")

Count = NewType("Count", int)
"""A whole number that can be a count or a size: at least 0 and below ``MOST_COUNTED``."""

LONGEST_ELEMENT = 1 << 20  # most bytes of a line that ``first_lines`` reads

NONE = Count(0)
MOST_COUNTED = 1 << 53


def to_json(document: Any, indent: int | None = None) -> bytes:
    """Return a dataclass as JSON, with its fields in order."""
    return json.dumps(asdict(document), indent=indent).encode()


def load(kind: type[T], path: StrPath, most: int = MOST) -> T | None:
    """Read a JSON file as a dataclass. Return None if it is missing, damaged or of another kind.

    Args:
        kind: The dataclass.
        path: The file.
        most: The most bytes that it may have.
    """
    with suppress(OSError, ValueError, RecursionError, MemoryError):
        return parse(kind, read_file(path, most))
    return None


def parse(kind: type[T], content: bytes) -> T:
    """Read JSON as a dataclass. Members without a field are ignored.

    Raises:
        ValueError: The content is not JSON, or does not fit the dataclass.
    """
    document: T = _build(kind, json.loads(content))
    return document


def _build(hint: Any, value: Any) -> Any:
    """Convert a value from JSON to the type of a hint.

    Raises:
        ValueError: It does not fit.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint) and isinstance(value, dict):
        return _build_dataclass(hint, value)
    if hint is Count and type(value) is int and 0 <= value < MOST_COUNTED:
        return value
    if origin in (Union, getattr(types, "UnionType", Union)):  # X | Y, which Python 3.9 lacks
        return _build_any(inner, value)
    if origin is list and isinstance(value, list):
        return [_build(inner[0], item) for item in value]
    if origin is dict and isinstance(value, dict):
        return {key: _build(inner[1], item) for key, item in value.items()}
    if origin is tuple and isinstance(value, list) and len(value) == len(inner):
        return tuple(map(_build, inner, value))
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"{str(value)[:80]!r} is not {hint}")


def _build_any(hints: tuple[Any, ...], value: Any) -> Any:
    for hint in hints:
        with suppress(ValueError):
            return _build(hint, value)
    raise ValueError(f"{str(value)[:80]!r} is none of {hints}")


@lru_cache  # it evaluates each annotation anew, at every start
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _build_dataclass(kind: Any, value: dict[str, Any]) -> Any:
    hints = _hints(kind)
    known = {}
    for field in fields(kind):
        if field.name in value:
            known[field.name] = _build(hints[field.name], value[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name} is missing")
    return kind(**known)


def write_lists(text: bytes, lists: Mapping[str, Iterable[Any]], file: BinaryIO) -> None:
    """Write a document whose lists have one element per line, as there may be a million.

    Args:
        text: The rest of the document, as JSON with an indentation of 1.
        lists: Name -> elements, which come last.
        file: Where to write it.
    """
    file.write(text[: -len(b"\n}")])
    for name, elements in lists.items():
        file.write(f',\n "{name}": ['.encode())
        for place, element in enumerate(elements):
            file.write((",\n  " if place else "\n  ").encode() + json.dumps(element).encode())
        file.write(b"\n ]")
    file.write(b"\n}\n")


def first_lines(path: StrPath, lists: Iterable[str], many: int) -> dict[str, list[bytes]]:
    """Return the first ``many`` elements of some lists of a document, see ``write_lists``.

    Args:
        path: The document.
        lists: The names of the lists, in their order.
        many: The most elements of each that are returned, as JSON.

    Raises:
        OSError: The document cannot be read.
        ValueError: A list is missing.
    """
    found: dict[str, list[bytes]] = {}
    with open_regular(path) as file:
        lines = iter(partial(file.readline, LONGEST_ELEMENT), b"")
        for name in lists:
            if not any(line.startswith(f' "{name}": ['.encode()) for line in lines):
                raise ValueError(f"there is no list {name!r}")
            inside = takewhile(lambda line: line.startswith(b"  {"), lines)
            found[name] = [line.rstrip(b",\n") for line in islice(inside, many)]
    return found
