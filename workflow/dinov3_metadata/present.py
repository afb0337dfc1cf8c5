"""Present: a dataset with its settings, and the current state of each of its splits.

This module is imported at every start.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from .access import check_readable
from .addresses import LABELLED, SPLITS, TARS
from .chain import code_of, needs, stages_of
from .current import NUMBERED_BY, Present
from .errors import MetadataError
from .fingerprint import digest, of_content, tar_names
from .formats import GROUPS, PROBLEMS, read_audit_summary
from .layouts import data_of_kaggle, find_folders, part_of, recognise
from .look import finds, finds_folder
from .paths import path_of, published_paths, work_folder
from .preflight import (
    check_flat,
    check_folders,
    check_layout,
    check_root,
    find_labels,
    hold_out_val,
)
from .published import (
    Receipt,
    receipt_name,
    receipts,
)
from .settings import NO_VIEW, Settings
from .tarred import PresentTars, check_tar_settings


class Chain:
    """A dataset with its settings and its current state.

    Attributes:
        settings: The user's settings.
        dataset: The dataset's folder.
        extra: The folder for the metadata.
        layout: The layout of the dataset. If the setting is ``auto``, it is the detected one.
        root: The folder that DINOv3 takes as root: the dataset itself, or the view of it.
        is_view: Whether ``root`` is a view.
        tabled: Whether DINOv3 finds the images by a table of their paths, in place of a view.
        folders: Split -> the paths of its folders below the dataset, for the splits that are not in
            ``train``, ``val`` and ``test``.
        splits: The splits to make metadata for. An optional split is left out if it has no folder
            and was never published.
        without: The splits that are left out.
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
    tabled: bool
    folders: dict[str, list[str]]
    splits: tuple[str, ...]
    without: tuple[str, ...]
    labels: str
    now: dict[str, Present]

    def __init__(self, settings: Settings) -> None:
        self.settings, self.dataset, self.extra = settings, settings.root, settings.extra
        check_folders(self.dataset, self.extra)
        files = published_paths(self.extra, *SPLITS, TARS)
        check_readable([work_folder(self.extra), *files], reads=False)
        if settings.reuse and not finds_folder(work_folder(settings.reuse)):
            raise MetadataError(
                f"config: reuse: {settings.reuse} has no metadata that this program made. Name the "
                "`extra` of another run, or remove the setting."
            )
        inside = data_of_kaggle(self.dataset) if settings.layout in ("folder", "imagenet") else ""
        wanted = {*settings.splits, *NUMBERED_BY[settings.classes]}
        if settings.holdout:  # a folder of VAL is refused, and TRAIN is needed for VAL
            wanted |= {*LABELLED}
        splits = [split for split in SPLITS if split in wanted]
        folders = find_folders(self.dataset, settings.folders or {}, splits, inside)
        self.layout = settings.layout
        if settings.layout == "auto":
            self.layout = recognise(self.dataset, folders)
        if self.layout == "tars":
            self._find_tars()
            return
        check_layout(self.layout, self.dataset, self.extra, folders, bool(settings.folders))
        if (settings.layout, self.layout) == ("auto", "imagenet"):
            needed = settings.holdout or "TRAIN" in settings.splits
            check_root(self.dataset, "TRAIN" in folders or not needed)
        if (settings.layout, self.layout) == ("auto", "flat") and "TRAIN" in settings.splits:
            given = "TRAIN" in (settings.folders or {})
            check_flat(
                self.dataset,
                "" if given else part_of(self.dataset, "flat", "TRAIN", folders).folder,
            )
        if settings.holdout:
            given = "VAL" in (settings.folders or {})
            folders = hold_out_val(self.dataset, self.layout, folders, given)
        self.folders = folders
        elsewhere = not folders.keys().isdisjoint(settings.splits)
        other = self.layout != "imagenet" or elsewhere or bool(settings.holdout)
        self.tabled = other and settings.view == NO_VIEW
        self.is_view = other and not self.tabled
        self.root = settings.view if self.is_view else self.dataset
        self.now = {split: Present(self, split) for split in SPLITS}
        own_names = self.now["TRAIN"].part.own_names
        self.labels = find_labels(self.dataset, settings.labels, own_names)
        there = [
            split
            for split in settings.splits
            if not self.now[split].part.optional
            or finds_folder(self.now[split].source)
            or finds(path_of(self.extra, "metadata", split=split))
        ]
        self.splits = tuple(there) or tuple(settings.splits)
        self.without = tuple(split for split in settings.splits if split not in self.splits)

    def _find_tars(self) -> None:
        """Set the attributes for a dataset of tars."""
        check_tar_settings(self.settings)
        if not tar_names(self.dataset):
            raise MetadataError(
                f"config: layout: there is no tar in {self.dataset}, such as n01440764.tar. Name "
                "the folder that contains one tar for each class."
            )
        self.folders, self.labels, self.without = {}, "", ()
        self.root, self.is_view, self.tabled = self.dataset, False, False
        self.now, self.splits = {TARS: PresentTars(self)}, (TARS,)

    @property
    def instead_of_labels(self) -> str:
        """What to say if the labels file is missing: that a split has no class folders, if that is
        so, because then no labels file would help."""
        sorted_by_folders = self.layout in ("imagenet", "folder")
        if not (self.labels and sorted_by_folders) or finds(self.labels):
            return ""
        from .stages.refusals import no_class_folders  # few runs need it

        splits = [split for split in self.splits if split in LABELLED]
        paths = {split: self.now[split].part.paths for split in splits}
        return str(no_class_folders(self.dataset, self.layout, paths) or "")

    @property
    def base(self) -> str:
        """``root`` under the name that it had in the first version."""
        return self.root

    @cached_property
    def labels_content(self) -> str:
        """The fingerprint of the labels file; ``none`` if there is no file."""
        return of_content(self.labels) if self.labels else "none"

    @property
    def numbered_by(self) -> dict[str, str]:
        """``Present.numbered_by`` of the splits that are not numbered by their own scans."""
        return self.now["VAL"].numbered_by

    @cached_property
    def audit(self) -> str:
        """The name of an audit with the current settings and code."""
        names = (sorted(self.problems_refused), sorted(self.settings.select_audit))
        return digest(*names, code_of("audit_images", "audit_split"))

    @property
    def problems_refused(self) -> list[str]:
        """The problems of an image that stop publishing."""
        left_out = self.settings.select_audit
        return [one for one in self.settings.fail_on if one in PROBLEMS and one not in left_out]

    @property
    def class_rules(self) -> dict[str, Any]:
        """The rules of ``select`` that say which classes are numbered."""
        rules = self.now["TRAIN"].rules
        return {name: rules[name] for name in ("classes", "exclude") if name in rules}

    @property
    def groups_refused(self) -> list[str]:
        """Those of ``formats.GROUPS`` that stop publishing."""
        left_out = self.settings.select_audit
        return [one for one in self.settings.fail_on if one in GROUPS and one not in left_out]

    @cached_property
    def states_compared(self) -> dict[str, dict[str, str]]:
        """Split -> its current state, for the splits whose images are compared: those of this run,
        and others whose current state was scanned and which were audited."""
        compared = {}
        for split, now in self.now.items():
            if split in self.splits or (
                read_audit_summary(self.extra, split)
                and os.path.exists(path_of(self.extra, "scan", **now.state))
            ):
                compared[split] = now.state
        return compared

    def files_of(self, splits: Iterable[str]) -> dict[str, dict[str, str]]:
        """Split -> the paths of its scan, of the images that are selected, and of its numbering,
        as far as it needs them."""
        places = {split: self.now[split].place_of_audit for split in splits}
        return {
            split: {
                name: path_of(self.extra, name, **place)
                for name in ("scan", "selected", "numbering", "table")
                if needs(name, place)
            }
            for split, place in places.items()
        }

    @cached_property
    def search(self) -> str:
        """The name of a search for duplicates with the current settings, states and code."""
        places = ("tree", "selection", "numbered")
        states = [[state[name] for name in places] for state in self.states_compared.values()]
        names = [*self.states_compared]
        code = code_of("find_duplicates")
        return digest(names, states, self.splits, self.root, self.audit, self.groups_refused, code)

    @property
    def states(self) -> dict[str, dict[str, str]]:
        """Split -> its current state, for the splits to make metadata for."""
        return {split: self.now[split].state for split in self.splits}

    @cached_property
    def doubt(self) -> str:
        """Why changes of the dataset may go unnoticed, see ``times.doubt``; said once per run."""
        return next(filter(None, (self.now[split].doubt for split in self.splits)), "")

    @cached_property
    def remark(self) -> str:
        """What to know of the dataset's file system, see ``Present.remark``; said once per run."""
        return next(filter(None, (self.now[split].remark for split in self.splits)), "")

    @cached_property
    def receipt(self) -> str:
        """The name of the receipt for the current state of all splits."""
        return receipt_name(self.extra, self.states, self.receipts)

    @cached_property
    def receipts(self) -> dict[str, Receipt | None]:
        """The receipts of the last publications, see ``published.receipts``."""
        return receipts(self.extra)

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
        return stages_of(split)[rule].says.format(split=split, why=why, scatteritem=scatteritem)
