"""Chain: which stages there are, and what each is made from in the current state of a dataset.

``STAGES`` is the one table: the rules, ``dump_extra``, the fingerprints and the messages all follow
from it. ``paths`` says where the files are. This module is imported at every start.
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
from .published import CODE, Noted, published_state, receipt_name
from .settings import Settings

COMMON = (
    *("addresses", "artefacts", "disk", "documents", "files", "fingerprint", "formats"),
    *("paths", "replace"),
)
"""The modules that every stage depends on."""

SILENT = ("__init__", "errors", "layouts/__init__", "lock", "log", "progress")
"""The modules that decide no byte: they say things, or name others."""

WALKING = ("readdir", "walk")


class Stage(NamedTuple):
    """A stage of the chain. Its function has the name of its rule and takes keywords: the paths of
    the files that it reads and makes by their names in ``paths.FILES``, what it is given, and
    ``threads`` if it can use several.

    Attributes:
        module: The module in ``stages`` with the function.
        says: What a run says of it.
        makes: The files that it makes.
        given: What else the function is given, for a dataset and a split; plain values.
        wildcards: Those of the wildcards of its files that the function is given, too.
        after: The rules whose files it reads, in whatever state they are.
        reads: The files that it reads.
        code: The modules that it is made of, besides ``COMMON``.
        splits: The splits that have it.
        threads: Whether it can use several threads.
        replaces: The wildcard whose other values have had their day once the stage has finished.
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
    threads: bool = False
    replaces: str = ""


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
        wildcards=("split",),
        given=lambda chain, split: {
            "extra": chain.extra,
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
        wildcards=("split",),
        given=lambda chain, split: {
            "extra": chain.extra,
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
        wildcards=("split", "scatteritem"),
        given=lambda chain, split: {
            "extra": chain.extra,
            "root": chain.root,
            "is_view": chain.is_view,
        },
        code=("images", "stages/audit"),
    ),
    "audit_split": Stage(
        module="audit",
        says="Audit {split}",
        after=("scan_split", "audit_images"),
        reads=("scan",),
        makes=("audited",),
        wildcards=("split", "tree", "audit"),
        given=lambda chain, split: {
            "extra": chain.extra,
            "root": chain.root,
            "standing": chain.audit,
            "fail_on": list(chain.settings.fail_on),
            "keep": chain.settings.keep,
        },
        code=("images", "stages/audit"),
    ),
    "publish": Stage(
        module="publish",
        says="Publish",
        after=("verify", "audit_split"),
        makes=("receipt",),
        given=lambda chain, split: {
            "extra": chain.extra,
            "root": chain.root,
            "dataset": chain.dataset,
            "layout": chain.layout,
            "states": {split: chain.now[split].state for split in chain.splits},
            "sources": {split: chain.now[split].sources for split in chain.splits},
            "contents": {split: chain.now[split].contents for split in chain.splits},
            "keep": chain.settings.keep,
        },
        code=CODE,
    ),
}
"""Rule -> stage, in an order in which they can be run."""

OF_SPLIT = (
    *("load_labels", "link_view", "scan_split", "dump_entries", "dump_class_arrays"),
    "verify",
)
"""The rules whose files each split needs before ``publish`` runs for all splits together."""


def code_of(*rules: str) -> str:
    """The fingerprint of the code of some stages."""
    return of_code(*sorted({*COMMON, *(module for rule in rules for module in STAGES[rule].code)}))


def needs(name: str, state: dict[str, str]) -> bool:
    """Whether a file is needed in the state of a split: TEST has no labels and no classes, and
    without a view there is no record of it."""
    if name == "view":
        return bool(state.get("view"))
    if name in ("labels", "new_class_ids", "new_class_names"):
        return state.get("split") != "TEST"
    return True


class Chain:
    """The stages of a dataset, and its current state.

    Attributes:
        settings: What the user said.
        dataset: The dataset's folder.
        extra: The folder for the metadata.
        layout: The layout of the dataset; if need be as detected.
        root: The folder that DINOv3 takes for root: the dataset itself, or the view of it.
        splits: The splits that are wanted.
        labels: The labels file; empty for the names of the class folders.
        now: Split -> its current state.

    Raises:
        MetadataError: The folders do not fit together, see ``preflight``.
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
        """What ``root`` was called in the first version."""
        return self.root

    @cached_property
    def labels_content(self) -> str:
        """The fingerprint of the labels file."""
        return of_content(self.labels) if self.labels else "none"

    @cached_property
    def audit(self) -> str:
        """The name of an audit with these settings."""
        return digest(sorted(self.settings.fail_on), code_of("audit_images", "audit_split"))

    @cached_property
    def receipt(self) -> str:
        """The name of the receipt of the current state of all splits."""
        return receipt_name(self.extra, {split: self.now[split].state for split in self.splits})

    def says(self, rule: str, split: str = "", scatteritem: str = "", **others: str) -> str:
        """What a run says of a stage, for instance "Scan TRAIN: 1 of 1,000 folders changed: cat".

        Args:
            rule: The name of its rule.
            split, scatteritem: The split and the share of an audit, if it is about one.
            others: Further wildcards.
        """
        why = ""
        if rule in ("link_view", "scan_split"):
            why = (self.now[split].view if rule == "link_view" else self.now[split].tree).why
        return STAGES[rule].says.format(split=split, why=why, scatteritem=scatteritem)


class Present:
    """The current state of a split. Each part of it is looked at once, so that a run has one
    answer."""

    def __init__(self, chain: Chain, split: str) -> None:
        self.chain, self.split = chain, split

    @cached_property
    def part(self) -> Part:
        """Where the images of the split are."""
        return LAYOUTS[self.chain.layout].list_part(self.chain.dataset, self.split)

    @property
    def source(self) -> str:
        """The folder of the dataset that holds the images."""
        return os.path.join(self.chain.dataset, self.part.folder)

    @property
    def folder(self) -> str:
        """The split folder below root."""
        return os.path.join(self.chain.root, split_folder(self.split))

    @cached_property
    def annotations(self) -> str:
        """The fingerprint of the file with the classes of the images; empty if there is none."""
        file = self.part.annotations
        return of_content(f"{self.chain.dataset}/{file}") if file else ""

    @cached_property
    def view_settings(self) -> str:
        """The fingerprint of all that a view depends on besides the folders of the dataset."""
        chain = self.chain
        layout = of_code(f"layouts/{chain.layout.replace('-', '_')}", "layouts/part")
        settings = (chain.dataset, chain.root, chain.layout, self.annotations)
        return digest(*settings, layout, code_of("link_view"))

    @cached_property
    def scan_settings(self) -> str:
        """The fingerprint of all that a scan depends on besides the split folder."""
        used = self.chain.settings
        settings = (self.chain.root, used.engine, used.unaddressable, used.trust_timestamps)
        return digest(*settings, code_of("scan_split"))

    @cached_property
    def published(self) -> Noted | None:
        """What was published last; None for nothing."""
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

        It must where the links are the dataset's own: without a view, and in a view that links
        whole class folders. Links that the view made itself are replaced by the view.
        """
        return self.part.whole

    @cached_property
    def state(self) -> dict[str, str]:
        """The wildcards of the split's files."""
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
    def sources(self) -> dict[str, str]:
        """Folder that the split was made from -> name in ``paths.FILES`` of its record."""
        sources = {self.folder: "folders"}
        if self.chain.is_view:
            sources[self.source] = "view"
        return sources

    @property
    def contents(self) -> dict[str, str]:
        """File that the split was made from, besides folders -> its fingerprint."""
        contents = {}
        if self.chain.labels and self.split in LABELLED:
            contents[self.chain.labels] = self.chain.labels_content
        if self.part.annotations:
            contents[f"{self.chain.dataset}/{self.part.annotations}"] = self.annotations
        return contents
