"""Present: a dataset with its settings, and the current state of each of its splits.

This module is imported at every start.
"""

from __future__ import annotations

import os
from functools import cached_property

from .addresses import LABELLED, SPLITS, split_folder
from .chain import STAGES, code_of, needs, of_layout
from .class_ids import class_ids_of
from .fingerprint import digest, folder_states, of_content
from .formats import GROUPS, PROBLEMS, read_audit_summary
from .layouts import Part, data_of_kaggle, find_folders, part_of, recognise
from .paths import existing, path_of
from .preflight import check_flat, check_folders, check_layout, check_root, find_labels
from .published import (
    Noted,
    Receipt,
    published_state,
    receipt_name,
    receipts,
    records_of,
)
from .settings import Settings
from .times import doubt
from .trees import Tree, of_tree

NUMBERED_BY = {"own": (), "train": ("TRAIN",), "union": LABELLED}
"""The setting ``classes`` -> the splits by whose classes a split is numbered, if not by its own."""


class Chain:
    """A dataset with its settings and its current state.

    Attributes:
        settings: The user's settings.
        dataset: The dataset's folder.
        extra: The folder for the metadata.
        layout: The layout of the dataset. If the setting is ``auto``, it is the detected one.
        root: The folder that DINOv3 takes as root: the dataset itself, or the view of it.
        is_view: Whether ``root`` is a view.
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
    folders: dict[str, list[str]]
    splits: tuple[str, ...]
    without: tuple[str, ...]
    labels: str
    now: dict[str, Present]

    def __init__(self, settings: Settings) -> None:
        self.settings, self.dataset, self.extra = settings, settings.root, settings.extra
        check_folders(self.dataset, self.extra)
        inside = data_of_kaggle(self.dataset) if settings.layout in ("folder", "imagenet") else ""
        wanted = {*settings.splits, *NUMBERED_BY[settings.classes]}
        splits = [split for split in SPLITS if split in wanted]
        folders = find_folders(self.dataset, settings.folders or {}, splits, inside)
        self.folders = folders
        self.layout = settings.layout
        if settings.layout == "auto":
            self.layout = recognise(self.dataset, folders)
        check_layout(self.layout, self.dataset, self.extra, folders, bool(settings.folders))
        if (settings.layout, self.layout) == ("auto", "imagenet"):
            check_root(self.dataset, "TRAIN" in folders or "TRAIN" not in settings.splits)
        if (settings.layout, self.layout) == ("auto", "flat") and "TRAIN" in settings.splits:
            given = "TRAIN" in (settings.folders or {})
            check_flat(
                self.dataset,
                "" if given else part_of(self.dataset, "flat", "TRAIN", folders).folder,
            )
        self.is_view = self.layout != "imagenet" or not folders.keys().isdisjoint(settings.splits)
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
        self.without = tuple(split for split in settings.splits if split not in self.splits)

    @property
    def instead_of_labels(self) -> str:
        """What to say if the labels file is missing: that a split has no class folders, if that is
        so, because then no labels file would help."""
        sorted_by_folders = self.layout in ("imagenet", "folder")
        if not (self.labels and sorted_by_folders) or os.path.lexists(self.labels):
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
        return digest(sorted(self.problems_refused), code_of("audit_images", "audit_split"))

    @property
    def problems_refused(self) -> list[str]:
        """The problems of an image that stop publishing."""
        return [name for name in self.settings.fail_on if name in PROBLEMS]

    @property
    def groups_refused(self) -> list[str]:
        """Those of ``formats.GROUPS`` that stop publishing."""
        return [name for name in self.settings.fail_on if name in GROUPS]

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

    @property
    def files_compared(self) -> dict[str, dict[str, str]]:
        """Split -> the paths of its scan and, if it is numbered by others, of its numbering."""
        return {
            split: {
                name: path_of(self.extra, name, **state)
                for name in ("scan", "numbering")
                if needs(name, state)
            }
            for split, state in self.states_compared.items()
        }

    @cached_property
    def search(self) -> str:
        """The name of a search for duplicates with the current settings, states and code."""
        states = [(state["tree"], state["numbered"]) for state in self.states_compared.values()]
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
        return part_of(self.chain.dataset, self.chain.layout, self.split, self.chain.folders)

    @property
    def source(self) -> str:
        """The folder of the dataset that contains the images, or the parts of the split."""
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
        part = (self.part.folder, self.part.shards, self.part.classes, self.part.whole)
        settings = (chain.dataset, chain.root, chain.layout, chain.settings.empty_classes)
        code = (of_layout(chain.layout), code_of("link_view"))
        return digest(*part, *settings, self.annotations, *code)

    @cached_property
    def scan_settings(self) -> str:
        """The fingerprint of everything that a scan depends on besides the split folder."""
        used = self.chain.settings
        settings = (self.chain.root, used.engine, used.unaddressable, used.trust_timestamps)
        return digest(*settings, used.empty_classes, code_of("scan_split"))

    @cached_property
    def published(self) -> Noted | None:
        """What was noted at the last publication; None if nothing is published."""
        return published_state(self.chain.extra, self.split, self.chain.receipts)

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
            tops=self.part.tops,
        )

    @property
    def classes(self) -> str:
        """The setting ``classes``; ``own`` if it makes no difference to this split."""
        setting = self.chain.settings.classes
        labelled = self.split in LABELLED and not self.part.class_id
        other = setting == "union" or self.split != "TRAIN"
        return setting if labelled and other else "own"

    @cached_property
    def class_ids(self) -> list[str]:
        """See ``class_ids.class_ids_of``."""
        chain = self.chain
        return class_ids_of(chain.dataset, chain.layout, self.split, chain.folders)

    @cached_property
    def noted_classes(self) -> dict[str, str]:
        """Split -> the fingerprint of its class ids, for the splits on whose classes the numbers
        depend. A split without classes is one of them, as its classes may come later."""
        splits = NUMBERED_BY[self.classes]
        return {split: digest(self.chain.now[split].class_ids) for split in splits}

    @property
    def numbered_by(self) -> dict[str, str]:
        """``noted_classes`` if the classes of these splits are numbered together; empty if this
        split is numbered by the classes of its own scan, because one of the splits has none."""
        noted = self.noted_classes
        return noted if all(self.chain.now[split].class_ids for split in noted) else {}

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
    def doubt(self) -> str:
        """The reason why changes of the split may go unnoticed, see ``times.doubt``.

        Only the folders of the dataset count. A view may have been made just now.
        """
        if not self.chain.is_view:
            return doubt(self.source, self.tree.states.values(), self.tree.all_changed)
        states = {name: at for name, at in self.view.states.items() if not os.path.isabs(name)}
        if self.watch_links:  # the class folders that the view leads to
            states |= {name: at for name, at in self.tree.states.items() if name}
        if self.part.classes and len(states) == 1:  # before the first view is made
            trust = self.chain.settings.trust_timestamps
            states = folder_states(self.source, trust_timestamps=trust)
        return doubt(self.source, states.values(), self.view.all_changed)

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
        numbered = self.classes
        if by := self.numbered_by:
            layout = of_layout(chain.layout)
            source = (chain.dataset, [chain.now[split].part.paths for split in LABELLED])
            numbered += f"-{digest(*source, by, layout, code_of('number_classes'))}"
        return {
            "split": self.split,
            "view": self.view.name,
            "tree": self.tree.name,
            "labels": f"labels-{content}-{digest(labels, code)}",
            "numbered": numbered,
            "checks": f"{used.level}-{used.sample}-{code_of('verify')}",
        }

    @property
    def records(self) -> dict[str, str]:
        """Folder that the split was made from -> the record of its state."""
        chain = self.chain
        return records_of(
            self.state,
            chain.extra,
            root=chain.root,
            dataset=chain.dataset,
            layout=chain.layout,
            folders=chain.folders,
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
