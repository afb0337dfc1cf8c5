"""Values: check the value of a setting by its schema, as jsonschema would, which starts slowly."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .addresses import SPLITS

TYPES = {
    "string": "text",
    "array": "a list",
    "object": "a section",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def wrong_value(schema: Mapping[str, Any], value: Any) -> str:
    """Say what is wrong with the value of a setting; empty if nothing is.

    Args:
        schema: The schema of the setting, in JSON Schema.
        value: Its value.
    """
    kinds, each = schema.get("type", []), [value]
    kinds = [kinds] if isinstance(kinds, str) else kinds
    kind = next((kind for kind in kinds if _is_of_type(kind, value)), "")
    wrong = ""
    if kinds and not kind:
        wrong = f"{value!r} is not {' or '.join(TYPES[kind] for kind in kinds)}"
    elif kind == "array":
        each = list(value)
        if len(each) < schema.get("minItems", 0):
            wrong = "the list is empty"
        elif len(set(each)) < len(each):
            wrong = f"{value!r} names something twice"
        elif not all(isinstance(one, str) and one for one in each):
            wrong = f"{value!r} has an element that is not text; put it in quotes"
    elif kind == "object":
        wrong = _wrong_paths(value, lists="array" in str(schema["properties"]))
    elif kind == "string" and len(value) < schema.get("minLength", 0):
        wrong = "the text is empty"
    elif value != value:
        wrong = f"{value} is not a number"
    elif "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        wrong = f"{value} is not above {schema['exclusiveMinimum']}"
    elif "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        wrong = f"{value} is not below {schema['exclusiveMaximum']}"
    elif "minimum" in schema and value < schema["minimum"]:
        wrong = f"{value} is below {schema['minimum']}"
    elif "maximum" in schema and value > schema["maximum"]:
        wrong = f"{value} is above {schema['maximum']}"
    choices = schema.get("enum") or schema.get("items", {}).get("enum")
    known = [(type(choice), choice) for choice in choices or ()]  # 1 is not True
    unknown = [choice for choice in each if choices and (type(choice), choice) not in known]
    if unknown and not wrong:
        wrong = f"{unknown[0]!r} is not one of {listed(choices)}"
    return wrong


def listed(choices: Iterable[object]) -> str:
    """Return the values that a setting may have, as YAML has them."""
    return ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in choices)


def _wrong_paths(value: Mapping[Any, Any], lists: bool) -> str:
    """Say what is wrong with a setting that has a path, or with ``lists`` a list of paths, for some
    splits."""
    for split, paths in value.items():
        if split not in SPLITS:
            return f"{split!r} is not one of {', '.join(SPLITS)}"
        if not lists:
            if not (isinstance(paths, str) and paths):
                return f"{split}: {paths!r} is not a file"
            continue
        several = [paths] if isinstance(paths, str) else paths
        if not (_is_of_type("array", several) and several and all(several)):
            return f"{split}: {paths!r} is neither a folder nor a list of folders"
        if not all(isinstance(path, str) for path in several):
            return f"{split}: {paths!r} is not text; put it in quotes"
        if len(set(several)) < len(several):
            return f"{split}: {paths!r} names something twice"
    return ""


def _is_of_type(kind: str, value: object) -> bool:
    """Return whether a value has a type of JSON Schema. Any sequence except a str is an array."""
    if kind == "array":
        return isinstance(value, Sequence) and not isinstance(value, str)
    if kind in ("integer", "number"):
        types = int if kind == "integer" else (int, float)
        return isinstance(value, types) and not isinstance(value, bool)
    if kind == "object":
        return isinstance(value, Mapping)
    return isinstance(value, str if kind == "string" else bool)
