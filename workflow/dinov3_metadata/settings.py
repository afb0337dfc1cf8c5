"""The settings of config.yaml: what is wrong with them, in one sentence."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import yaml

from .errors import MetadataError
from .layout import SPLITS, StrPath, split_folder
from .layouts import has_images, layout_of, names

LONGEST = 2500  # Snakemake's record of a file has a path a third longer than the file's, below 4096

TYPES = {
    "string": "text",
    "array": "a list",
    "object": "a section",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}

PROBLEMS = (
    "zero-bytes",
    "not-an-image",
    "truncated",
    "wrong-suffix",
    "other-mode",
    "broken-exif",
    "decompression-bomb",
    "unreadable",
)
"""What an audit may find wrong with an image."""

CHOICES = {
    "splits": SPLITS,
    "engine": ("scandir", "torchvision"),
    "unaddressable": ("refuse", "skip"),
    "trust_timestamps": (True, False),
    "level": ("sample", "full"),
}
"""Setting -> what it may be."""


@dataclass(frozen=True)
class Settings:
    """What a user may say of a dataset; config.yaml and its schema tell what each means.

    Attributes:
        root, extra: Absolute paths.
        view: Absolute path; in ``extra`` by default.
        keep: Days.
    """

    root: str
    extra: str
    splits: Sequence[str] = ("TRAIN", "VAL")
    layout: str = "auto"
    view: str = ""
    labels: str = "auto"
    engine: str = "scandir"
    unaddressable: str = "refuse"
    trust_timestamps: bool = True
    level: str = "sample"
    sample: int = 1000
    keep: float = 14

    def __post_init__(self) -> None:
        self._check()
        for name, path in (("root", self.root), ("extra", self.extra)):
            object.__setattr__(self, name, _absolute(path))
        object.__setattr__(self, "view", _absolute(self.view or f"{self.extra}/view"))
        object.__setattr__(self, "labels", os.fspath(self.labels))
        object.__setattr__(self, "splits", tuple(self.splits))
        object.__setattr__(self, "layout", self.layout.replace("_", "-"))

    def _check(self) -> None:
        """Refuse what the schema of config.yaml refuses too.

        Raises:
            MetadataError: A setting is not what it may be.
        """
        for name in ("root", "extra", "labels"):
            path = getattr(self, name)
            if not isinstance(path, str | os.PathLike) or not os.fspath(path):
                raise MetadataError(f"config: {name}: {path!r} is no path.")
        if isinstance(self.splits, str) or not isinstance(self.splits, Sequence):
            raise MetadataError(f"config: splits: {self.splits!r} is not a list.")
        if not self.splits or len(set(self.splits)) < len(self.splits):
            raise MetadataError(f"config: splits: {self.splits!r} is empty or names one twice.")
        for name, choices in CHOICES.items():
            values = self.splits if name == "splits" else [getattr(self, name)]
            if wrong := [value for value in values if value not in choices]:
                known = ", ".join(map(str, choices))
                raise MetadataError(f"config: {name}: {wrong[0]!r} is not one of {known}.")
        if not isinstance(self.keep, int | float) or isinstance(self.keep, bool) or self.keep < 0:
            raise MetadataError(f"config: keep: {self.keep!r} is not a number of days.")
        if type(self.sample) is not int or self.sample < 1:
            raise MetadataError(f"config: sample: {self.sample!r} is not a whole number above 0.")


def _absolute(path: StrPath) -> str:
    return os.path.abspath(os.path.expanduser(path))


def settings_of(config: dict[str, Any]) -> Settings:
    """The settings of a validated config.yaml: the user's, or those of the demo.

    Raises:
        MetadataError: One of root and extra is set without the other.
    """
    if config["root"] and not config["extra"]:
        raise MetadataError(
            "config: `root` is set, but not `extra`: name the folder for the metadata files "
            "(it may be the same as root)."
        )
    if config["extra"] and not config["root"]:
        raise MetadataError("config: `extra` is set, but not `root`: name the dataset's folder.")
    used = config if config["root"] else config["demo"]
    return Settings(
        **{name: used[name] for name in ("root", "extra", "splits")},
        **{name: config[name] for name in ("layout", "labels")},
        view=config["view"] or "",
        keep=config["keep"],
        **config["scan"],
        level=config["verify"]["level"],
        sample=int(config["verify"]["sample"]),
    )


def explain(error: Any) -> str:
    """What a ``jsonschema.ValidationError`` means to the person who wrote the setting.

    Args:
        error: As raised for config.yaml and the ``--config`` options together.
    """
    where = ": ".join(name for name in error.absolute_path if isinstance(name, str))
    start = f"config: {where}: " if where else "config: "
    value, due = error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = [key for key in value if key not in known]
        close = get_close_matches(str(unknown[0]), known, 1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        for name, section in error.schema["properties"].items():
            if unknown[0] in section.get("properties", {}):
                guess = f" It stands below `{name}`: {name}='{{{unknown[0]}: ...}}'."
        return f"{start}there is no setting {unknown[0]!r}.{guess} Known are {', '.join(known)}."
    if error.validator == "enum":
        return f"{start}{value!r} is not one of {', '.join(map(str, due))}."
    if error.validator == "type":
        types = [due] if isinstance(due, str) else due
        wanted = " or ".join(TYPES.get(name, name) for name in types if name != "null")
        hint = ""
        if isinstance(value, str) and "array" in types:
            hint = f", for instance '[{value}]'"
        elif isinstance(value, str) and "object" in types:
            below = error.schema["properties"]
            fitting = (name for name, one in below.items() if value in one.get("enum", []))
            hint = f", for instance '{{{next(fitting, next(iter(below)))}: {value}}}'"
        elif "string" in types and not isinstance(value, list | dict):
            hint = "; put it in quotes"
        return f"{start}{str(value)!r} is not {wanted}{hint}."
    if error.validator in ("minimum", "maximum"):
        return f"{start}{value} is {'below' if error.validator == 'minimum' else 'above'} {due}."
    if error.validator == "minLength":
        return f"{start}the text is empty."
    if error.validator == "minItems":
        return f"{start}the list is empty."
    if error.validator == "uniqueItems":
        return f"{start}something stands twice in {value!r}."
    return f"{start}{error.message}"


def prepare(config: dict[str, Any]) -> dict[str, Any]:
    """The settings without empty ones, and with numbers and truth values in place of their texts.

    Snakemake reads ``--config verify='{sample: 50}'`` as ``{"sample": "50"}``.
    """

    def read(value: object) -> object:
        if isinstance(value, dict):
            return {key: read(inner) for key, inner in value.items() if inner is not None}
        scalar = value
        with suppress(yaml.YAMLError):
            scalar = yaml.safe_load(value) if isinstance(value, str) else value
        return scalar if isinstance(scalar, bool | int) else value

    return {
        key: read(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if value is not None
    }


def check_layout(layout: str, root: str, extra: str) -> None:
    """Check what depends on how the dataset lies.

    Raises:
        MetadataError: There is no such layout, or the metadata files would lie among the images of
            a flat dataset.
    """
    if layout not in names():
        raise MetadataError(f"config: layout: {layout!r} is not one of auto, {', '.join(names())}.")
    among = not layout_of(layout).list_part(root, "TRAIN").folder
    if among and os.path.realpath(root) == os.path.realpath(extra):
        raise MetadataError(
            f"config: extra: the metadata files can not lie among the images in {root}. Choose a "
            "folder below it or elsewhere."
        )


def check_root(root: str) -> None:
    """Check that a root in no layout that is known holds a split folder at least.

    Raises:
        MetadataError: It holds none; the message says what may be meant.
    """
    folders = list(map(split_folder, SPLITS))
    if not any(os.path.isdir(f"{root}/{folder}") for folder in folders):
        raise MetadataError(
            f"config: root: {root} has none of {', '.join(f'{one}/' for one in folders)} in it. "
            f"{_meant(root, folders)}"
        )


def _meant(root: str, folders: list[str]) -> str:
    """What may be meant by a root that holds no split folder."""
    parent, name = os.path.split(root)
    if name in folders:
        return f"Give the folder that holds {name}/: {parent}."
    with os.scandir(root) as entries:
        below = sorted(entry.path for entry in entries if entry.is_dir())
    if inner := next((one for one in below if os.path.isdir(f"{one}/train")), None):
        return f"{inner} has: give that."
    if any(map(has_images, below)):
        return (
            f"If its folders are classes, move them to {root}/train/; if they are not, set "
            "`layout: flat`."
        )
    return "Give the folder that holds them."


def check_folders(root: str, extra: str) -> None:
    """Check what a schema can not: the folders against each other and against the disk.

    Raises:
        MetadataError: ``root`` is no folder, or ``extra`` lies in a split folder or has a name that
            Snakemake can not handle.
    """
    if "\0" in root + extra:
        raise MetadataError("config: root or extra has a NUL character, which no path can have.")
    if not os.path.isdir(root):
        raise MetadataError(f"config: root: {root} is not a folder.")
    if os.path.exists(extra) and not os.path.isdir(extra):
        raise MetadataError(f"config: extra: {extra} is a file, where a folder is due.")
    if "{" in extra or "}" in extra:
        raise MetadataError(
            f"config: extra: {extra} has braces, which Snakemake takes for wildcards in a path. "
            "Choose a folder without."
        )
    try:
        extra.encode()
    except UnicodeEncodeError:
        raise MetadataError(
            f"config: extra: {extra} has bytes that are not UTF-8. Choose a folder without."
        ) from None
    if not extra.isprintable():
        raise MetadataError(
            f"config: extra: {extra} has a control character, which Snakemake would print. "
            "Choose a folder without."
        )
    if len(extra.encode()) > LONGEST:
        raise MetadataError(
            f"config: extra: the path is too long: {len(extra.encode()):,} bytes, of which "
            f"Snakemake can handle {LONGEST:,}. Choose a folder with a shorter one."
        )
    real = os.path.realpath(extra)
    for split in SPLITS:
        folder = os.path.realpath(os.path.join(root, split_folder(split)))
        if os.path.commonpath([real, folder]) == folder:
            raise MetadataError(
                f"config: extra: {extra} lies in the split folder {folder}. Choose root itself or "
                "a folder elsewhere."
            )
