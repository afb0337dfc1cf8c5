"""Settings: define and check the settings of a user.

The fields of ``Settings`` are the only list of settings. config.yaml, its schema and the options of
``python -m dinov3_metadata`` are generated from it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from .addresses import SPLITS
from .errors import MetadataError, did_you_mean
from .formats import GROUPS, PROBLEMS
from .layouts import LAYOUTS
from .paths import LABEL_FILES, absolute

TYPES = {
    "string": "text",
    "array": "a list",
    "object": "a section",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}

SECTIONS = ("scan", "verify", "audit", "log")
"""The sections of config.yaml."""


def _setting(
    default: Any = MISSING,
    *,
    key: str,
    about: str,
    short: str,
    choices: Sequence[str] | None = None,
    **schema: Any,
) -> Any:
    """Return a field of ``Settings``.

    Args:
        default: Its default.
        key: Its key in config.yaml. If it is in a section, the section and a colon come first.
        about: What it means, for the schema.
        short: The same on one line, for config.yaml and ``--help``.
        choices: The values that the command line takes, if the schema does not list them.
        schema: The values that it may have, as keywords of JSON Schema.
    """
    choices = choices or schema.get("enum")
    notes = {"key": key, "about": about, "short": short, "choices": choices, "schema": schema}
    return field(default=default, metadata=notes)


@dataclass(frozen=True)
class Settings:
    """The settings for a dataset. Paths become absolute.

    ``root`` is the folder of the dataset. The root that DINOv3 takes may be another one: a view.

    Raises:
        MetadataError: A setting has a wrong value.
    """

    root: str = _setting(
        key="root",
        about="Folder that holds the labels file and the split folders train/, val/ and test/. "
        "Empty means that a demo dataset is made and used.",
        short="folder with labels.txt, train/, val/, test/",
        type="string",
        minLength=1,
    )
    extra: str = _setting(
        key="extra",
        about="Folder that the metadata files are written to; may be the same as root.",
        short="folder for the metadata files; may be the same as root",
        type="string",
        minLength=1,
    )
    splits: Sequence[str] = _setting(
        ("TRAIN", "VAL"),
        key="splits",
        about="The splits to make metadata for.",
        short="which of TRAIN, VAL, TEST",
        type="array",
        items={"enum": [*SPLITS]},
        minItems=1,
        uniqueItems=True,
    )
    layout: str = _setting(
        "auto",
        key="layout",
        about="The layout of the dataset: as DINOv3 reads it (imagenet), or another one, so that a "
        "view of it is made. auto detects it.",
        short=f"layout of root: auto, {', '.join(LAYOUTS)}",
        choices=["auto", *LAYOUTS],
        type="string",
    )
    view: str = _setting(
        "",
        key="view",
        about="Folder for the view; empty for view/ in extra.",
        short="folder for links in DINOv3's layout, if root has another; empty: EXTRA/view",
        type="string",
    )
    folders: Mapping[str, str | Sequence[str]] | None = _setting(
        None,
        key="folders",
        about="The folder of each split below root, where it is not called train, val or test; for "
        "a split in several folders, a list. Folders with known names, such as valid or "
        "imagenet21k_train, are found without this setting.",
        short="where splits are, if not in train, val, test: {VAL: valid}",
        type="object",
        additionalProperties=False,
        properties={
            split: {
                "type": ["string", "array"],
                "minLength": 1,
                "items": {"type": "string", "minLength": 1},
                "minItems": 1,
                "uniqueItems": True,
            }
            for split in SPLITS
        },
    )
    labels: str = _setting(
        "auto",
        key="labels",
        about="Where the class names come from: a file, relative to root or absolute; auto for the "
        f"first of {', '.join(LABEL_FILES)} in root; folders for the names of the class folders.",
        short="class names: auto (labels.txt and other known files), a file, or folders",
        type="string",
        minLength=1,
    )
    classes: str = _setting(
        "train",
        key="classes",
        about="What the class numbers of TRAIN and VAL are: positions among the classes of TRAIN "
        "(train), among those of both splits (union), or for each split among its own (own). Only "
        "with own do both splits have other numbers for a class that one of them lacks.",
        short="which classes are numbered: train (those of TRAIN, for VAL too), union, own",
        enum=["train", "union", "own"],
    )
    empty_classes: str = _setting(
        "refuse",
        key="empty_classes",
        about="What to do with a class folder without images: stop (refuse), or number it anyway "
        "(keep), in every split.",
        short="class folders without images: refuse, or keep them in the numbering",
        enum=["refuse", "keep"],
    )
    keep: float = _setting(
        14,
        key="keep",
        about="Days that replaced files are kept in the work folder, if extra is on a file server: "
        "a training on another host may still read them. Those that the last publication replaced "
        "always stay.",
        short="days that replaced files are kept if EXTRA is on a file server: see README",
        type="number",
        minimum=0,
    )
    engine: str = _setting(
        "scandir",
        key="scan: engine",
        about="What lists the folders: our own code (scandir) or torchvision's ImageFolder. The "
        "result is the same.",
        short="scandir, or torchvision (ImageFolder itself: same result, slower)",
        enum=["scandir", "torchvision"],
    )
    unaddressable: str = _setting(
        "refuse",
        key="scan: unaddressable",
        about="What to do with an image whose path DINOv3 cannot rebuild from its number: stop "
        "(refuse), or leave it out and count it (skip).",
        short="images whose path DINOv3 cannot rebuild: refuse, or skip and count them",
        enum=["refuse", "skip"],
    )
    trust_timestamps: bool = _setting(
        True,
        key="scan: trust_timestamps",
        about="Whether a folder with the same timestamps and inode holds the same names. Set false "
        "for file systems whose folder timestamps are unreliable, such as object stores mounted "
        "through FUSE: then every folder is listed at every run.",
        short="false lists every folder at every run: for unreliable folder timestamps",
        type="boolean",
    )
    level: str = _setting(
        "sample",
        key="verify: level",
        about="sample looks up the images of some rows; full looks up all of them and compares the "
        "split with a fresh ImageFolder.",
        short="sample, or full (every path, and a comparison with a fresh ImageFolder)",
        enum=["sample", "full"],
    )
    sample: int = _setting(
        1000,
        key="verify: sample",
        about="How many rows `sample` looks up, spread over the split.",
        short="how many paths `level: sample` looks up",
        type="integer",
        minimum=1,
        maximum=1_000_000_000,
    )
    fail_on: Sequence[str] = _setting(
        (),
        key="audit: fail_on",
        about="Problems of images that stop publishing; with one, each split is audited before it "
        "is published. duplicate are images that a split has twice, leak those in two splits.",
        short="problems that stop publishing, such as [truncated, not-an-image, zero-bytes]",
        type="array",
        items={"enum": [*PROBLEMS, *GROUPS]},
        uniqueItems=True,
    )
    duplicates: bool = _setting(
        True,
        key="audit: duplicates",
        about="Whether an audit looks for images that are there twice, or in two splits.",
        short="look for images that are there twice, or in two splits",
        type="boolean",
    )
    log_level: str = _setting(
        "info",
        key="log: level",
        about="The least that the stages write to their logs.",
        short="how much the stages write to their logs: debug, info, warning",
        enum=["debug", "info", "warning"],
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = vars(self)[setting.name]
            if value is None and setting.default in ("", None):
                continue
            if value != "" or setting.name != "view":
                _check(setting, os.fspath(value) if isinstance(value, os.PathLike) else value)
        change = object.__setattr__  # the dataclass is frozen
        for name in ("root", "extra"):
            change(self, name, absolute(vars(self)[name]))
        change(self, "view", absolute(self.view or f"{self.extra}/view"))
        change(self, "labels", os.fspath(self.labels))
        # The name of a layout's module, such as tiny_imagenet, is accepted, too.
        change(self, "layout", self.layout.replace("_", "-"))
        change(self, "splits", tuple(self.splits))
        change(self, "folders", _folders(self.folders or {}, self.root))
        change(self, "fail_on", tuple(self.fail_on))
        unseen = [name for name in self.fail_on if name in GROUPS]
        if unseen and not self.duplicates:
            raise MetadataError(
                f"config: audit: fail_on: {unseen[0]!r} needs `duplicates: true`, because with "
                "`false` nothing looks for duplicates. Change one of the two."
            )


def _folders(folders: Mapping[str, Any], root: str) -> dict[str, list[str]]:
    """Return the setting ``folders`` with a list of paths below root for each split.

    Raises:
        MetadataError: A folder is not below root.
    """
    lists: dict[str, list[str]] = {}
    for split, paths in folders.items():
        for path in [paths] if isinstance(paths, str) else paths:
            below = os.path.relpath(os.path.join(root, path), root)
            if below.split("/")[0] in (".", ".."):
                raise MetadataError(
                    f"config: folders: {split}: {path!r} is not the path of a folder below root. "
                    "If it is elsewhere, make a link to it in root."
                )
            lists.setdefault(split, []).append(below)
    return lists


def _check(setting: "Field[Any]", value: Any) -> None:
    """Refuse a value that the schema of config.yaml refuses, too.

    Raises:
        MetadataError: The setting cannot have this value.
    """
    schema = setting.metadata["schema"]
    kind, each = schema.get("type"), [value]
    wrong = ""
    if kind and not _is_of_type(kind, value):
        wrong = f"{value!r} is not {TYPES[kind]}"
    elif kind == "array":
        each = list(value)
        if len(each) < schema.get("minItems", 0):
            wrong = "the list is empty"
        elif len(set(each)) < len(each):
            wrong = f"{value!r} names something twice"
    elif kind == "object":
        wrong = _wrong_paths(value)
    elif kind == "string" and len(value) < schema.get("minLength", 0):
        wrong = "the text is empty"
    elif value != value:
        wrong = f"{value} is not a number"
    elif "minimum" in schema and value < schema["minimum"]:
        wrong = f"{value} is below {schema['minimum']}"
    elif "maximum" in schema and value > schema["maximum"]:
        wrong = f"{value} is above {schema['maximum']}"
    choices = schema.get("enum") or schema.get("items", {}).get("enum")
    unknown = [choice for choice in each if choices and choice not in choices]
    if unknown and not wrong:
        wrong = f"{unknown[0]!r} is not one of {', '.join(choices)}"
    if wrong:
        raise MetadataError(f"config: {setting.metadata['key']}: {wrong}.")


def _wrong_paths(value: Mapping[Any, Any]) -> str:
    """Say what is wrong with a setting that has a path, or a list of paths, for some splits."""
    for split, paths in value.items():
        if split not in SPLITS:
            return f"{split!r} is not one of {', '.join(SPLITS)}"
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


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their names in ``Settings``.

    They may be given by these names, or in the sections of config.yaml.

    Raises:
        MetadataError: There is no such setting.

    Example:
        >>> flatten({"scan": {"engine": "torchvision"}, "level": "full"})
        {'engine': 'torchvision', 'level': 'full'}
    """
    names = {setting.name for setting in fields(Settings)}
    keys = {setting.metadata["key"]: setting.name for setting in fields(Settings)}
    flat = {}
    for name, value in settings.items():
        inner = {name: value}
        if name in SECTIONS and isinstance(value, Mapping):
            inner = {f"{name}: {key}": given for key, given in value.items()}
        for key, given in inner.items():
            if key not in keys and key not in names:
                guess = did_you_mean(key, {*keys, *names})
                raise MetadataError(f"config: there is no setting {key!r}.{guess}")
            flat[keys.get(key, key)] = given
    return flat
