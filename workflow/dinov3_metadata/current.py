"""Current: the current state of a split of a dataset.

This module is imported at every start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any

from .addresses import LABELLED, SPLITS, split_folder
from .chain import code_of, of_layout
from .class_ids import class_ids_of
from .disk import remove_file
from .documents import Count
from .errors import count
from .fingerprint import (
    State,
    class_folders,
    digest,
    folder_state,
    folder_states,
    is_folder,
    of_content,
)
from .formats import read_audit_summary
from .holdout import Holdout
from .layouts import Part, part_of
from .look import finds_folder
from .paths import TABLED, existing, path_of
from .published import Noted, published_state, records_of
from .selection import rules_of, select_of
from .times import Trust, doubt, find_trust
from .trees import Tree, of_tree
from .watched import Sound, find_sound

NUMBERED_BY = {"own": (), "train": ("TRAIN",), "union": LABELLED}
"""The setting ``classes`` -> the splits by whose classes a split is numbered, if not by its own."""

SCANNED = ("scan", "folders", "table")  # the files of a scan


class Present:
    """The current state of a split.

    Each part of the state is read only once, so that all of a run sees the same state.
    """

    def __init__(self, chain: Any, split: str) -> None:
        self.chain, self.split = chain, split

    @cached_property
    def part(self) -> Part:
        """Where the images of the split are."""
        chain = self.chain
        return part_of(chain.dataset, chain.layout, self.split, chain.folders, self.holdout)

    @property
    def holdout(self) -> Holdout | None:
        """Which images of TRAIN are VAL, for these two splits; None if VAL has its own images."""
        used = self.chain.settings
        if not used.holdout or self.split not in LABELLED:
            return None
        return Holdout(float(used.holdout), Count(used.select_seed))

    @property
    def source(self) -> str:
        """The folder of the dataset that contains the images, or the parts of the split."""
        return os.path.join(self.chain.dataset, self.part.folder)

    @property
    def behind(self) -> str:
        """``source`` if DINOv3 reads the split by a view or a table; otherwise empty."""
        return self.source if self.chain.is_view or self.chain.tabled else ""

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
        return digest(*part, *settings, self.annotations, self.holdout, chain.settings.links, *code)

    @cached_property
    def scan_settings(self) -> str:
        """The fingerprint of everything that a scan depends on besides the split folder."""
        used = self.chain.settings
        if self.chain.tabled:
            return digest(self.view_settings, used.unaddressable, code_of("scan_split"))
        settings = (self.chain.root, used.engine, used.unaddressable, self.trust.timestamps)
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
            trust_timestamps=self.trust.timestamps,
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
        tree, other = self._tree_in(self.chain.extra), self.chain.settings.reuse
        if (
            other
            and not self.chain.tabled
            and not any(existing(self.chain.extra, "folders", split=self.split))
        ):
            why = self._tree_in(other).why
            tree = tree._replace(why=f"{why} (scans in {other})")
        return tree

    def _tree_in(self, extra: str) -> Tree:
        """The scan among those in a folder for metadata that matches the split folder now."""
        records = existing(extra, "folders", split=self.split)
        if self.chain.tabled:
            return of_tree(
                self.source,
                ((state["tree"], path) for path, state in records),
                self.scan_settings,
                classes=False,
                trust_timestamps=self.trust.timestamps,
                after=self.annotations,
                published=self.tree_published,
                tops=self.part.tops,
                end=TABLED,
            )
        return of_tree(
            self.folder,
            ((state["tree"], path) for path, state in records),
            self.scan_settings,
            classes=self.split in LABELLED,
            trust_timestamps=self.trust.timestamps,
            after=self.view.name,
            published=self.tree_published,
        )

    @property
    def tree_published(self) -> str:
        """The name of the scan that was published last; may be empty."""
        return self.published.state["tree"] if self.published else ""

    @property
    def by_path(self) -> dict[str, Any] | None:
        """What a scan needs to know that makes a table of paths; None for others."""
        chain = self.chain
        if not chain.tabled:
            return None
        return {
            "dataset": chain.dataset,
            "layout": chain.layout,
            "folders": chain.folders,
            "annotations": self.annotations,
            "published": self.tree_published,
            "holdout": chain.settings.holdout,
            "seed": chain.settings.select_seed,
        }

    @property
    def listed(self) -> dict[str, Any] | None:
        """What is needed to list the images of a table of paths once more; None without one."""
        part = self.part
        exact = not (self.holdout or part.annotations)
        known = {"folder": part.folder, "tops": part.tops if part.classes else (), "exact": exact}
        return known if self.chain.tabled else None

    @cached_property
    def rules(self) -> dict[str, Any]:
        """See ``selection.rules_of``."""
        return rules_of(self.chain.settings, self.split)

    @property
    def select(self) -> dict[str, Any]:
        """See ``selection.select_of``."""
        return select_of(self.chain.settings, self.split)

    @property
    def selects(self) -> bool:
        """Whether a selection follows the scan."""
        return bool(self.select)

    @cached_property
    def lists(self) -> dict[str, str]:
        """File that ``rules`` names -> its fingerprint."""
        files = (self.rules.get(name) for name in ("classes", "exclude", "images"))
        return {file: of_content(file) for file in files if isinstance(file, str)}

    @property
    def beside(self) -> dict[str, dict[str, str]]:
        """Other split -> the files of its scan, and ``behind``, for lists that may
        name images of any split of this run."""
        shared = any(self.rules.get(f"{name}_own") is False for name in ("images", "exclude"))
        chain = self.chain
        others = [split for split in chain.splits if shared and split != self.split]
        names = [name for name in SCANNED if name != "table" or chain.tabled]
        found = {}
        for one in others:
            now = chain.now[one]
            paths = {name: path_of(chain.extra, name, **now.place_of_scan) for name in names}
            found[one] = {**paths, "source": now.behind}
        return found

    @property
    def place_of_scan(self) -> dict[str, str]:
        """The wildcards of the path of the split's scan."""
        return {"split": self.split, "tree": self.tree.name}

    @cached_property
    def selection(self) -> str:
        """The name of the selection by lists and a sample; ``all`` if there is none."""
        if not self.rules:
            return "all"
        chain, rules = self.chain, sorted(self.rules.items())
        where = (chain.root, chain.layout, chain.settings.empty_classes)
        code = code_of("select_images")
        return f"select-{digest(rules, sorted(self.lists.items()), *where, code)}"

    @cached_property
    def place_of_audit(self) -> dict[str, str]:
        """The wildcards of the path of an audit of the split's current state, but its own name."""
        return {**self.place_of_scan, "selection": self.selection, "numbered": self.numbered}

    @cached_property
    def _audited_before(self) -> list[str]:
        """The splits by whose audits images of this split are left out: itself and, if leaks are,
        the later ones that exist."""
        later = SPLITS[SPLITS.index(self.split) + 1 :]
        leaks = "leak" in self.chain.settings.select_audit
        return [self.split, *(one for one in later if leaks and self.chain.now[one].exists)]

    @property
    def exists(self) -> bool:
        """Whether the split is one of this run, was published, or has a folder."""
        if self.split in self.chain.splits or self.published:
            return True
        return all(finds_folder(f"{self.chain.dataset}/{path}") for path in self.part.paths)

    @property
    def audits_before(self) -> dict[str, str]:
        """Split -> the record of its audit, for these splits, as far as they are audited in this
        run. The audits of the others must have been made before."""
        chain = self.chain
        return {one: chain.now[one].audited for one in self._audited_before if one in chain.splits}

    @property
    def files_before(self) -> dict[str, dict[str, str]]:
        """Split -> its files, see ``Chain.files_of``, for these splits; none for those that no
        audit has seen as they are now."""
        files: dict[str, dict[str, str]] = self.chain.files_of(self._audited_before)
        seen = {*self.audits_before, *(one for one, now in self.findings.items() if now)}
        return {one: some if one in seen else {} for one, some in files.items()}

    @cached_property
    def findings(self) -> dict[str, str]:
        """Split -> ``AuditSummary.findings`` of the last audit of its current state, for the splits
        by whose audits images are left out; empty if there was none."""
        found = {}
        for split in self._audited_before:
            about = read_audit_summary(self.chain.extra, split)
            is_current = about and about.is_of(self.chain.now[split].place_of_audit)
            found[split] = about.findings if about and is_current else ""
        return found

    @property
    def audited(self) -> str:
        """The record of the audit that a publication of the split may need."""
        return path_of(self.chain.extra, "audited", audit=self.chain.audit, **self.place_of_audit)

    def forget_audit(self) -> None:
        """Let the split be audited again if images that were left out have changed since. Only the
        run that holds the lock may do so."""
        if self.sound.repaired:
            remove_file(self.audited)

    @property
    def sound_for(self) -> str:
        """The fingerprint of everything that a selection by audits depends on besides these."""
        chain = self.chain
        places = [chain.now[split].place_of_audit for split in self._audited_before]
        settings = (sorted(chain.settings.select_audit), chain.settings.empty_classes, chain.root)
        return digest(*settings, places, chain.audit, code_of("select_sound"))

    @cached_property
    def sound(self) -> Sound:
        """The selection by audits, see ``watched``; its name is ``all`` if there is none."""
        chain = self.chain
        if not chain.settings.select_audit:
            return Sound("all", "")
        others = "".join(chain.now[split].sound.repaired for split in self._audited_before[1:])
        place = {name: self.place_of_audit[name] for name in ("split", "tree", "selection")}
        return find_sound(chain.extra, place, self.sound_for, self.findings, others)

    @cached_property
    def trust(self) -> Trust:
        """Whether the timestamps of the split's folders in the dataset are used."""
        folders = [os.path.join(self.chain.dataset, path) for path in self.part.paths]
        return find_trust(self.chain.settings.trust_timestamps, folders, _states_in(folders[0]))

    @property
    def remark(self) -> str:
        """Why the timestamps are not used and what that costs, or why changes appear late."""
        trust, cost = self.trust, ""
        if trust.why:
            tree = self.view if self.chain.is_view else self.tree
            known = sum(not os.path.isabs(name) for name in tree.states)
            many = count(max(1 + len(class_folders(self.source)), known), "folder")
            cost = f"Each run lists {many} of {self.split} to see what changed."
        return " ".join(filter(None, [trust.why, cost, trust.cache]))

    @property
    def doubt(self) -> str:
        """Why changes of the split may go unnoticed, see ``times.doubt``. Only the folders of the
        dataset count: a view may have been made just now."""
        if not (self.chain.is_view or self.chain.tabled):
            return doubt(self.source, self.tree.states.values(), self.tree.all_changed)
        made = self.tree if self.chain.tabled else self.view
        states = {name: at for name, at in made.states.items() if not os.path.isabs(name)}
        if self.watch_links and self.chain.is_view:  # the class folders that the view leads to
            states |= {name: at for name, at in self.tree.states.items() if name}
        if self.part.classes and len(states) == 1:  # before the first scan
            states = folder_states(self.source, trust_timestamps=self.trust.timestamps)
        return doubt(self.source, states.values(), made.all_changed)

    @property
    def watch_links(self) -> bool:
        """Whether the scan must notice when the target of a link changes.

        It must if the links belong to the dataset: without a view, or in a view that links whole
        class folders. Links that ``link_view`` made are replaced by ``link_view``.
        """
        return self.part.whole

    @cached_property
    def numbered(self) -> str:
        """The name of the numbering of the split's classes."""
        chain, by = self.chain, self.numbered_by
        if not by:
            return self.classes
        source = (chain.dataset, [chain.now[split].part.paths for split in LABELLED])
        rules, code = chain.class_rules, code_of("number_classes")
        lists = [chain.now["TRAIN"].lists.get(str(file)) for file in rules.values()]
        chosen = (sorted(rules.items()), lists) if rules else ()
        return f"{self.classes}-{digest(*source, by, of_layout(chain.layout), *chosen, code)}"

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
            "selection": self.selection,
            "sound": self.sound.name,
            "labels": f"labels-{content}-{digest(labels, code)}",
            "numbered": self.numbered,
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
        return contents | self.lists


def _states_in(folder: str) -> Iterator[State]:
    """Yield the states of a folder and of those in it, each when it is asked for."""
    yield folder_state(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (folder_state(entry.path) for entry in entries if is_folder(entry))
