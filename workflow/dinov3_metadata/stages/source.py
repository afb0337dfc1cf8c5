"""Source: the folders of a split whose layout is not DINOv3's, and how its images are sorted into
classes.

``view`` makes links to these images, and ``table`` a table of their paths.
"""

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from ..class_ids import known_ids
from ..errors import MetadataError
from ..fingerprint import Others, State, was_folder
from ..holdout import Holdout
from ..layouts import Folders, holds_images, may_hold_images, part_of
from ..look import finds_folder
from ..names import check_utf8
from ..nested import note_nested
from ..readdir import Listing
from ..walk import Folder, Found, Targets, folders_below, look, visit
from .annotations import by_annotation, read_annotations
from .left_out import note_gone, tell_left_out
from .refusals import flat_split, in_another, missing_split, no_images, no_images_in
from .sides import Side


class Source:
    """The folders of one split of a dataset.

    Args:
        dataset: The dataset's folder.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        layout: The layout of the dataset, see ``layouts``.
        annotations: The fingerprint that the file with the classes of the images must still have
            (see ``fingerprint.of_content``); empty to accept any.
        folders: See ``layouts.split_folders``.
        empty_classes: What to do with a class folder without images: ``refuse`` raises an error;
            ``keep`` makes it a class.
        deferred: Whether a selection follows, which may leave such classes out.
        holdout: Which images of TRAIN are VAL, for these splits; None if VAL has its own images.

    Attributes:
        others: Folder -> what was left out of it, by the path of the folder below the split's
            folder. Set it before a look to what it was when the folders had the states ``noted``.
        notes: What a user should know about the images, one sentence each.
    """

    def __init__(
        self,
        dataset: str,
        *,
        split: str,
        layout: str,
        annotations: str = "",
        folders: Folders | None = None,
        empty_classes: str = "refuse",
        deferred: bool = False,
        holdout: Holdout | None = None,
    ) -> None:
        self.part, self.folders = part_of(dataset, layout, split, folders, holdout), folders
        self.dataset, self.split, self.layout = dataset, split, layout
        self.keep_empty, self.deferred = empty_classes == "keep", deferred
        self.others: Mapping[str, Others] = {}
        self.notes: list[str] = []
        self.source = os.path.join(dataset, self.part.folder) if self.part.folder else dataset
        self.side = Side(split, self.source, holdout, self.keep_empty)
        self.annotations = f"{dataset}/{self.part.annotations}" if self.part.annotations else ""
        self.content = annotations

    def check_there(self) -> None:
        """Refuse a split without a folder."""
        for path in self.part.paths:
            if not finds_folder(f"{self.dataset}/{path}"):
                raise missing_split(self.dataset, path, self.side.owner, self.layout)

    def known(self, noted: Mapping[str, State]) -> Found:
        """Return what is known of the folders of the dataset, from their noted states."""
        folders = {name: state for name, state in noted.items() if not os.path.isabs(name)}
        below, nothing = folders_below(folders), np.empty(0, "<u4")
        found = {name: Folder(folders[name], below[name], nothing, 0) for name in folders}
        for name, others in self.others.items():
            if name in found:
                found[name].others = others
        return found

    def look(
        self, found: Found, targets: Targets, what: str, trust_timestamps: bool, threads: int
    ) -> tuple[list[str], bool]:
        """Bring what is known of the folders up to date, see ``walk.look``.

        Returns:
            The folders that changed, and whether all folders above are known, too. Otherwise one
            has vanished, and the folder above it must be listed first.
        """
        changed = look(
            Path(self.source),
            found,
            targets,
            what=f"{what} {self.split}",
            look_at=self.visit,
            take=self.take,
            trust_timestamps=trust_timestamps,
            threads=threads,
            links_are_classes=False,
            tops=self.part.tops,
        )
        above = {name.rpartition("/")[0] for name in found.keys() - {*self.part.tops}}
        return changed, found.keys() >= {*self.part.tops, *above}

    @property
    def visit(self) -> partial[Listing | None]:
        """The function that lists a folder."""
        return partial(visit, Path(self.source), self.split)

    def take(self, name: str, listed: Listing, state: State) -> Folder:
        """Select the subfolders that may contain images; warn of ignored images and folders."""
        folder = f"{self.source}/{name}" if name else self.source
        below = [
            f"{name}/{subfolder}" if name else subfolder
            for subfolder in listed.subfolders
            if may_hold_images(folder, subfolder)
            and subfolder not in (() if name else self.part.others)
        ]
        others = self.left_out(name, listed.subfolders, [*listed.files, *listed.special])
        return Folder(state, below, np.empty(0, "<u4"), 0, others=others)

    def left_out(self, name: str, folders: Iterable[str], files: Iterable[str]) -> Others:
        """Return what is left out of a folder, given its path below the split's folder and the
        names of the folders and files in it, and tell the user."""
        beside = self.part.classes and name in self.part.tops
        path = f"{self.source}/{name}".rstrip("/")
        return tell_left_out(path, folders, files, classes=self.part.classes, holds_classes=beside)

    def by_folder(self, found: Found) -> dict[str, list[str]]:
        """Return the folders of each class, and refuse class names that are not UTF-8."""
        folders: dict[str, list[str]] = {}
        tops = self.part.tops if self.part.classes else ()
        for name in sorted(found):
            if was_folder(found[name].state) and name not in tops:
                folders.setdefault(self.part.class_of(name), []).append(name)
        check_utf8(folders, self.source)
        return folders

    def check_classes(
        self, found: Found, folders: dict[str, list[str]], empty: list[str], lacking: set[str]
    ) -> None:
        """Refuse classes without images, and note what a user should know.

        Args:
            found: All folders of the dataset.
            folders: What ``by_folder`` returned.
            empty: The classes without images.
            lacking: The classes all of whose images belong to the other split.
        """
        for top in self.part.tops if self.part.classes else ():
            note_gone(found, top, self.source)
        if len(empty) + len(lacking) == len(folders) and (self.side.others or lacking):
            raise self.side.nothing()
        if (empty and not self.part.classes) or not folders:
            raise self.no_images(found)
        if empty and not (self.keep_empty or self.deferred):
            bare = [(one, [found[name].others for name in folders[one]]) for one in empty]
            none = len(empty) == len(folders)
            raise no_images_in(self.split, self.source, bare, self.side.what, all_of_them=none)
        if len(folders) == 1 and self.part.classes and self.side.owner == self.split:
            self.notes = note_nested(self.split, self.dataset, self.part.paths, next(iter(folders)))

    def read_annotations(self) -> dict[str, str]:
        """Return the class of each image, if a file has them."""
        if self.annotations and self.part.read:
            return read_annotations(self.annotations, self.content, self.part.read)
        return {}

    def by_annotation(self, found: Found, class_of: dict[str, str]) -> dict[str, list[str]]:
        """Return the paths of the images of each class.

        Args:
            found: All folders of the dataset.
            class_of: What ``read_annotations`` returned.
        """
        names = (name for name in sorted(found) if was_folder(found[name].state))
        images = [*self.side.images_in(names)]
        if not images:
            raise self.no_images(found)
        ids = known_ids(self.dataset, self.layout, self.part, self.folders)
        classes, notes = by_annotation(images, class_of, self.annotations, self.source, ids)
        self.notes = [f"{self.split}: {note}" for note in notes]
        check_utf8(classes, self.source)
        return classes

    def no_images(self, found: Found | None = None) -> MetadataError:
        """Return the error for a split without images."""
        if self.part.classes and holds_images(self.source):
            return flat_split(self.side.owner, self.source)
        others = [known.others for known in (found or {}).values()]
        hint = in_another(self.dataset, self.side.owner) if self.part.folder else ""
        return no_images(self.side.owner, self.source, others, hint=hint)

    def restless(self) -> MetadataError:
        """Return the error for folders that keep changing."""
        return MetadataError(
            f"{self.source} keeps changing while its images are being listed. Wait until "
            "copying has finished and run the same command again."
        )
