"""View: links in DINOv3's layout to the images of a dataset that has another layout.

The number of an image is read from its link, see ``image_numbers``. The dataset is never written
to.

A link that no longer belongs to an image of the split is *retired*. It stays, because a training
may still read the rows that were published last. Scans leave it out, and ``sweep`` removes it when
new rows have been published. So a run that ends with an error removes no link.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from ..addresses import LABELLED, SPLITS, is_image, split_folder
from ..class_ids import known_ids
from ..documents import Count
from ..errors import MetadataError, count, logger
from ..fingerprint import (
    Others,
    Record,
    State,
    class_folders,
    folder_state,
    has_links,
    is_folder,
    last_records,
    was_folder,
    write_record,
)
from ..holdout import Holdout
from ..layouts import (
    LAYOUTS,
    Folders,
    has_images,
    holds_images,
    is_class,
    may_hold_images,
    part_of,
)
from ..look import finds_folder
from ..nested import note_nested
from ..paths import StrPath, existing
from ..readdir import Listing
from ..walk import (
    LOOKS,
    Folder,
    Found,
    Targets,
    folders_below,
    look,
    visit,
    wait_for_a_tick,
)
from .annotations import by_annotation, read_annotations
from .image_numbers import ImageNumbers
from .left_out import gone_links, note_gone, tell_left_out
from .links import ViewFolder, check_apart
from .refusals import flat_split, in_another, missing_split, no_images, no_images_in
from .sides import Side


def link_view(
    *,
    view: StrPath,
    extra: StrPath,
    dataset: str,
    root: str,
    split: str,
    layout: str,
    annotations: str,
    settings: str,
    trust_timestamps: bool = True,
    threads: int = 4,
    folders: Folders | None = None,
    empty_classes: str = "refuse",
    deferred: bool = False,
    holdout: float | None = None,
    seed: int = 0,
    links: str = "auto",
) -> None:
    """Bring the view of a split up to date, starting from the last record in the work folder.

    Args:
        view: Where to write the states of the folders, see ``fingerprint.Record``.
        extra, dataset, root, split, layout, annotations, folders: See ``View``.
        empty_classes, deferred: See ``View``.
        settings: The fingerprint of everything else that the view depends on.
        holdout: The share of the images of TRAIN that are VAL; None if VAL has its own images.
        seed: Another number takes other images for it.
        trust_timestamps, threads: See ``View.link``.
        links: See ``LinkTexts``.

    Raises:
        MetadataError: See ``View.link``.
    """
    records = (path for path, _ in existing(extra, "view", split=split))
    last = next((record for _, record in last_records(records, settings)), None)
    made = View(
        dataset,
        root,
        extra=str(extra),
        split=split,
        layout=layout,
        annotations=annotations,
        folders=folders,
        empty_classes=empty_classes,
        deferred=deferred,
        holdout=Holdout(holdout, Count(seed)) if holdout and split in LABELLED else None,
        links=links,
    )
    made.others = last.others if last else {}
    states = made.link(
        last.folders if last else None,
        trust_timestamps=trust_timestamps,
        threads=threads,
        retired=last.retired if last else (),
    )
    retired, notes = tuple(made.numbers.retired), tuple(made.notes)
    write_record(view, Record(settings, states, annotations, retired, made.others, notes))


class View:
    """The view of one split.

    Args:
        dataset: The dataset's folder.
        root: The folder of the view, which DINOv3 uses as root.
        extra: The folder for the metadata; each view belongs to one.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        layout: The layout of the dataset, see ``layouts``.
        annotations: The fingerprint that the file with the classes of the images must still have
            (see ``fingerprint.of_content``); empty to accept any.
        folders: See ``layouts.split_folders``.
        empty_classes: What to do with a class folder without images: ``refuse`` raises an error;
            ``keep`` makes an empty folder.
        deferred: Whether a selection follows, which may leave such classes out.
        holdout: Which images of TRAIN are VAL, for these splits; None if VAL has its own images.
        links: See ``LinkTexts``.

    Attributes:
        numbers: The numbers of the images, as of the last call of ``link``.
        others: Folder -> what was left out of it, by the path of the folder below the split's
            folder. Set it before ``link`` to what it was when the folders had the states ``noted``.
        notes: What a user should know about the images, one sentence each.

    Example:
        >>> view = View(
        ...     "/data/photos", "/data/view", extra="/data/extra", split="TRAIN", layout="folder"
        ... )
        >>> states = view.link()
    """

    def __init__(
        self,
        dataset: str,
        root: str,
        *,
        extra: str,
        split: str,
        layout: str,
        annotations: str = "",
        folders: Folders | None = None,
        empty_classes: str = "refuse",
        deferred: bool = False,
        holdout: Holdout | None = None,
        links: str = "auto",
    ) -> None:
        self.part, self.folders = part_of(dataset, layout, split, folders, holdout), folders
        self.dataset, self.root, self.extra = dataset, root, extra
        self.split, self.layout, self.links = split, layout, links
        self.keep_empty, self.deferred = empty_classes == "keep", deferred
        self.others: Mapping[str, Others] = {}
        self.notes: list[str] = []
        self.source = os.path.join(dataset, self.part.folder) if self.part.folder else dataset
        self.side = Side(split, self.source, holdout, self.keep_empty)
        self.target = f"{root}/{split_folder(split)}"
        self.annotations = f"{dataset}/{self.part.annotations}" if self.part.annotations else ""
        self.content = annotations

    def link(
        self,
        noted: Mapping[str, State] | None = None,
        *,
        trust_timestamps: bool = True,
        threads: int = 4,
        retired: Iterable[str] = (),
    ) -> dict[str, State]:
        """Bring the view up to date. Only folders whose state differs from ``noted`` are listed.

        Each link is made atomically, and no link is removed. But if an image was removed, a new
        image of the same class may take over its number and thus replace its link.

        Args:
            noted: What the last call returned for the same settings and annotations; None to list
                every folder.
            trust_timestamps: See ``fingerprint.folder_state``.
            threads: See ``walk.look``.
            retired: The links that were retired after the last call, see ``ImageNumbers``.

        Returns:
            The states of all folders that the view depends on. Folders of the dataset are named by
            their path below the split's folder, folders of the view by their absolute path.

        Raises:
            MetadataError: A folder, an image or the annotations are missing, an image has no class,
                the name of a class does not fit DINOv3's format, or something that is not a view
                made by this program is in its place.
        """
        self._check_places()
        with ViewFolder(self.root, self.split, self.extra, self.dataset, self.links) as self.folder:
            self.numbers = ImageNumbers(self.split, self.folder, self.source, retired)
            if self.part.whole:
                states = self._link_folders(trust_timestamps)
            else:
                states = self._link_images(noted or {}, trust_timestamps, threads)
            self.folder.old_links = bool(self.numbers.retired)
        logger.info("layout %s: %s", self.layout, LAYOUTS[self.layout].explain())
        more, less = count(self.numbers.added, "link"), self.numbers.less
        logger.info("view of %s: %s more, %d less", self.source, more, less)
        return states

    def _check_places(self) -> None:
        for path in self.part.paths:
            if not finds_folder(f"{self.dataset}/{path}"):
                raise missing_split(self.dataset, path, self.side.owner, self.layout)
        for split in SPLITS:
            for path in part_of(self.dataset, self.layout, split, self.folders).paths:
                check_apart(self.root, self.dataset, os.path.join(self.dataset, path))

    def _link_folders(self, trust_timestamps: bool) -> dict[str, State]:
        """Link whole folders of images, whose images already have DINOv3's names."""
        for _ in range(LOOKS):
            states = self._states_of_whole(trust_timestamps)
            if trust_timestamps:
                wait_for_a_tick([*states.values()])
            if self.part.classes:
                names = self._classes()
                if not names:
                    raise self._no_images()
                self.folder.make(self.folder.folder)
                self.numbers.retire_classes(names)
                with self.folder.opened(self.folder.folder) as folder:
                    for name in names:
                        self.numbers.put(folder, "", name, self._folder_of_images(name))
            else:
                with self.folder.opened("") as folder:
                    self.numbers.added += self.folder.put(folder, self.folder.folder, self.source)
            if states == self._states_of_whole(trust_timestamps):
                return states | {self.target: folder_state(self.target, trust_timestamps)}
        raise self._restless()

    def _states_of_whole(self, trust_timestamps: bool) -> dict[str, State]:
        """Read the states of the folders in the dataset on which links to whole folders depend.

        These are the folder that is linked or that contains the class folders, and the class
        folders too if their images are in a folder inside them.
        """
        if not self.part.classes:
            return {"": folder_state(self.source, trust_timestamps)}
        states = {}
        for name in ["", *(self._classes() if self.part.inside else [])]:
            path = f"{self.source}/{name}"
            states[name] = folder_state(path, trust_timestamps and not has_links(path))
        return states

    def _classes(self) -> list[str]:
        """Return the names of the class folders to link; note what is beside them."""
        with suppress(OSError), os.scandir(self.source) as entries:
            kinds = {entry.name: is_folder(entry) for entry in entries}
            folders = [name for name, folder in kinds.items() if folder]
            files = [name for name, folder in kinds.items() if not folder]
            left = self._left_out("", folders, files)
            gone = [name for name in files if not os.path.exists(f"{self.source}/{name}")]
            self.others = {"": {**left, **gone_links(self.source, gone)}}
            takes = partial(is_class, self.layout, self.source, in_view=True)
            return list(filter(takes, folders))
        return []

    def _folder_of_images(self, name: str) -> str:
        folder = f"{self.source}/{name}"
        inside = f"{folder}/{self.part.inside}".rstrip("/")
        if not self.part.inside or has_images(inside):
            return inside
        with suppress(OSError):
            if any(map(is_image, os.listdir(folder))):  # a user moved the images up
                return folder
        if not os.path.isdir(inside):
            raise MetadataError(
                f"The class folder {folder} contains no {self.part.inside}/, unlike the layout "
                f"{self.layout}: {LAYOUTS[self.layout].explain()}. Move the folder elsewhere or "
                f"add {self.part.inside}/."
            )
        return inside

    def _link_images(
        self, noted: Mapping[str, State], trust_timestamps: bool, threads: int
    ) -> dict[str, State]:
        """Link the images one by one."""
        self.folder.make(self.folder.folder)
        class_of = {}
        if self.annotations and self.part.read:
            class_of = read_annotations(self.annotations, self.content, self.part.read)
        folders = {name: state for name, state in noted.items() if not os.path.isabs(name)}
        below, nothing = folders_below(folders), np.empty(0, "<u4")
        found = {name: Folder(folders[name], below[name], nothing, 0) for name in folders}
        for name, others in self.others.items():
            if name in found:
                found[name].others = others
        targets, changed = Targets(), set[str]()
        for _ in range(LOOKS):
            changed |= {
                *look(
                    Path(self.source),
                    found,
                    targets,
                    what=f"view {self.split}",
                    look_at=partial(visit, Path(self.source), self.split),
                    take=self._take,
                    trust_timestamps=trust_timestamps,
                    threads=threads,
                    links_are_classes=False,
                    tops=self.part.tops,
                )
            }
            above = {name.rpartition("/")[0] for name in found.keys() - {*self.part.tops}}
            if not found.keys() >= {*self.part.tops, *above}:
                continue  # a folder whose subfolder is gone must be listed again first
            # Another run may have made folders for classes of which this split has no images.
            ours = {*filter(os.path.isabs, noted), *self._folders()} if noted else ()
            damaged = {
                path for path in ours if folder_state(path, trust_timestamps) != noted.get(path)
            }
            if not changed and not damaged:
                break
            noted = {}  # its states of the view have been used: the links are repaired below
            if self.annotations:
                self._link_by_annotation(found, class_of)
            else:
                self._link_by_folder(found, changed, damaged)
            changed = set()
        else:
            raise self._restless()
        self.others = {name: found[name].others for name in sorted(found) if found[name].others}
        states = {name: found[name].state for name in sorted(found)}
        return states | {path: folder_state(path, trust_timestamps) for path in self._folders()}

    def _folders(self) -> list[str]:
        """Return the paths of the split's folder in the view and of those of its classes."""
        return [self.target, *(f"{self.target}/{name}" for name in class_folders(self.target))]

    def _take(self, name: str, listed: Listing, state: State) -> Folder:
        """Select the subfolders that may contain images; warn of ignored images and folders."""
        folder = f"{self.source}/{name}" if name else self.source
        below = [
            f"{name}/{subfolder}" if name else subfolder
            for subfolder in listed.subfolders
            if may_hold_images(folder, subfolder)
            and subfolder not in (() if name else self.part.others)
        ]
        others = self._left_out(name, listed.subfolders, [*listed.files, *listed.special])
        return Folder(state, below, np.empty(0, "<u4"), 0, others=others)

    def _left_out(self, name: str, folders: Iterable[str], files: Iterable[str]) -> Others:
        """Return what is left out of a folder, given its path below the split's folder and the
        names of the folders and files in it, and tell the user."""
        beside = self.part.classes and name in self.part.tops
        path = f"{self.source}/{name}".rstrip("/")
        return tell_left_out(path, folders, files, classes=self.part.classes, holds_classes=beside)

    def _link_by_folder(self, found: Found, changed: set[str], damaged: set[str]) -> None:
        """Link the images of each class that changed in the dataset or in the view.

        Args:
            found: All folders of the dataset.
            changed: The folders of the dataset that changed.
            damaged: The absolute paths of the folders of the view that changed.
        """
        folders: dict[str, list[str]] = {}
        tops = self.part.tops if self.part.classes else ()
        for name in sorted(found):
            if was_folder(found[name].state) and name not in tops:
                folders.setdefault(self._class_of(name), []).append(name)
        affected = set(map(self._class_of, changed))
        empty, lacking = [], set[str]()
        self.numbers.check_names(folders)
        for class_id, names in folders.items():
            path = self._class_folder(class_id)
            there = os.path.isdir(path)
            stale = class_id in affected or path in damaged or self.numbers.is_retired(class_id)
            if stale or not (there or self.side.may_lack):
                images = [*self.side.images_in(names, class_id)]
                if not images and self.side.may_lack:
                    lacking.add(class_id)
                elif not self.numbers.link_class(class_id, images):
                    empty.append(class_id)
            elif not there:  # it lacked images before, too
                lacking.add(class_id)
        for top in tops:
            note_gone(found, top, self.source)
        if len(empty) + len(lacking) == len(folders) and (self.side.others or lacking):
            raise self.side.nothing()
        if (empty and not self.part.classes) or not folders:
            raise self._no_images(found)
        if empty and not (self.keep_empty or self.deferred):
            bare = [(one, [found[name].others for name in folders[one]]) for one in empty]
            none = len(empty) == len(folders)
            raise no_images_in(self.split, self.source, bare, self.side.what, all_of_them=none)
        self.numbers.retire_classes(folders.keys() - lacking)
        if len(folders) == 1 and self.part.classes and self.side.owner == self.split:
            self.notes = note_nested(self.split, self.dataset, self.part.paths, next(iter(folders)))

    def _no_images(self, found: Found | None = None) -> MetadataError:
        if self.part.classes and holds_images(self.source):
            return flat_split(self.side.owner, self.source)
        others = [known.others for known in (found or {}).values()]
        hint = in_another(self.dataset, self.side.owner) if self.part.folder else ""
        return no_images(self.side.owner, self.source, others, hint=hint)

    def _class_of(self, folder: str) -> str:
        if not self.part.classes:
            return self.part.class_id
        top = next((top for top in self.part.shards if f"{folder}/".startswith(f"{top}/")), "")
        return folder[len(top) :].strip("/").partition("/")[0]

    def _link_by_annotation(self, found: Found, class_of: dict[str, str]) -> None:
        """Link the images of all classes.

        Args:
            found: All folders of the dataset.
            class_of: File name of each image -> class id.
        """
        names = (name for name in sorted(found) if was_folder(found[name].state))
        images = [*self.side.images_in(names)]
        if not images:
            raise self._no_images(found)
        ids = known_ids(self.dataset, self.layout, self.part, self.folders)
        classes, notes = by_annotation(images, class_of, self.annotations, self.source, ids)
        self.notes = [f"{self.split}: {note}" for note in notes]
        self.numbers.check_names(classes)
        for class_id, some in classes.items():
            self.numbers.link_class(class_id, some)
        self.numbers.retire_classes(classes)

    def _class_folder(self, class_id: str) -> str:
        return f"{self.target}/{class_id}" if class_id else self.target

    def _restless(self) -> MetadataError:
        return MetadataError(
            f"{self.source} keeps changing while the view of it is being made. Wait until "
            "copying has finished and run the same command again."
        )
