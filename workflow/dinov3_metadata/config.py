"""Config: generate config.yaml and its schema from ``settings``, and check a user's config.

``python -m dinov3_metadata.config <CHECKOUT>`` writes both files. A test checks that they are up to
date.
"""

import sys
from contextlib import suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml

from .addresses import SPLITS
from .disk import open_regular
from .errors import MetadataError, did_you_mean
from .paths import StrPath
from .settings import Settings, flatten
from .values import TYPES, listed

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

COMMENTS = {
    "root": "; empty: a demo dataset is made",
    "audit": "`snakemake --cores 4 audit` opens every image, and lists those that are not ok",
    "demo": "used while root is empty",
}
"""Section or key of config.yaml -> what its comment says there and not in ``--help``."""


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config in which each missing setting has its default."""
    whole = dict(config)
    for field in fields(Settings):
        section, _, key = field.metadata["key"].rpartition(": ")
        default = None if field.default in (MISSING, "") else _plain(field.default)
        if not section:
            whole.setdefault(key, default)
        elif isinstance(inside := whole.get(section, {}), dict):
            whole[section] = {key: default} | inside
    if isinstance(demo := whole.get("demo", {}), dict):
        whole["demo"] = {key: value for key, (value, _) in DEMO.items()} | demo
    return whole


def is_good(config: dict[str, Any]) -> bool:
    """Return whether a config fits its schema.

    This check does without jsonschema, whose import takes a twentieth of a run that has nothing to
    do. If the config does not fit, jsonschema says why.
    """
    try:
        used = _used(config)
        empty = [name for name in ("root", "extra") if used[name] in (None, "")]
        Settings(**used | dict.fromkeys(empty, "/"))
    except (MetadataError, TypeError, KeyError, ValueError):
        return False
    if not config.keys() <= {*with_defaults({}), "demo"}:
        return False
    return config.get("demo") == {key: value for key, (value, _) in DEMO.items()}


def check_file(path: StrPath) -> None:
    """Check that a file can be a config, because Snakemake's own errors do not say which is wrong.

    Raises:
        MetadataError: It cannot be read, is not YAML, or has no settings.
    """
    try:
        with open_regular(path) as file:
            config = yaml.load(file.read().decode(), LOADER)
    except OSError as error:
        raise MetadataError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise MetadataError(f"{path} is not a text in UTF-8, so it cannot be a config.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "it has characters that no text has"
        raise MetadataError(f"{path}{line}: this is not YAML: {what}.") from None
    if not isinstance(config, dict):
        raise MetadataError(
            f"{path} has no settings. Write each as `name: value`, as config.yaml of this program "
            "does, which `dinov3-metadata init` writes."
        )


def check_config(config: dict[str, Any]) -> None:
    """Check that a config with its defaults fits its schema.

    Raises:
        MetadataError: It does not.
    """
    if is_good(config):
        return
    from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]

    try:
        Draft202012Validator(schema()).validate(config)
    except ValidationError as error:
        raise MetadataError(explain(error)) from None


def settings_of(config: dict[str, Any], is_module: bool = False) -> Settings:
    """Return the settings of a config that was checked, or those of the demo if ``root`` is empty.

    Args:
        config: The config.
        is_module: Whether it is that of a module in another workflow, which gets no demo.

    Raises:
        MetadataError: Only one of ``root`` and ``extra`` is set, or none for a module.
    """
    if is_module and not config["root"] and not config["extra"]:
        raise MetadataError(
            "config: a module needs `root` (the dataset's folder) and `extra` (the folder for the "
            "metadata files). Set both in the `config:` of its `module` statement."
        )
    if config["root"] and not config["extra"]:
        raise MetadataError(
            "config: `root` is set, but not `extra`: name the folder for the metadata files "
            "(it may be the same as root)."
        )
    if config["extra"] and not config["root"]:
        raise MetadataError("config: `extra` is set, but not `root`: name the dataset's folder.")
    used = _used(config)
    if not config["root"]:
        used |= {key: config["demo"][key] for key in ("root", "extra", "splits")}
        if config["demo"]["faults"]:  # another dataset than the one without, which may exist
            used |= {key: f"{used[key]}-faults" for key in ("root", "extra")}
    return Settings(**used)


def _used(config: dict[str, Any]) -> dict[str, Any]:
    """A config as the arguments of ``Settings``."""
    used = flatten({key: value for key, value in config.items() if key != "demo"})
    if isinstance(used["sample"], float) and used["sample"].is_integer():
        used["sample"] = int(used["sample"])  # as JSON Schema takes it
    return used | ({"view": ""} if used["view"] is None else {})


def explain(error: Any) -> str:
    """Return what a ``jsonschema.ValidationError`` means, for the person who wrote the setting.

    Args:
        error: The error that was raised for config.yaml merged with the ``--config`` options.
    """
    where = ": ".join(name for name in error.absolute_path if isinstance(name, str))
    start = f"config: {where}: " if where else "config: "
    value, expected = error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = [key for key in value if key not in known]
        guess = did_you_mean(str(unknown[0]), known)
        sections = error.schema["properties"].items()
        holding = [name for name, one in sections if unknown[0] in one.get("properties", {})]
        if holding:
            shown = " or ".join(f"{name}='{{{unknown[0]}: ...}}'" for name in holding)
            guess = f" It belongs in a section: {shown}."
        names = ", ".join(known)
        return f"{start}there is no setting {unknown[0]!r}.{guess} The known settings are {names}."
    if error.validator == "enum":
        return f"{start}{value!r} is not one of {listed(expected)}."
    if error.validator == "type":
        types = [expected] if isinstance(expected, str) else expected
        wanted = " or ".join(TYPES.get(name, name) for name in types if name != "null")
        hint = ""
        if isinstance(value, str) and "array" in types:
            hint = f", for instance '[{value}]'"
        elif isinstance(value, str) and "object" in types:
            below = error.schema["properties"]
            fitting = (name for name, rule in below.items() if value in rule.get("enum", []))
            hint = f", for instance '{{{next(fitting, next(iter(below)))}: {value}}}'"
        elif "string" in types and not isinstance(value, list | dict):
            hint = "; put it in quotes"
        return f"{start}{str(value)!r} is not {wanted}{hint}."
    if error.validator in ("exclusiveMinimum", "exclusiveMaximum"):
        side = "above" if error.validator == "exclusiveMinimum" else "below"
        return f"{start}{value} is not {side} {expected}."
    if error.validator in ("minimum", "maximum"):
        return (
            f"{start}{value} is {'below' if error.validator == 'minimum' else 'above'} {expected}."
        )
    if error.validator == "minLength":
        return f"{start}the text is empty."
    if error.validator == "minItems":
        return f"{start}the list is empty."
    if error.validator == "uniqueItems":
        return f"{start}{value!r} names something twice."
    return f"{start}{error.message}"


def prepare(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without the empty ones, with texts turned into numbers and booleans.

    This is needed because Snakemake reads ``--config verify='{sample: 50}'`` as
    ``{"sample": "50"}``.
    """

    def read(value: object) -> object:
        if isinstance(value, dict):
            return {key: read(inner) for key, inner in value.items() if inner is not None}
        scalar = value
        with suppress(yaml.YAMLError):
            scalar = yaml.safe_load(value) if isinstance(value, str) else value
        return scalar if isinstance(scalar, bool | int | float) else value

    return {
        key: read(value) if isinstance(value, dict) and key != "folders" else value
        for key, value in config.items()
        if value is not None
    }


DEMO = {
    "root": ("demo/imagenet", "drawn once; to draw it again, remove it"),
    "extra": ("demo/extra", "folder for its metadata files"),
    "splits": ([*SPLITS], "its splits"),
    "images": (
        {"TRAIN": 20, "VAL": 5, "TEST": 50},
        "images per class; for TEST in all",
    ),
    "faults": (False, "one image with each problem, in ROOT-faults and EXTRA-faults"),
}
"""Key in the section ``demo`` -> its value and its comment."""

DEMO_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": [*DEMO],
    "properties": {
        "root": {
            "description": "Where the demo dataset is made while `root` is empty.",
            "type": "string",
        },
        "extra": {
            "description": "Where the metadata of the demo dataset is written.",
            "type": "string",
        },
        "splits": {"$ref": "#/properties/splits"},
        "images": {
            "description": "Images per class of each split; for TEST the images in all.",
            "type": "object",
            "additionalProperties": False,
            "required": [*SPLITS],
            "properties": {
                "TRAIN": {"type": "integer", "minimum": 1, "maximum": 20_000},
                "VAL": {"type": "integer", "minimum": 1},
                "TEST": {"type": "integer", "minimum": 1},
            },
        },
        "faults": {
            "description": "Whether the demo dataset holds one image with each problem that an "
            "audit finds, so that the report has something to show. Its root and extra then end in "
            "-faults.",
            "type": "boolean",
        },
    },
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of config.yaml."""
    properties: dict[str, Any] = {}
    for field in fields(Settings):
        section, _, key = field.metadata["key"].rpartition(": ")
        rule = {"description": field.metadata["about"], **field.metadata["schema"]}
        default = _plain(field.default)
        if default in (None, "") or key in ("root", "extra"):  # empty in config.yaml: null
            kinds = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
            rule = rule | {"type": [*kinds, "null"]}
            rule = rule | ({"minLength": 0} if "string" in kinds else {})
            default = None
        inside = properties
        if section:
            empty = {
                "type": "object",
                "additionalProperties": False,
                "default": {},
                "properties": {},
            }
            inside = properties.setdefault(section, empty)["properties"]
        inside[key] = rule | {"default": default}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "The settings of config.yaml",
        "type": "object",
        "additionalProperties": False,
        "required": ["demo"],
        "properties": properties | {"demo": DEMO_SCHEMA},
    }


def config_yaml() -> str:
    """Return the text of config.yaml: every setting with its default and a comment."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for field in fields(Settings):
        section, _, key = field.metadata["key"].rpartition(": ")
        empty = field.default in (MISSING, "", None)
        default = "" if empty else f" {_flow(field.default)}"
        text = field.metadata["short"] + ("" if section else COMMENTS.get(key, ""))
        sections.setdefault(section, []).append((f"{key}:{default}", text))
    sections["demo"] = [(f"{key}: {_flow(value)}", text) for key, (value, text) in DEMO.items()]
    lines = [
        "# Every setting. On the command line: "
        "snakemake --cores 4 --config root=<ROOT> extra=<EXTRA>"
    ]
    for section, settings in sections.items():
        comment = COMMENTS.get(section, "")
        head = f"{section}:  # {comment}" if comment else f"{section}:"
        lines += ["", head] if section else [""]
        indent = "  " if section else ""
        width = max(len(setting) for setting, _ in settings)
        lines += [f"{indent}{setting:{width}}  # {text}" for setting, text in settings]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    """Return a value with a tuple turned into a list, as JSON and YAML need it."""
    return [*value] if isinstance(value, tuple) else value


def _flow(value: object) -> str:
    """Return a value as one line of YAML."""
    return yaml.safe_dump(_plain(value), default_flow_style=True, sort_keys=False).split("\n")[0]


def main() -> None:
    """Write config.yaml and its schema into the checkout given on the command line."""
    checkout = Path(sys.argv[1])
    (checkout / "config.yaml").write_text(config_yaml())
    text = yaml.safe_dump(schema(), sort_keys=False, width=100)
    (checkout / "workflow/schemas/config.schema.yaml").write_text(text)


if __name__ == "__main__":
    main()
