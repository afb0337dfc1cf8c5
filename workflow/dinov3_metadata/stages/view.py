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

from ..addresses import LABELLED, SPLITS, is_image, split_folder
from ..artefacts import Scan
from ..documents import Count
from ..errors import MetadataError, count, logger
from ..fingerprint import (
    Record,
    State,
    class_folders,
    folder_state,
    has_links,
    is_folder,
    last_records,
    write_record,
)
from ..formats import read_description
from ..holdout import Holdout
from ..image_paths import read_entries
from ..layouts import (
    LAYOUTS,
    Folders,
    has_images,
    is_class,
    part_of,
)
from ..look import in_threads
from ..paths import StrPath, existing, path_of
from ..walk import (
    LOOKS,
    Found,
    Targets,
    wait_for_a_tick,
)
from .image_numbers import ImageNumbers, Published
from .left_out import gone_links
from .links import ViewFolder, check_apart
from .numbered import published_images
from .source import Source

UNCHANGED = -1  # in place of a number of images


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
    published: str = "",
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
        published: The name of the scan that was published last; may be empty.

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
    made.published = _published(str(extra), split, dataset, published)
    made.others = last.others if last else {}
    states = made.link(
        last.folders if last else None,
        trust_timestamps=trust_timestamps,
        threads=threads,
        retired=last.retired if last else (),
    )
    retired, notes = tuple(made.numbers.retired), tuple(made.notes)
    write_record(view, Record(settings, states, annotations, retired, made.others, notes))


def _published(extra: str, split: str, dataset: str, tree: str) -> Published:
    """Return the numbers of the images of a split that were published last.

    Args:
        extra, split, dataset: See ``View``.
        tree: The name of the scan that was published; may be empty.
    """
    about = read_description(extra, split)
    if about and about.table:
        table = published_images(extra, split, tree)
        return Published(tabled=table.by_path(dataset)) if table else Published()
    for name in ("scan", "last_scan"):
        with suppress(MetadataError):
            return Published(Scan.load(path_of(extra, name, split=split, tree=tree)).by_class())
    entries = read_entries(extra, split)
    return Published(entries.by_class()) if entries else Published()


class View(Source):
    """The view of one split.

    Args:
        dataset, split, layout, annotations, folders, empty_classes, deferred, holdout: See
            ``Source``.
        root: The folder of the view, which DINOv3 uses as root.
        extra: The folder for the metadata; each view belongs to one.
        links: See ``LinkTexts``.

    Attributes:
        numbers: The numbers of the images, as of the last call of ``link``.
        published: The numbers to keep; None to keep those of all links.

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
        super().__init__(
            dataset,
            split=split,
            layout=layout,
            annotations=annotations,
            folders=folders,
            empty_classes=empty_classes,
            deferred=deferred,
            holdout=holdout,
        )
        self.root, self.extra, self.links = root, extra, links
        self.published: Published | None = None
        self.target = f"{root}/{split_folder(split)}"

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
        self.check_there()
        for split in SPLITS:
            for path in part_of(self.dataset, self.layout, split, self.folders).paths:
                check_apart(self.root, self.dataset, os.path.join(self.dataset, path))
        with ViewFolder(self.root, self.split, self.extra, self.dataset, self.links) as self.folder:
            self.numbers = ImageNumbers(self.split, self.folder, retired, self.published)
            if self.part.whole:
                states = self._link_folders(trust_timestamps)
            else:
                states = self._link_images(noted or {}, trust_timestamps, threads)
            self.folder.old_links = bool(self.numbers.retired)
        logger.info("layout %s: %s", self.layout, LAYOUTS[self.layout].explain())
        more, less = count(self.numbers.added, "link"), self.numbers.less
        logger.info("view of %s: %s more, %d less", self.source, more, less)
        return states

    def _link_folders(self, trust_timestamps: bool) -> dict[str, State]:
        """Link whole folders of images, whose images already have DINOv3's names."""
        for _ in range(LOOKS):
            states = self._states_of_whole(trust_timestamps)
            if trust_timestamps:
                wait_for_a_tick([*states.values()])
            if self.part.classes:
                names = self._classes()
                if not names:
                    raise self.no_images()
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
        raise self.restless()

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
            left = self.left_out("", folders, files)
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
        class_of, found = self.read_annotations(), self.known(noted)
        targets, changed = Targets(), set[str]()
        for _ in range(LOOKS):
            new, complete = self.look(found, targets, "view", trust_timestamps, threads)
            changed |= {*new}
            if not complete:
                continue
            # Another run may have made folders for classes of which this split has no images.
            ours = {*filter(os.path.isabs, noted), *self._folders()} if noted else ()
            damaged = {
                path for path in ours if folder_state(path, trust_timestamps) != noted.get(path)
            }
            if not changed and not damaged:
                break
            noted = {}  # its states of the view have been used: the links are repaired below
            if self.annotations:
                classes = self.by_annotation(found, class_of)
                for class_id, images in classes.items():
                    self.numbers.link_class(class_id, images)
                self.numbers.retire_classes(classes)
            else:
                self._link_by_folder(found, changed, damaged, threads)
            changed = set()
        else:
            raise self.restless()
        self.others = {name: found[name].others for name in sorted(found) if found[name].others}
        states = {name: found[name].state for name in sorted(found)}
        return states | {path: folder_state(path, trust_timestamps) for path in self._folders()}

    def _folders(self) -> list[str]:
        """Return the paths of the split's folder in the view and of those of its classes."""
        return [self.target, *(f"{self.target}/{name}" for name in class_folders(self.target))]

    def _link_by_folder(
        self, found: Found, changed: set[str], damaged: set[str], threads: int
    ) -> None:
        """Link the images of each class that changed in the dataset or in the view.

        Args:
            found: All folders of the dataset.
            changed: The folders of the dataset that changed.
            damaged: The absolute paths of the folders of the view that changed.
            threads: How many classes may be linked at once, if it takes long to link one.
        """
        folders, affected = self.by_folder(found), {*map(self.part.class_of, changed)}

        def link(class_id: str) -> int | None:
            """Link a class that changed; return how many images it has, None if it is lacking."""
            path = self._class_folder(class_id)
            there = os.path.isdir(path)
            stale = class_id in affected or path in damaged or self.numbers.is_retired(class_id)
            if not (stale or not (there or self.side.may_lack)):
                return UNCHANGED if there else None  # it lacked images before, too
            images = [*self.side.images_in(folders[class_id], class_id)]
            lacks = not images and self.side.may_lack
            return None if lacks else self.numbers.link_class(class_id, images)

        many = dict(zip(folders, in_threads(link, [*folders], threads), strict=True))
        empty = [class_id for class_id in folders if many[class_id] == 0]
        lacking = {class_id for class_id in folders if many[class_id] is None}
        self.check_classes(found, folders, empty, lacking)
        self.numbers.retire_classes(folders.keys() - lacking)

    def _class_folder(self, class_id: str) -> str:
        return f"{self.target}/{class_id}" if class_id else self.target
