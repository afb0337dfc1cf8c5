"""Chain: the table of all stages.

The rules, ``dump_extra``, the fingerprints and the messages are all derived from ``STAGES``. Where
the files are is in ``paths``, and the state of the dataset is in ``present``. This module is
imported at every start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .addresses import LABELLED, SPLITS
from .fingerprint import of_code
from .published import CODE

COMMON = (
    *("addresses", "artefacts", "coding", "disk", "documents", "files", "fingerprint", "formats"),
    *("misfits", "names", "nested", "paths", "readings", "replace", "tables"),
)
"""The modules that every stage depends on."""

SILENT = ("__init__", "errors", "layouts/__init__", "lock", "log", "progress", "times")
"""The modules that are in no fingerprint, because they cannot change an output file: they only
report, lock or import other modules."""

WALKING = ("readdir", "walk")
AUDITING = ("damage", "examine", "hashes", "images", "pixels", "stages/audit", "stand_ins")


class Stage(NamedTuple):
    """A stage of the chain.

    Its function has the same name as its rule and takes keyword arguments: the paths of the files
    that it reads and makes (by their names in ``paths.FILES``), the arguments in ``given``, the
    values of ``wildcards``, and ``threads`` if it can use several.

    Attributes:
        module: The module in ``stages`` that contains the function.
        says: The message that a run shows for the stage.
        makes: The files that it makes.
        given: Returns the other arguments of the function for a ``present.Chain`` and a split. They
            are plain values.
        wildcards: The wildcards of its files whose values the function takes, too, and ``extra``.
        after: The rules that must run before it, because it reads their files.
        reads: The files that it reads.
        code: The modules that its result depends on, besides ``COMMON``.
        splits: The splits that have this stage; none for a stage that runs once for all splits.
        on_demand: Whether a run needs it only if somebody asks for it.
        threads: Whether the function can use several threads.
        replaces: A wildcard. Once the stage has finished, the folders with other values of this
            wildcard are no longer needed and are removed.
        clears: Wildcards. The same, before the stage begins, because their room is needed.
    """

    module: str
    says: str
    makes: tuple[str, ...]
    given: Callable[[Any, str], dict[str, Any]]
    wildcards: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    splits: tuple[str, ...] = SPLITS
    on_demand: bool = False
    threads: bool = False
    replaces: str = ""
    clears: tuple[str, ...] = ()


STAGES = {
    "load_labels": Stage(
        module="labels",
        says="Read the labels",
        makes=("labels",),
        given=lambda chain, split: {
            "source": chain.labels,
            "content": chain.labels_content,
            "instead": chain.instead_of_labels,
        },
        code=("stages/label_forms", "stages/labels", "structures", "texts"),
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
            "folders": chain.folders,
            "empty_classes": chain.settings.empty_classes,
            "annotations": chain.now[split].annotations,
            "settings": chain.now[split].view_settings,
            "trust_timestamps": chain.settings.trust_timestamps,
        },
        code=(
            *WALKING,
            *("class_ids", "stages/annotations", "stages/image_numbers", "stages/left_out"),
            *("stages/links", "stages/refusals", "stages/view"),
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
            "empty_classes": chain.settings.empty_classes,
            "source": chain.now[split].source if chain.is_view else "",
        },
        code=(*WALKING, "stages/left_out", "stages/refusals", "stages/scan", "witness"),
        threads=True,
        replaces="tree",
    ),
    "number_classes": Stage(
        module="numbering",
        says="Number the classes",
        makes=("numbering",),
        given=lambda chain, split: {
            "dataset": chain.dataset,
            "layout": chain.layout,
            "classes": chain.numbered_by,
            "parts": {split: chain.now[split].part.paths for split in LABELLED},
            "folders": chain.folders,
        },
        code=("class_ids", "stages/numbering"),
        splits=LABELLED,
        replaces="numbered",
    ),
    "dump_entries": Stage(
        module="entries",
        says="Write the entries of {split}",
        after=("scan_split", "load_labels", "number_classes"),
        reads=("scan", "labels", "numbering"),
        makes=("new_entries",),
        given=lambda chain, split: {},
        clears=("labels", "numbered"),
        code=("stages/entries",),
    ),
    "dump_class_arrays": Stage(
        module="classes",
        says="Write the class arrays of {split}",
        after=("dump_entries",),
        reads=("scan", "labels", "numbering", "new_entries"),
        makes=("new_class_ids", "new_class_names"),
        given=lambda chain, split: {},
        code=("stages/classes",),
        splits=LABELLED,
    ),
    "verify": Stage(
        module="verify",
        says="Verify {split}",
        after=("dump_entries", "dump_class_arrays"),
        reads=(
            *("view", "scan", "folders", "labels", "numbering"),
            *("new_entries", "new_class_ids", "new_class_names"),
        ),
        makes=("report",),
        wildcards=("split",),
        given=lambda chain, split: {
            "root": chain.root,
            "level": chain.settings.level,
            "sample": chain.settings.sample,
            "classes": chain.now[split].classes,
            "notes": list(filter(None, [chain.now[split].part.note])),
        },
        code=("readdir", "stages/left_out", "stages/verify", "witness"),
    ),
    "audit_images": Stage(
        module="audit",
        says="Open the images of {split} that are new, {scatteritem}",
        after=("scan_split", "number_classes"),
        reads=("scan", "numbering"),
        makes=("share",),
        wildcards=("extra", "split", "scatteritem"),
        on_demand=True,
        given=lambda chain, split: {
            "root": chain.root,
            "is_view": chain.is_view,
            "hashed": chain.settings.duplicates,
        },
        code=AUDITING,
    ),
    "audit_split": Stage(
        module="audit",
        says="Audit {split}",
        after=("scan_split", "audit_images"),
        reads=("scan", "numbering"),
        makes=("audited",),
        wildcards=("extra", "split", "tree", "numbered", "audit"),
        on_demand=True,
        given=lambda chain, split: {
            "root": chain.root,
            "standing": chain.audit,
            "fail_on": chain.problems_refused,
            "is_view": chain.is_view,
            "keep": chain.settings.keep,
        },
        code=AUDITING,
    ),
    "find_duplicates": Stage(
        module="duplicates",
        says="Look for images that are there twice, or in two splits",
        after=("audit_split",),
        makes=("compared",),
        wildcards=("extra", "search"),
        splits=(),
        on_demand=True,
        given=lambda chain, split: {
            "root": chain.root,
            "states": chain.states_compared,
            "files": chain.files_compared,
            "splits": list(chain.splits),
            "is_view": chain.is_view,
            "audit": chain.audit,
            "standing": chain.search,
            "fail_on": chain.groups_refused,
            "keep": chain.settings.keep,
        },
        code=("near", "stages/duplicates"),
    ),
    "publish": Stage(
        module="publish",
        says="Publish",
        after=("verify", "audit_split", "find_duplicates"),
        makes=("receipt",),
        wildcards=("extra",),
        splits=(),
        given=lambda chain, split: {
            "root": chain.root,
            "dataset": chain.dataset,
            "layout": chain.layout,
            "states": chain.states,
            "contents": {split: chain.now[split].contents for split in chain.splits},
            "classes": {split: chain.now[split].noted_classes for split in chain.splits},
            "keep": chain.settings.keep,
            "folders": chain.folders,
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


def of_layout(layout: str) -> str:
    """Return the fingerprint of the code of a layout."""
    module = f"layouts/{layout.replace('-', '_')}"
    return of_code(module, "layouts/part", "layouts/split_folders")


def needs(name: str, state: dict[str, str]) -> bool:
    """Return whether a split in some state needs a file: one with this stage, with a view, or
    numbered by other classes than those of its own scan."""
    if name == "view":
        return bool(state.get("view"))
    if name == "numbering":
        return "-" in state.get("numbered", "")
    return "split" not in state or state["split"] in MAKERS[name].splits
