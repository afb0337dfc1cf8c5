"""Documents: the JSON files of ours as dataclasses, and the one way to read them.

A file that somebody damaged or forged is read as none: each value must be of the type that its
field has. This module and the documents of ``replace`` are imported by Python 3.9, too.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from .disk import MOST, read_file
from .paths import StrPath

T = TypeVar("T")

Count = NewType("Count", int)
"""A whole number that a count or a size may be."""

MOST_COUNTED = 1 << 53


def to_json(document: Any, indent: int | None = None) -> bytes:
    """The JSON of a dataclass; its fields keep their order."""
    return json.dumps(asdict(document), indent=indent).encode()


def load(kind: type[T], path: StrPath, most: int = MOST) -> T | None:
    """Read a JSON file as a dataclass; None if it is missing, damaged, or not of that kind.

    Args:
        kind: The dataclass.
        path: The file.
        most: The bytes that it may have.
    """
    with suppress(OSError, ValueError, RecursionError, MemoryError):
        return parse(kind, read_file(path, most))
    return None


def parse(kind: type[T], content: bytes) -> T:
    """Read JSON as a dataclass. Members that it has no field for are ignored.

    Raises:
        ValueError: It is not JSON, or not of that kind.
    """
    document: T = _build(kind, json.loads(content))
    return document


def _build(hint: Any, value: Any) -> Any:
    """A value as a type hint wants it.

    Raises:
        ValueError: It cannot be that.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint) and isinstance(value, dict):
        return _build_dataclass(hint, value)
    if hint is Count and type(value) is int and 0 <= value < MOST_COUNTED:
        return value
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        return _build_any(inner, value)
    if origin is list and isinstance(value, list):
        return [_build(inner[0], one) for one in value]
    if origin is dict and isinstance(value, dict):
        return {key: _build(inner[1], one) for key, one in value.items()}
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


def _build_dataclass(kind: Any, value: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    known = {}
    for field in fields(kind):
        if field.name in value:
            known[field.name] = _build(hints[field.name], value[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name} is missing")
    return kind(**known)
