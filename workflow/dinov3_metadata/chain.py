"""Chain: the table of all stages, and the inputs of each stage for the current dataset.

The rules, ``dump_extra``, the fingerprints and the messages are all derived from ``STAGES``. Where
the files are is in ``paths``. This module is imported at every start.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

from .addresses import LABELLED, SPLITS, split_folder
from .fingerprint import Tree, digest, of_code, of_content, of_tree
from .layouts import LAYOUTS, Part, recognise
from .paths import existing, path_of
from .preflight import check_folders, check_layout, check_root, find_labels
from .published import CODE, Noted, published_state, receipt_name, records_of
from .settings import Settings

COMMON = (
    *("addresses", "artefacts", "disk", "documents", "files", "fingerprint", "formats"),
    *("paths", "replace"),
)
"""The modules that every stage depends on."""

SILENT = ("__init__", "errors", "layouts/__init__", "lock", "log", "progress")
"""The modules that are in no fingerprint, because they cannot change an output file: they only
report, lock or import other modules."""

WALKING = ("readdir", "walk")


class Stage(NamedTuple):
    """A stage of the chain.

    Its function has the same name as its rule and takes keyword arguments: the paths of the files
    that it reads and makes (by their names in ``paths.FILES``), the arguments in ``given``, the
    values of ``wildcards``, and ``threads`` if it can use several.

    Attributes:
        module: The module in ``stages`` that contains the function.
        says: The message that a run shows for the stage.
        makes: The files that it makes.
        given: Returns the other arguments of the function for a dataset and a split. They are plain
            values.
        wildcards: The wildcards of its files whose values the function takes, too, and ``extra``.
        after: The rules that must run before it, because it reads their files.
        reads: The files that it reads.
        code: The modules that its result depends on, besides ``COMMON``.
        splits: The splits that have this stage; none for a stage that runs once for all splits.
        on_demand: Whether a run needs it only if somebody asks for it.
        threads: Whether the function can use several threads.
        replaces: A wildcard. Once the stage has finished, the folders with other values of this
            wildcard are no longer needed and are removed.
        clears: The same, before the stage begins, because their room is needed.
    """

    module: str
    says: str
    makes: tuple[str, ...]
    given: Callable[[Chain, str], dict[str, Any]]
    wildcards: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    splits: tuple[str, ...] = SPLITS
    on_demand: bool = False
    threads: bool = False
    replaces: str = ""
    clears: str = ""


STAGES = {
    "load_labels": Stage(
        module="labels",
        says="Read the labels",
        makes=("labels",),
        given=lambda chain, split: {"source": chain.labels, "content": chain.labels_content},
        code=("stages/labels",),
        splits=LABELLED,
        replaces="labels",
    ),
    "link_view": Stage(
        module="view",
        says="Link {split} as DINOv3 reads it: {why}",
        makes=("view",),
        wildcards=("extra", "split"),
        given=lambda chain, split: {
            "dataset": chain.dataset,
            "root": chain.root,
            "layout": chain.layout,
            "annotations": chain.now[split].annotations,
            "settings": chain.now[split].view_settings,
            "trust_timestamps": chain.settings.trust_timestamps,
        },
        code=(
            *WALKING,
            *("stages/annotations", "stages/links", "stages/numbering", "stages/view"),
        ),
        threads=True,
        replaces="view",
    ),
    "scan_split": Stage(
        module="scan",
        says="Scan {split}: {why}",
        after=("link_view",),
        reads=("view",),
        makes=("scan", "folders"),
        wildcards=("extra", "split"),
        given=lambda chain, split: {
            "root": chain.root,
            "settings": chain.now[split].scan_settings,
            "view_name": chain.now[split].view.name,
            "engine": chain.settings.engine,
            "unaddressable": chain.settings.unaddressable,
            "trust_timestamps": chain.settings.trust_timestamps,
            "watch_links": chain.now[split].watch_links,
        },
        code=(*WALKING, "stages/scan", "witness"),
        threads=True,
        replaces="tree",
    ),
    "dump_entries": Stage(
        module="entries",
        says="Write the entries of {split}",
        after=("scan_split", "load_labels"),
        reads=("scan", "labels"),
        makes=("new_entries",),
        given=lambda chain, split: {},
        clears="labels",
        code=("stages/entries",),
    ),
    "dump_class_arrays": Stage(
        module="classes",
        says="Write the class arrays of {split}",
        after=("dump_entries",),
        reads=("scan", "new_entries"),
        makes=("new_class_ids", "new_class_names"),
        given=lambda chain, split: {},
        code=("stages/classes",),
        splits=LABELLED,
    ),
    "verify": Stage(
        module="verify",
        says="Verify {split}",
        after=("dump_entries", "dump_class_arrays"),
        reads=("scan", "folders", "labels", "new_entries", "new_class_ids", "new_class_names"),
        makes=("report",),
        wildcards=("split",),
        given=lambda chain, split: {
            "root": chain.root,
            "level": chain.settings.level,
            "sample": chain.settings.sample,
        },
        code=("readdir", "stages/verify", "witness"),
    ),
    "audit_images": Stage(
        module="audit",
        says="Open the images of {split} that are new, {scatteritem}",
        after=("scan_split",),
        reads=("scan",),
        makes=("share",),
        wildcards=("extra", "split", "scatteritem"),
        on_demand=True,
        given=lambda chain, split: {
            "root": chain.root,
            "is_view": chain.is_view,
        },
        code=("examine", "images", "stages/audit"),
    ),
    "audit_split": Stage(
        module="audit",
        says="Audit {split}",
        after=("scan_split", "audit_images"),
        reads=("scan",),
        makes=("audited",),
        wildcards=("extra", "split", "tree", "audit"),
        on_demand=True,
        given=lambda chain, split: {
            "root": chain.root,
            "standing": chain.audit,
            "fail_on": list(chain.settings.fail_on),
            "keep": chain.settings.keep,
        },
        code=("examine", "images", "stages/audit"),
    ),
    "publish": Stage(
        module="publish",
        says="Publish",
        after=("verify", "audit_split"),
        makes=("receipt",),
        wildcards=("extra",),
        splits=(),
        given=lambda chain, split: {
            "root": chain.root,
            "dataset": chain.dataset,
            "layout": chain.layout,
            "states": chain.states,
            "contents": {split: chain.now[split].contents for split in chain.splits},
            "keep": chain.settings.keep,
        },
        code=CODE,
    ),
}
"""Rule -> stage, in an order in which the stages can run."""

OF_SPLIT = tuple(rule for rule, stage in STAGES.items() if stage.splits and not stage.on_demand)
"""The rules whose files must exist for each split before ``publish`` runs once for all splits."""

MAKERS = {name: stage for stage in STAGES.values() for name in stage.makes}
"""Name in ``paths.FILES`` -> the stage that makes the file."""


def code_of(*rules: str) -> str:
    """Return the fingerprint of the code of some stages."""
    return of_code(*sorted({*COMMON, *(module for rule in rules for module in STAGES[rule].code)}))


def needs(name: str, state: dict[str, str]) -> bool:
    """Return whether a split in some state needs a file: one with this stage, or with a view."""
    if name == "view":
        return bool(state.get("view"))
    return "split" not in state or state["split"] in MAKERS[name].splits


class Chain:
    """A dataset with its settings and its current state.

    Attributes:
        settings: The user's settings.
        dataset: The dataset's folder.
        extra: The folder for the metadata.
        layout: The layout of the dataset. If the setting is ``auto``, it is the detected one.
        root: The folder that DINOv3 takes as root: the dataset itself, or the view of it.
        is_view: Whether ``root`` is a view.
        splits: The splits to make metadata for. An optional split is left out if it has no folder
            and was never published.
        labels: The path of the labels file; empty if the class folders' own names are used.
        now: Split -> its current state.

    Raises:
        MetadataError: The folders cannot be used together, see ``preflight``.
    """

    settings: Settings
    dataset: str
    extra: str
    layout: str
    root: str
    is_view: bool
    splits: tuple[str, ...]
    labels: str
    now: dict[str, Present]

    def __init__(self, settings: Settings) -> None:
        self.settings, self.dataset, self.extra = settings, settings.root, settings.extra
        check_folders(self.dataset, self.extra)
        self.layout = recognise(self.dataset) if settings.layout == "auto" else settings.layout
        check_layout(self.layout, self.dataset, self.extra)
        if (settings.layout, self.layout) == ("auto", "imagenet"):
            check_root(self.dataset)
        self.is_view = self.layout != "imagenet"
        self.root = settings.view if self.is_view else self.dataset
        self.now = {split: Present(self, split) for split in SPLITS}
        own_names = self.now["TRAIN"].part.own_names
        self.labels = find_labels(self.dataset, settings.labels, own_names)
        there = [
            split
            for split in settings.splits
            if not self.now[split].part.optional
            or os.path.isdir(self.now[split].source)
            or os.path.exists(path_of(self.extra, "metadata", split=split))
        ]
        self.splits = tuple(there) or tuple(settings.splits)

    @property
    def base(self) -> str:
        """``root`` under the name that it had in the first version."""
        return self.root

    @cached_property
    def labels_content(self) -> str:
        """The fingerprint of the labels file; ``none`` if there is no file."""
        return of_content(self.labels) if self.labels else "none"

    @cached_property
    def audit(self) -> str:
        """The name of an audit with the current settings and code."""
        return digest(sorted(self.settings.fail_on), code_of("audit_images", "audit_split"))

    @property
    def states(self) -> dict[str, dict[str, str]]:
        """Split -> its current state, for the splits to make metadata for."""
        return {split: self.now[split].state for split in self.splits}

    @cached_property
    def receipt(self) -> str:
        """The name of the receipt for the current state of all splits."""
        return receipt_name(self.extra, self.states)

    def says(self, rule: str, split: str = "", scatteritem: str = "", **others: str) -> str:
        """Return the message for a stage, such as "Scan TRAIN: 1 of 1,000 folders changed: cat".

        Args:
            rule: The name of its rule.
            split, scatteritem: The split and the share of an audit, if the stage works on one.
            others: Further wildcards, which are ignored.
        """
        why = ""
        if rule in ("link_view", "scan_split"):
            why = (self.now[split].view if rule == "link_view" else self.now[split].tree).why
        return STAGES[rule].says.format(split=split, why=why, scatteritem=scatteritem)


class Present:
    """The current state of a split.

    Each part of the state is read only once, so that all of a run sees the same state.
    """

    def __init__(self, chain: Chain, split: str) -> None:
        self.chain, self.split = chain, split

    @cached_property
    def part(self) -> Part:
        """Where the images of the split are."""
        return LAYOUTS[self.chain.layout].list_part(self.chain.dataset, self.split)

    @property
    def source(self) -> str:
        """The folder of the dataset that contains the images."""
        return os.path.join(self.chain.dataset, self.part.folder)

    @property
    def folder(self) -> str:
        """The split folder below root."""
        return os.path.join(self.chain.root, split_folder(self.split))

    @cached_property
    def annotations(self) -> str:
        """The fingerprint of the file that lists the images' classes; empty if there is none."""
        file = self.part.annotations
        return of_content(f"{self.chain.dataset}/{file}") if file else ""

    @cached_property
    def view_settings(self) -> str:
        """The fingerprint of everything that a view depends on besides the dataset's folders."""
        chain = self.chain
        layout = of_code(f"layouts/{chain.layout.replace('-', '_')}", "layouts/part")
        settings = (chain.dataset, chain.root, chain.layout, self.annotations)
        return digest(*settings, layout, code_of("link_view"))

    @cached_property
    def scan_settings(self) -> str:
        """The fingerprint of everything that a scan depends on besides the split folder."""
        used = self.chain.settings
        settings = (self.chain.root, used.engine, used.unaddressable, used.trust_timestamps)
        return digest(*settings, code_of("scan_split"))

    @cached_property
    def published(self) -> Noted | None:
        """What was noted at the last publication; None if nothing is published."""
        return published_state(self.chain.extra, self.split)

    @cached_property
    def view(self) -> Tree:
        """The view that matches the dataset now; empty if the dataset needs none."""
        if not self.chain.is_view:
            return Tree()
        records = existing(self.chain.extra, "view", split=self.split)
        return of_tree(
            self.source,
            ((state["view"], path) for path, state in records),
            self.view_settings,
            classes=False,
            trust_timestamps=self.chain.settings.trust_timestamps,
            after=self.annotations,
            published=self.published.state["view"] if self.published else "",
        )

    @cached_property
    def tree(self) -> Tree:
        """The scan that matches the split folder now."""
        records = existing(self.chain.extra, "folders", split=self.split)
        return of_tree(
            self.folder,
            ((state["tree"], path) for path, state in records),
            self.scan_settings,
            classes=self.split in LABELLED,
            trust_timestamps=self.chain.settings.trust_timestamps,
            after=self.view.name,
            published=self.published.state["tree"] if self.published else "",
        )

    @property
    def watch_links(self) -> bool:
        """Whether the scan must notice when the target of a link changes.

        It must if the links belong to the dataset: without a view, or in a view that links whole
        class folders. Links that ``link_view`` made are replaced by ``link_view``.
        """
        return self.part.whole

    @cached_property
    def state(self) -> dict[str, str]:
        """The values of the wildcards in the paths of the split's files."""
        chain, used = self.chain, self.chain.settings
        labels = chain.labels if self.split in LABELLED else ""
        content = chain.labels_content if labels else "none"
        code = code_of("load_labels", "dump_entries", "dump_class_arrays")
        return {
            "split": self.split,
            "view": self.view.name,
            "tree": self.tree.name,
            "labels": f"labels-{content}-{digest(labels, code)}",
            "checks": f"{used.level}-{used.sample}-{code_of('verify')}",
        }

    @property
    def records(self) -> dict[str, str]:
        """Folder that the split was made from -> the record of its state."""
        chain = self.chain
        return records_of(
            self.state, chain.extra, root=chain.root, dataset=chain.dataset, layout=chain.layout
        )

    @property
    def contents(self) -> dict[str, str]:
        """File that the split is made from (folders aside) -> its fingerprint."""
        contents = {}
        if self.chain.labels and self.split in LABELLED:
            contents[self.chain.labels] = self.chain.labels_content
        if self.part.annotations:
            contents[f"{self.chain.dataset}/{self.part.annotations}"] = self.annotations
        return contents
