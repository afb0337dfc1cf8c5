"""Settings: define and check the settings of a user.

The fields of ``Settings`` are the only list of settings. config.yaml, its schema and the options of
``python -m dinov3_metadata`` are generated from it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from .addresses import SPLITS
from .errors import MetadataError, did_you_mean
from .formats import GROUPS, PROBLEMS
from .layouts import LAYOUTS
from .look import finds
from .paths import LABEL_FILES, absolute
from .values import wrong_value

NO_VIEW = "none"
"""The value of ``view`` with which no links are made."""

SECTIONS = ("scan", "select", "verify", "audit", "log")
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
        about="Folder for the view; empty for view/ in extra. With none, no links are made. A "
        "table of paths takes their place, which DINOv3 reads with this program's launcher.",
        short="folder for links if root has another layout; empty: EXTRA/view; none: no links",
        type="string",
    )
    links: str = _setting(
        "auto",
        key="links",
        about="Whether the links of a view are relative, so that the dataset and the view can be "
        "moved, copied or mounted elsewhere together, or absolute, so that the view alone can be "
        "moved. auto makes relative ones if both are on the same mount.",
        short="of the view: relative or absolute; auto: relative if root is on the same mount",
        enum=["auto", "relative", "absolute"],
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
    holdout: float | None = _setting(
        None,
        key="holdout",
        about="The share of TRAIN's images that are VAL, if VAL has no folder of its own. TRAIN is "
        "the rest. Whether an image is in VAL depends only on its class, its name and the seed in "
        "`select`. DINOv3 reads both splits through a view.",
        short="without val/: the share of TRAIN that is VAL, such as 0.05",
        type="number",
        exclusiveMinimum=0,
        exclusiveMaximum=1,
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
    trust_timestamps: bool | str = _setting(
        "auto",
        key="scan: trust_timestamps",
        about="Whether a folder with the same timestamps and inode holds the same names (true), or "
        "every folder is listed at every run (false). auto lists them on file systems whose folder "
        "timestamps say nothing about changes, such as object stores mounted through FUSE.",
        short="auto, true, or false: list every folder at every run, not only changed ones",
        enum=["auto", True, False],
    )
    reuse: str | None = _setting(
        "",
        key="reuse",
        about="The folder for the metadata (extra) of another run on the same dataset, such as one "
        "with another selection. What its scans and audits found is reused, so that no folder is "
        "listed and no image opened again.",
        short="EXTRA of another run on this dataset, whose scans and audits are reused",
        type="string",
    )
    select_classes: str | Sequence[str] | None = _setting(
        "",
        key="select: classes",
        about="The classes to take, in each split with classes: a file that lists their ids, one a "
        "line (a path from the current folder or from root), or a list of ids.",
        short="only these classes: a file with an id a line, or a list of ids",
        type=["string", "array"],
        items={"type": "string", "minLength": 1},
        minItems=1,
        uniqueItems=True,
    )
    select_images: str | Mapping[str, str] | None = _setting(
        "",
        key="select: images",
        about="The images to take: a file that lists them, one a line, or one file for each of "
        "some splits. The other splits are then taken as a whole.",
        short="only these images: a file with one a line, or {TRAIN: FILE}",
        type=["string", "object"],
        additionalProperties=False,
        properties={split: {"type": "string", "minLength": 1} for split in SPLITS},
    )
    select_exclude: str | None = _setting(
        "",
        key="select: exclude",
        about="A file that lists images and classes to leave out, one a line.",
        short="none of these: a file with an image or a class a line",
        type="string",
    )
    select_audit: Sequence[str] = _setting(
        (),
        key="select: audit",
        about="Problems of images to leave out; with one, each split is audited before it is "
        "published. Of the images that a split has twice (duplicate), the first stays; of those in "
        "two splits (leak), the one in the later split.",
        short="none with these problems, such as [truncated, not-an-image, zero-bytes]",
        type="array",
        items={"enum": [*PROBLEMS, *GROUPS]},
        uniqueItems=True,
    )
    select_fraction: float | None = _setting(
        None,
        key="select: fraction",
        about="The share of the images of each class of TRAIN to take. Whether an image is taken "
        "depends on its class, its name and the seed alone.",
        short="a share of the images of each class of TRAIN, such as 0.01",
        type="number",
        exclusiveMinimum=0,
        maximum=1,
    )
    select_per_class: int | None = _setting(
        None,
        key="select: per_class",
        about="The number of images of each class of TRAIN to take, or all if it has fewer.",
        short="a number of images of each class of TRAIN, in place of fraction",
        type="integer",
        minimum=1,
        maximum=1_000_000_000,
    )
    select_seed: int = _setting(
        0,
        key="select: seed",
        about="A number; another one takes other images for fraction, per_class and holdout.",
        short="another number takes other images",
        type="integer",
        minimum=0,
        maximum=1_000_000_000,
    )
    select_missing: str = _setting(
        "refuse",
        key="select: missing",
        about="What to do with lines of images and exclude that match nothing: stop (refuse), or "
        "count them (skip).",
        short="lines that match nothing: refuse, or skip and count them",
        enum=["refuse", "skip"],
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
            wrong = wrong_value(setting.metadata["schema"], _plain(value))
            if wrong and (value != "" or setting.name != "view"):
                raise MetadataError(f"config: {setting.metadata['key']}: {wrong}.")
        change = object.__setattr__  # the dataclass is frozen
        for name in ("root", "extra"):
            change(self, name, absolute(vars(self)[name]))
        if self.view != NO_VIEW:
            change(self, "view", absolute(self.view or f"{self.extra}/view"))
        change(self, "labels", os.fspath(self.labels))
        change(self, "reuse", absolute(self.reuse) if self.reuse else "")
        # The name of a layout's module, such as tiny_imagenet, is accepted, too.
        change(self, "layout", self.layout.replace("_", "-"))
        change(self, "splits", tuple(self.splits))
        change(self, "folders", _folders(self.folders or {}, self.root))
        for name in ("select_classes", "select_images", "select_exclude"):
            change(self, name, _lists(_plain(vars(self)[name]) or "", self.root))
        for name in ("fail_on", "select_audit"):
            change(self, name, tuple(vars(self)[name]))
        for where, names in (
            ("audit: fail_on", self.fail_on),
            ("select: audit", self.select_audit),
        ):
            unseen = [name for name in names if name in GROUPS]
            if unseen and not self.duplicates:
                raise MetadataError(
                    f"config: {where}: {unseen[0]!r} needs `duplicates: true`, because with "
                    "`false` nothing looks for duplicates. Change one of the two."
                )
        if self.select_fraction and self.select_per_class:
            raise MetadataError(
                "config: select: `fraction` and `per_class` exclude each other. Remove one of them."
            )


def _plain(value: Any) -> Any:
    """Return a value with paths as texts."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _lists(given: Any, root: str) -> Any:
    """Return a setting with absolute paths of lists, which may be relative to root, too."""
    if isinstance(given, Mapping):
        return {split: _lists(path, root) for split, path in given.items()}
    if not isinstance(given, str):
        return tuple(given)
    paths = [absolute(given), os.path.join(root, given)] if given else [""]
    return next(filter(finds, paths), paths[0])


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
        if name in SECTIONS and not isinstance(value, Mapping | None):
            raise MetadataError(f"config: {name}: {value!r} is not a section.")
        if name in SECTIONS and value is None:
            continue
        if name in SECTIONS and isinstance(value, Mapping):
            inner = {f"{name}: {key}": given for key, given in value.items()}
        for key, given in inner.items():
            if key not in keys and key not in names:
                guess = did_you_mean(key, {*keys, *names})
                raise MetadataError(f"config: there is no setting {key!r}.{guess}")
            flat[keys.get(key, key)] = given
    return flat
