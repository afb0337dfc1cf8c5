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
from .paths import TABLED
from .published import CODE

COMMON = (
    *("access", "addresses", "artefacts", "coding", "disk", "documents", "files", "fingerprint"),
    *("formats", "holdout", "look", "misfits", "names", "nested", "paths", "readings", "replace"),
    *("selection", "tables"),
)
"""The modules that every stage depends on."""

SILENT = ("__init__", "errors", "layouts/__init__", "lock", "log", "progress", "times")
"""The modules that are in no fingerprint, because they cannot change an output file: they only
report, lock or import other modules."""

WALKING = ("packed", "readdir", "walk")
UNFIT = (
    *(*WALKING, "choice", "image_paths", "stages/left_out", "stages/refusals"),
    "stages/unfit",
)
LISTS = ("stages/label_forms", "stages/list_names", "stages/lists", "structures", "texts")
CHOSEN = ("scan", "selected", "sound")  # the last of them that exists has the images to publish
AUDITING = (
    *("damage", "examine", "hashes", "image_paths", "images", "pixels", "reads"),
    *("stages/audit", "stand_ins"),
)


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
            "deferred": chain.now[split].selects,
            "annotations": chain.now[split].annotations,
            "settings": chain.now[split].view_settings,
            "trust_timestamps": chain.now[split].trust.timestamps,
            "holdout": chain.settings.holdout,
            "seed": chain.settings.select_seed,
            "links": chain.settings.links,
            "published": chain.now[split].tree_published,
        },
        code=(
            *(*WALKING, "class_ids", "image_paths", "stages/annotations", "stages/image_numbers"),
            *("stages/left_out", "stages/link_texts", "stages/links", "stages/numbered"),
            *("stages/refusals", "stages/sides", "stages/source", "stages/view"),
        ),
        threads=True,
        replaces="view",
    ),
    "scan_split": Stage(
        module="scan",
        says="Scan {split}: {why}",
        after=("link_view",),
        reads=("view",),
        makes=("scan", "folders", "table"),
        wildcards=("extra", "split"),
        given=lambda chain, split: {
            "root": chain.root,
            "settings": chain.now[split].scan_settings,
            "view_name": chain.now[split].view.name,
            "engine": chain.settings.engine,
            "unaddressable": chain.settings.unaddressable,
            "trust_timestamps": chain.now[split].trust.timestamps,
            "watch_links": chain.now[split].watch_links,
            "empty_classes": chain.settings.empty_classes,
            "source": chain.now[split].behind,
            "reuse": chain.settings.reuse,
            "deferred": chain.now[split].selects,
            "by_path": chain.now[split].by_path,
        },
        code=(
            *(*UNFIT, "class_ids", "image_paths", "stages/annotations", "stages/numbered"),
            *("stages/scan", "stages/sides", "stages/source", "stages/table", "witness"),
        ),
        threads=True,
        replaces="tree",
    ),
    "select_images": Stage(
        module="selection",
        says="Select the images of {split}",
        after=("scan_split",),
        reads=("scan", "folders", "table"),
        makes=("selected", "selection", "choice", "new_left_out"),
        wildcards=("split",),
        given=lambda chain, split: {
            "root": chain.root,
            "dataset": chain.dataset,
            "layout": chain.layout,
            "parts": chain.folders,
            "source": chain.now[split].behind,
            "unaddressable": chain.settings.unaddressable,
            "is_last": not chain.settings.select_audit,
            "rules": chain.now[split].rules,
            "contents": chain.now[split].lists,
            "beside": chain.now[split].beside,
            "empty_classes": chain.settings.empty_classes,
        },
        code=(*UNFIT, "class_ids", *LISTS, "stages/selection"),
        replaces="selection",
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
            "rules": chain.class_rules,
        },
        code=("class_ids", *LISTS, "packed", "readdir", "stages/numbering"),
        splits=LABELLED,
        replaces="numbered",
    ),
    "audit_images": Stage(
        module="audit",
        says="Open the images of {split} that are new, {scatteritem}",
        after=("scan_split", "select_images", "number_classes"),
        reads=("scan", "table", "selected", "numbering"),
        makes=("share",),
        wildcards=("extra", "split", "scatteritem"),
        on_demand=True,
        given=lambda chain, split: {
            "root": chain.root,
            "is_view": chain.is_view,
            "hashed": chain.settings.duplicates,
            "reuse": chain.settings.reuse,
        },
        code=AUDITING,
    ),
    "audit_split": Stage(
        module="audit",
        says="Audit {split}",
        after=("scan_split", "select_images", "audit_images"),
        reads=("scan", "table", "selected", "numbering"),
        makes=("audited",),
        wildcards=("extra", "split", "tree", "selection", "numbered", "audit"),
        on_demand=True,
        given=lambda chain, split: {
            "root": chain.root,
            "standing": chain.audit,
            "fail_on": chain.problems_refused,
            "spared": list(chain.settings.select_audit),
            "is_view": chain.is_view,
            "keep": chain.settings.keep,
        },
        code=AUDITING,
    ),
    "select_sound": Stage(
        module="sound",
        says="Leave out the images of {split} with a problem",
        after=("scan_split", "select_images", "number_classes", "audit_split"),
        reads=("scan", "folders", "table", "selection", "choice"),
        makes=("sound", "sound_selection", "watched", "sound_left_out"),
        wildcards=("extra", "split"),
        given=lambda chain, split: {
            "root": chain.root,
            "source": chain.now[split].behind,
            "unaddressable": chain.settings.unaddressable,
            "problems": list(chain.settings.select_audit),
            "made_for": chain.now[split].sound_for,
            "audits": chain.now[split].audits_before,
            "files": chain.now[split].files_before,
            "empty_classes": chain.settings.empty_classes,
        },
        code=(
            *("damage", "doubles", "examine", "hashes", "images", "near", "pixels"),
            *(*UNFIT, "stages/sound", "stand_ins", "watched"),
        ),
        replaces="sound",
    ),
    "dump_entries": Stage(
        module="entries",
        says="Write the entries of {split}",
        after=("scan_split", "select_images", "select_sound", "load_labels", "number_classes"),
        reads=(*CHOSEN, "table", "labels", "numbering"),
        makes=("new_entries", "new_paths"),
        given=lambda chain, split: {},
        clears=("labels", "numbered"),
        code=("image_paths", "stages/entries"),
    ),
    "dump_class_arrays": Stage(
        module="classes",
        says="Write the class arrays of {split}",
        after=("dump_entries",),
        reads=(*CHOSEN, "labels", "numbering", "new_entries"),
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
            *("view", *CHOSEN, "selection", "sound_selection", "folders", "labels", "numbering"),
            *("table", "new_entries", "new_class_ids", "new_class_names", "new_paths"),
        ),
        makes=("report",),
        wildcards=("split",),
        given=lambda chain, split: {
            "root": chain.root,
            "level": chain.settings.level,
            "sample": chain.settings.sample,
            "classes": chain.now[split].classes,
            "notes": chain.now[split].part.notes,
            "source": chain.now[split].behind,
            "unaddressable": chain.settings.unaddressable,
            "empty_classes": chain.settings.empty_classes,
            "listed": chain.now[split].listed,
        },
        code=(*UNFIT, "image_paths", "path_table", "stages/verify", "witness"),
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
            "files": chain.files_of(chain.states_compared),
            "splits": list(chain.splits),
            "is_view": chain.is_view,
            "audit": chain.audit,
            "standing": chain.search,
            "fail_on": chain.groups_refused,
            "keep": chain.settings.keep,
        },
        code=("doubles", "image_paths", "near", "stages/duplicates"),
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
            "select": {split: chain.now[split].select for split in chain.splits},
            "holdout": chain.settings.holdout,
            "seed": chain.settings.select_seed,
        },
        code=CODE,
    ),
}
"""Rule -> stage, in an order in which the stages can run."""

OF_SPLIT = tuple(rule for rule, stage in STAGES.items() if stage.splits and not stage.on_demand)
"""The rules whose files must exist for each split before ``publish`` runs once for all splits."""

TABLES = ("table", "new_paths")
"""The files that only a split has whose images are found by a table of their paths."""

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
    """Return whether a split in some state needs a file: one with this stage, with a
    view or a table of paths, with a selection, or numbered by other classes than those of its own
    scan."""
    if name == "view":
        return bool(state.get("view"))
    for rule, wildcard in (("select_images", "selection"), ("select_sound", "sound")):
        if name in STAGES[rule].makes:
            return state.get(wildcard, "all") != "all"
    if name in TABLES:
        return state.get("tree", "").endswith(TABLED)
    if name == "numbering":
        return "-" in state.get("numbered", "")
    return "split" not in state or state["split"] in MAKERS[name].splits
