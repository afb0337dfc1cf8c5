"""View: links in DINOv3's layout to the images of a dataset that has another layout.

The number of an image is read from its link, see ``image_numbers``. The dataset is never written
to.

A link that no longer belongs to an image of the split is *retired*. It stays, because a training
may still read the rows that were published last. Scans leave it out, and ``sweep`` removes it when
new rows have been published. So a run that ends with an error removes no link.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from ..addresses import (
    SPLITS,
    is_image,
    split_folder,
)
from ..errors import MetadataError, count, listing, logger
from ..fingerprint import (
    Record,
    State,
    class_folders,
    folder_state,
    has_links,
    last_records,
    was_folder,
    write_record,
)
from ..layouts import LAYOUTS, may_hold_images
from ..paths import StrPath, existing
from ..readdir import Listing, list_folder
from ..walk import LOOKS, Folder, Found, Targets, folders_below, look, visit, wait_for_a_tick
from .annotations import read_annotations
from .image_numbers import ImageNumbers
from .links import ViewFolder


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
) -> None:
    """Bring the view of a split up to date, starting from the last record in the work folder.

    Args:
        view: Where to write the states of the folders, see ``fingerprint.Record``.
        extra, dataset, root, split, layout, annotations: See ``View``.
        settings: The fingerprint of everything else that the view depends on.
        trust_timestamps, threads: See ``View.link``.

    Raises:
        MetadataError: See ``View.link``.
    """
    records = (path for path, _ in existing(extra, "view", split=split))
    last = next((record for _, record in last_records(records, settings)), None)
    links = View(
        dataset, root, extra=str(extra), split=split, layout=layout, annotations=annotations
    )
    states = links.link(
        last.folders if last else None,
        trust_timestamps=trust_timestamps,
        threads=threads,
        retired=last.retired if last else (),
    )
    write_record(view, Record(settings, states, annotations, tuple(links.numbers.retired)))


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

    Attributes:
        numbers: The numbers of the images, as of the last call of ``link``.

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
    ) -> None:
        self.part = LAYOUTS[layout].list_part(dataset, split)
        self.dataset, self.root, self.extra = dataset, root, extra
        self.split, self.layout = split, layout
        self.source = os.path.join(dataset, self.part.folder) if self.part.folder else dataset
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
        with ViewFolder(self.root, self.split, self.extra, self.dataset) as self.folder:
            self.numbers = ImageNumbers(self.split, self.folder, self.source, retired)
            if self.part.whole:
                states = self._link_folders(trust_timestamps)
            else:
                states = self._link_images(noted or {}, trust_timestamps, threads)
            self.folder.old_links = bool(self.numbers.retired)
        logger.info("layout %s: %s", self.layout, LAYOUTS[self.layout].explain())
        more, less = count(self.numbers.added, "link"), self.numbers.less
        logger.info("%s: %s more, %d less", self.target, more, less)
        return states

    def _check_places(self) -> None:
        if not os.path.isdir(self.source):
            raise MetadataError(
                f"The {self.split} folder {self.source} does not exist. The layout {self.layout} "
                f"is: {LAYOUTS[self.layout].explain()}. If you do not need this split, leave it "
                "out of `splits`, for instance `--config splits='[TRAIN]'`."
            )
        view = os.path.realpath(self.root)
        for split in SPLITS:
            part = LAYOUTS[self.layout].list_part(self.dataset, split)
            folder = os.path.join(self.dataset, part.folder)
            source = os.path.realpath(folder)
            inside = os.path.commonpath([view, source])
            if inside == view or (inside == source and source != os.path.realpath(self.dataset)):
                raise MetadataError(
                    f"The view {self.root} is inside {folder}, or {folder} is inside the view. "
                    "Point `view:` at another folder."
                )

    def _link_folders(self, trust_timestamps: bool) -> dict[str, State]:
        """Link whole folders of images, whose images already have DINOv3's names."""
        for _ in range(LOOKS):
            states = self._states_of_whole(trust_timestamps)
            if trust_timestamps:
                wait_for_a_tick([*states.values()])
            if self.part.classes:
                names = [name for name in class_folders(self.source) if not name.startswith(".")]
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
        names = class_folders(self.source) if self.part.inside else []
        states = {}
        for name in ["", *(name for name in names if not name.startswith("."))]:
            path = f"{self.source}/{name}"
            states[name] = folder_state(path, trust_timestamps and not has_links(path))
        return states

    def _folder_of_images(self, name: str) -> str:
        folder = f"{self.source}/{name}"
        if self.part.inside and not os.path.isdir(f"{folder}/{self.part.inside}"):
            raise MetadataError(
                f"The class folder {folder} contains no {self.part.inside}/, unlike the layout "
                f"{self.layout}: {LAYOUTS[self.layout].explain()}. Move the folder elsewhere or "
                f"add {self.part.inside}/."
            )
        return f"{folder}/{self.part.inside}".rstrip("/")

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
                )
            }
            if not found.keys() >= {"", *(name.rpartition("/")[0] for name in found)}:
                continue  # a folder whose subfolder is gone must be listed again first
            damaged = {
                path
                for path, state in noted.items()
                if os.path.isabs(path) and folder_state(path, trust_timestamps) != state
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
        paths = [self.target, *(f"{self.target}/{name}" for name in class_folders(self.target))]
        states = {name: found[name].state for name in sorted(found)}
        return states | {path: folder_state(path, trust_timestamps) for path in paths}

    def _take(self, name: str, listed: Listing, state: State) -> Folder:
        """Select the subfolders that may contain images; warn of ignored images and folders."""
        folder = f"{self.source}/{name}" if name else self.source
        below = [
            f"{name}/{subfolder}" if name else subfolder
            for subfolder in listed.subfolders
            if may_hold_images(folder, subfolder)
            and subfolder not in (() if name else self.part.others)
        ]
        hidden = [subfolder for subfolder in listed.subfolders if subfolder.startswith(".")]
        if hidden:
            logger.info("ignored, because it is hidden: %s", f"{folder}/{min(hidden)}")
        images = _images(listed) if not name and self.part.classes else []
        if images:
            logger.warning(
                "Ignored, because they are beside the class folders in %s: %s (for instance %s)",
                self.source,
                count(len(images), "image"),
                min(images),
            )
        return Folder(state, below, np.empty(0, "<u4"), 0)

    def _link_by_folder(self, found: Found, changed: set[str], damaged: set[str]) -> None:
        """Link the images of each class that changed in the dataset or in the view.

        Args:
            found: All folders of the dataset.
            changed: The folders of the dataset that changed.
            damaged: The absolute paths of the folders of the view that changed.
        """
        folders: dict[str, list[str]] = {}
        for name in sorted(found):
            if was_folder(found[name].state) and (name or not self.part.classes):
                folders.setdefault(self._class_of(name), []).append(name)
        affected = set(map(self._class_of, changed))
        empty = []
        for class_id, names in folders.items():
            path = self._class_folder(class_id)
            stale = class_id in affected or path in damaged or not os.path.isdir(path)
            if stale and not self.numbers.link_class(class_id, self._images_in(names)):
                empty.append(class_id)
        if (empty and not self.part.classes) or not folders:
            raise self._no_images()
        if empty:
            what = count(len(empty), "class folder")
            raise MetadataError(
                f"{self.split}: {what} in {self.source} with no images:",
                listing(empty, len(empty)),
                "Add images or remove them, or move them out of the split.",
            )
        self.numbers.retire_classes(folders)

    def _no_images(self) -> MetadataError:
        return MetadataError(
            f"The {self.split} split folder {self.source} contains no images. Add them, or "
            f"remove {self.split} from `splits`."
        )

    def _class_of(self, folder: str) -> str:
        return folder.partition("/")[0] if self.part.classes else self.part.class_id

    def _link_by_annotation(self, found: Found, class_of: dict[str, str]) -> None:
        """Link the images of all classes.

        Args:
            found: All folders of the dataset.
            class_of: File name of each image -> class id.
        """
        images = list(
            self._images_in(name for name in sorted(found) if was_folder(found[name].state))
        )
        strangers = sorted(path for path in images if os.path.basename(path) not in class_of)
        if strangers:
            raise MetadataError(
                f"{count(len(strangers), 'image')} in {self.source} with no class in "
                f"{self.annotations}:",
                listing(map(os.path.basename, strangers), len(strangers)),
                "Add a row for each, or move them elsewhere.",
            )
        if not images:
            raise self._no_images()
        classes: dict[str, list[str]] = {}
        for path in images:
            classes.setdefault(class_of[os.path.basename(path)], []).append(path)
        for class_id, some in classes.items():
            self.numbers.link_class(class_id, some)
        self.numbers.retire_classes(classes)

    def _images_in(self, names: Iterable[str]) -> Iterator[str]:
        """Yield the paths of the images directly in some folders of the dataset."""
        for name in names:
            folder = f"{self.source}/{name}" if name else self.source
            with suppress(FileNotFoundError, NotADirectoryError):  # the next look notices it
                listed = list_folder(folder, self.split, None)
                for image in _images(listed):
                    # The target of a link to a special file is spelled differently. So if a regular
                    # file replaces the special file, the link is replaced, too, and its folder is
                    # scanned again.
                    yield f"{folder}/./{image}" if image in listed.special else f"{folder}/{image}"

    def _class_folder(self, class_id: str) -> str:
        return f"{self.target}/{class_id}" if class_id else self.target

    def _restless(self) -> MetadataError:
        return MetadataError(
            f"{self.source} keeps changing while the view of it is being made. Wait until "
            "copying has finished and run the same command again."
        )


def _images(listed: Listing) -> list[str]:
    images = [*filter(is_image, listed.files), *listed.special]
    return [name for name in images if name[0] != "."]
