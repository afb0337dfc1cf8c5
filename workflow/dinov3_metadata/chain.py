"""Chain: which stage makes which file of the work folder, in the present state of a dataset.

The name of each file holds the fingerprint of what it is made from, see ``fingerprint``:

    <EXTRA>/.dinov3-metadata/labels/<labels>/labels.json
    <EXTRA>/.dinov3-metadata/views/<split>/<view>/folders.json
    <EXTRA>/.dinov3-metadata/<split>/<tree>/scan.npz, folders.json
    <EXTRA>/.dinov3-metadata/<split>/<tree>/<labels>/entries-<split>.npy, ...
    <EXTRA>/.dinov3-metadata/<split>/<tree>/<labels>/<checks>/verify-<split>.json
    <EXTRA>/.dinov3-metadata/published/<receipt>.json

This module is imported at every start.
"""

import os
from functools import lru_cache

from .fingerprint import RECORD, Tree, digest, of_code, of_content, of_tree
from .labels import find_labels
from .layout import LABELLED, WORK, StrPath, split_folder
from .layouts import Part, layout_of, recognise
from .publish import Verified, array_names, metadata_name, published_state, receipt_name
from .settings import Settings, check_folders, check_layout, check_root

AFTER = {
    "labels": (),
    "view": (),
    "scan": ("view",),
    "entries": ("scan", "labels"),
    "classes": ("entries",),
    "verify": ("classes",),
}
"""Stage of a split -> the stages that it comes right after; in an order in which they can be run.
After these, all splits are published together."""

COMMON = ("disk", "files", "fingerprint", "layout", "replace")
"""The modules that every stage depends on."""


def folders_of(work: StrPath, state: dict[str, str]) -> tuple[str, str, str]:
    """The folders of the scan, the rows and the checks of a split in some state."""
    tree = f"{os.fspath(work)}/{state['split']}/{state['tree']}"
    return tree, f"{tree}/{state['labels']}", f"{tree}/{state['labels']}/{state['checks']}"


class Chain:
    """The stages of a dataset.

    Attributes:
        settings: Of the user.
        layout: How the dataset lies, if need be as recognised.
        base: What DINOv3 takes for root: the dataset itself, or the view of it.
        splits: The splits that are wanted.
        labels: The labels file; empty for the names of the class folders.
        work: The work folder.

    Raises:
        MetadataError: The folders do not go together, see ``settings``.
    """

    def __init__(self, settings: Settings) -> None:
        check_folders(settings.root, settings.extra)
        self.settings, root = settings, settings.root
        self.layout = recognise(root) if settings.layout == "auto" else settings.layout
        check_layout(self.layout, root, settings.extra)
        if (settings.layout, self.layout) == ("auto", "imagenet"):
            check_root(root)
        self.base = root if self.layout == "imagenet" else settings.view
        self.work = f"{settings.extra}/{WORK}"
        # Each is asked several times, and must give one answer in a run.
        for name in (
            "part",
            "view",
            "view_settings",
            "tree",
            "scan_settings",
            "labels_content",
            "annotations",
            "state",
            "receipt",
            "published",
        ):
            setattr(self, name, lru_cache(getattr(self, name)))
        self.labels = find_labels(root, settings.labels, self.part("TRAIN").own_names)
        there = [
            split
            for split in settings.splits
            if not self.part(split).optional
            or os.path.isdir(self.source(split))
            or os.path.exists(f"{settings.extra}/{metadata_name(split)}")
        ]
        self.splits = tuple(there) or settings.splits

    def part(self, split: str) -> Part:
        """Where the images of a split lie."""
        return layout_of(self.layout).list_part(self.settings.root, split)

    def source(self, split: str) -> str:
        """The folder of the dataset that holds the images of a split."""
        return os.path.join(self.settings.root, self.part(split).folder)

    def annotations(self, split: str) -> str:
        """The fingerprint of the file that tells the classes of images, if there is one."""
        file = self.part(split).annotations
        return of_content(f"{self.settings.root}/{file}") if file else ""

    def view_settings(self, split: str) -> str:
        """All that a view depends on besides the folders of the dataset."""
        annotations = self.annotations(split)
        own = f"layouts/{self.layout.replace('-', '_')}"
        code = of_code(*COMMON, "folder", "layouts/__init__", own, "scan", "view", "viewfolder")
        return digest(self.settings.root, self.base, self.layout, annotations, code)

    def view(self, split: str) -> Tree:
        """The name of the view that is true of a split now, and why it is to be made; empty without
        a view."""
        if self.layout == "imagenet":
            return Tree("", "")
        return of_tree(
            f"{self.work}/views/{split}",
            self.source(split),
            self.view_settings(split),
            classes=False,
            trust_timestamps=self.settings.trust_timestamps,
            after=self.annotations(split),
            published=self.published(split)["view"],
        )

    def watch_links(self, split: str) -> bool:
        """Whether the scan of a split must notice when the target of a link changes.

        It must where the links are the dataset's own: without a view, and in a view that links
        whole class folders. Links that the view made itself are replaced by the view.
        """
        return self.part(split).whole

    def scan_settings(self) -> str:
        """All that a scan depends on besides the split folder."""
        one = self.settings
        code = of_code(*COMMON, "folder", "scan")
        return digest(self.base, one.engine, one.unaddressable, one.trust_timestamps, code)

    def tree(self, split: str) -> Tree:
        """The name of the scan that is true of a split folder now, and why it is to be made."""
        return of_tree(
            f"{self.work}/{split}",
            os.path.join(self.base, split_folder(split)),
            self.scan_settings(),
            split in LABELLED,
            self.settings.trust_timestamps,
            self.view(split).name,
            self.published(split)["tree"],
        )

    def labels_content(self) -> str:
        """The fingerprint of the labels file."""
        return of_content(self.labels) if self.labels else "none"

    def state(self, split: str) -> dict[str, str]:
        """The names of the present state of a split, from the dataset to the checks."""
        arrays = of_code(*COMMON, "labels", "entries", "classes")
        labels = self.labels if split in LABELLED else ""
        content = self.labels_content() if labels else "none"
        level, sample = self.settings.level, self.settings.sample
        return {
            "split": split,
            "view": self.view(split).name,
            "tree": self.tree(split).name,
            "labels": f"labels-{content}-{digest(labels, arrays)}",
            "checks": f"{level}-{sample}-{of_code('folder', 'verify')}",
        }

    def files(self, split: str) -> dict[str, list[str]]:
        """Stage -> the files that it makes of a split, in the present state."""
        names = self.state(split)
        tree, rows, checks = folders_of(self.work, names)
        entries, *classes = (f"{rows}/{name}" for name in array_names(split))
        files = {
            "labels": [f"{self.work}/labels/{names['labels']}/labels.json"] * (split in LABELLED),
            "view": [f"{self.work}/views/{split}/{names['view']}/{RECORD}"] * bool(names["view"]),
            "scan": [f"{tree}/scan.npz", f"{tree}/{RECORD}"],
            "entries": [entries],
            "classes": classes,
            "verify": [f"{checks}/verify-{split}.json"],
        }
        return {stage: files[stage] for stage in AFTER}

    def verified(self, split: str) -> Verified:
        """What is published of a split: its files, and what they were made from."""
        files, folder = self.files(split), os.path.join(self.base, split_folder(split))
        records = {folder: files["scan"][1]}
        records |= {self.source(split): record for record in files["view"]}
        contents = {self.labels: self.labels_content()} if self.labels and split in LABELLED else {}
        if annotations := self.part(split).annotations:
            contents[f"{self.settings.root}/{annotations}"] = self.annotations(split)
        arrays = files["entries"] + files["classes"]
        return Verified(
            self.state(split), files["verify"][0], arrays, files["scan"][0], records, contents
        )

    def published(self, split: str) -> dict[str, str]:
        """The names of the state of a split that was published last; empty for none."""
        state = published_state(self.settings.extra, split).get("state", {})
        return {"view": "", "tree": ""} | state

    def receipt(self) -> str:
        """The file that says that all splits are published, in the present state."""
        states = {split: self.state(split) for split in self.splits}
        return f"{self.work}/published/{receipt_name(self.settings.extra, states)}.json"

    def origin(self) -> dict[str, str]:
        """Where the metadata comes from, as ``metadata-SPLIT.json`` says it."""
        return {"root": self.base, "dataset": self.settings.root, "layout": self.layout}
