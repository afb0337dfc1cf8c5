"""Place: where the dataset of some metadata is, and whether it changed since a view of it was made.

DINOv3 reads a dataset in another layout through a view. The rows are compared with the view, but
the classes with the dataset, because the view may be older than the dataset.
"""

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ..access import check_readable
from ..addresses import SPLITS
from ..class_ids import class_ids_of
from ..errors import MetadataError
from ..formats import Description, read_description
from ..layouts import Folders, Part, has_images, part_of
from ..look import finds, finds_folder
from ..paths import work_folder
from ..preflight import is_same, view_of
from ..since import changed_since_published
from .images import can_be_listed
from .reading import SplitFiles
from .result import Finding, listed


@dataclass(frozen=True)
class Place:
    """Where a dataset is.

    Attributes:
        dataset: Its folder.
        root: The folder that DINOv3 takes as root: the dataset itself, or the view of it.
        layout: The layout of the dataset.
        folders: See ``layouts.split_folders``.
        chosen: The classes that were selected; None for all.
        tabled: Whether the images are found by a table of their paths.
    """

    dataset: str
    root: str
    layout: str
    folders: Folders = field(default_factory=dict)
    chosen: frozenset[str] | None = None
    tabled: bool = False

    @property
    def is_view(self) -> bool:
        """Whether ``root`` is a view."""
        return self.root != self.dataset

    def part(self, split: str) -> Part:
        """Return where the images of a split are in the dataset."""
        return part_of(self.dataset, self.layout, split, self.folders)

    def class_ids(self, split: str) -> set[str]:
        """Return the ids of a split's classes; none if the split does not exist.

        Raises:
            MetadataError: The file with the classes of the images is damaged.
            OSError: The folder of the split cannot be listed.
        """
        part = self.part(split)
        folders = [os.path.join(self.dataset, path) for path in part.paths]
        if not any(can_be_listed(folder, part.classes) for folder in folders):
            return set()
        if part.class_id:
            return {part.class_id}
        if part.annotations and not finds(f"{self.dataset}/{part.annotations}"):
            return set()
        found = {*class_ids_of(self.dataset, self.layout, split, self.folders)}
        return found if self.chosen is None else found & self.chosen

    def empty_classes(self, split: str, class_ids: set[str]) -> set[str]:
        """Return those of some classes whose folders in the dataset contain no image.

        Raises:
            OSError: A folder cannot be listed.
        """
        part = self.part(split)
        if part.annotations or part.class_id:
            return set()
        folders = [os.path.join(self.dataset, path) for path in part.paths]

        def refuse(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):  # not every part of a split has each class
                raise error

        return {
            one
            for one in class_ids
            if not any(has_images(f"{folder}/{one}", refuse) for folder in folders)
        }

    def source(self, *splits: str) -> str:
        """Return what the classes of some splits were taken from, for messages."""
        parts = list(map(self.part, splits))
        if any(part.annotations or part.class_id for part in parts):
            return f"the classes of {' and '.join(splits)}"
        return f"the folders in {' and '.join(f'{path}/' for part in parts for path in part.paths)}"


def place_of(root: str, extra: str) -> Place:
    """Return the place of the dataset that some metadata was made from.

    It has the view, or the table of paths, of the first split with one; see ``place_of_split``.

    Args:
        root: The folder of the dataset, or its view.
        extra: The folder with the metadata files.
    """
    described = [*filter(None, (read_description(extra, split) for split in SPLITS))]
    behind = (
        about.dataset
        for about in described
        if not (about.root == about.dataset or view_of(root, about))
        and is_same(root, about.root)
        and finds_folder(about.dataset)
    )
    dataset = next(behind, root)
    place = Place(dataset, dataset, "imagenet")
    for about in described[::-1]:
        own = place_of_split(place, about)
        if own.is_view or own.tabled:
            folders = {**place.folders, **about.folders}
            place = replace(own, layout=about.layout, folders=folders)
    return place


def place_of_split(place: Place, about: Description | None) -> Place:
    """Return the place with the view, or the table of paths, with which a split was made.

    Args:
        place: The place of the dataset, which counts for a split without a description.
        about: The content of ``metadata-SPLIT.json``.
    """
    if about is None:
        return place
    if about.table:  # its paths are relative to root, wherever that is
        return replace(place, root=place.dataset, tabled=True)
    return replace(place, root=view_of(place.dataset, about) or place.dataset, tabled=False)


def check_view(place: Place, extra: str, files: SplitFiles) -> list[Finding]:
    """Find out whether the dataset behind a view, or behind a table of paths, changed since that
    was made; note what the files were compared with.

    Labels are left out, because names are compared with the labels file itself.
    """
    about, changed = files.about, None
    what = "the table of paths" if place.tabled else f"the view {place.root}"
    if about:
        with suppress(MetadataError):  # there is no record, or this is a copy of the dataset
            changed = changed_since_published(place.root, extra, files.split, about)
    if about is None or changed is None:
        files.notes.append(
            f"compared only with {what}, because {work_folder(extra)} has no record of the dataset"
        )
        return []
    check_readable(changed)  # what cannot be looked at seems to have changed
    again = "the table" if place.tabled else "the view"
    files.notes.append(f"checked against {what}, and {again} against the dataset")
    labels = about.labels.file if about.labels else ""
    inside = f"{place.dataset}/", f"{place.dataset}/\0" if place.tabled else f"{place.root}/"
    return listed(
        "stale",
        [
            path
            for path in changed
            if path != labels
            and f"{path}/".startswith(inside[0])
            and not f"{path}/".startswith(inside[1])
        ],
    )
