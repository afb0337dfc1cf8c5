"""View: links in DINOv3's layout to the images of a dataset that lies otherwise.

The links themselves tell which image has which number, so that an image keeps its number while
others come and go, and nothing else has to be remembered. The dataset is never written to, and
nothing is ever removed that is no link into the dataset.
"""

import os
import re
from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import count as count_from
from pathlib import Path

import numpy as np

from .errors import MetadataError, count, listing, printable
from .fingerprint import State, class_folders, folder_state
from .folder import Listing, is_image
from .layout import MAX_INDEX, WORK, image_name, split_folder
from .layouts import layout_of
from .log import logger
from .scan import LOOKS, Folder, folders_below, look, visit, wait_for_a_tick

LONGEST = 255  # bytes of a file name
MARK = ".dinov3-view"  # a file in the folder of a view: its links are no images of a dataset


class View:
    """The view of one split.

    Args:
        root: The dataset's folder.
        view: The folder of the view, which DINOv3 takes for root.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        layout: How the dataset lies, see ``layouts``.
    """

    def __init__(self, root: str, view: str, split: str, layout: str) -> None:
        self.part = layout_of(layout).list_part(root, split)
        self.root, self.split, self.layout = root, split, layout
        self.source = Path(root, self.part.folder)
        self.view, self.target = Path(view), Path(view, split_folder(split))
        self.annotations = f"{root}/{self.part.annotations}" if self.part.annotations else ""
        self.added = self.removed = 0

    def link(
        self, noted: dict[str, State] | None = None, trust_timestamps: bool = True, threads: int = 4
    ) -> dict[str, State]:
        """Bring the view up to date: only folders whose state is not the noted one are looked at.

        Links appear and vanish one by one, each in one step of the file system.

        Args:
            noted: What this method returned last time, for the same settings and annotations.
            trust_timestamps: See ``fingerprint.folder_state``.
            threads: See ``scan.scan_split``.

        Returns:
            The states of all folders that the view depends on: those of the dataset by their path
            below the split's, those of the view by their absolute path.

        Raises:
            MetadataError: A folder or the annotations are missing, an image has no class, DINOv3's
                format has no room for the name of a class, or the view is in the way of something.
        """
        self._check_places()
        self.view.mkdir(parents=True, exist_ok=True)
        (self.view / MARK).touch()
        mark = self.view / f"{MARK}-{self.split}"  # tells where the dataset lay before it was moved
        self.roots = [self.root, mark.read_text() if mark.exists() else self.root]
        if self.part.whole:
            states = self._link_folders(trust_timestamps)
        else:
            states = self._link_images(noted or {}, trust_timestamps, threads)
        mark.write_text(self.root)
        logger.info("layout %s: %s", self.layout, layout_of(self.layout).explain())
        logger.info("%s: %s more, %d less", self.target, count(self.added, "link"), self.removed)
        return states

    def _check_places(self) -> None:
        if not self.source.is_dir():
            raise MetadataError(
                f"The {self.split} folder {self.source} does not exist. The layout {self.layout} "
                f"is: {layout_of(self.layout).explain()}. `splits` in config.yaml says which "
                "splits are wanted."
            )
        view, source = os.path.realpath(self.view), os.path.realpath(self.source)
        inside = os.path.commonpath([view, source])
        if inside == view or (inside == source and source != os.path.realpath(self.root)):
            raise MetadataError(
                f"The view {self.view} lies in {self.source}, or the other way round. Choose "
                "another folder with `view:`."
            )

    def _link_folders(self, trust_timestamps: bool) -> dict[str, State]:
        """Link the folders of images as they are."""
        for _ in range(LOOKS):
            state = folder_state(self.source, trust_timestamps)
            if trust_timestamps:
                wait_for_a_tick([state])
            if self.part.classes:
                self._become_folder(self.target)
                names = [name for name in class_folders(self.source) if not name.startswith(".")]
                for name in self._entries(self.target) - set(names):
                    self._remove(self.target / name)
                for name in names:
                    folder = self.source / name / self.part.inside
                    if not folder.is_dir():
                        raise MetadataError(
                            f"The class folder {self.source / name} has no {self.part.inside}/ in "
                            f"it, as in the layout {self.layout}: "
                            f"{layout_of(self.layout).explain()}. Move it away or fill it."
                        )
                    self._replace(self.target / name, folder)
            else:
                self._replace(self.target, self.source)
            if state == folder_state(self.source, trust_timestamps):
                return {"": state, str(self.target): folder_state(self.target, trust_timestamps)}
        raise MetadataError(f"{self.source} keeps changing while the view of it is made.")

    def _link_images(
        self, noted: dict[str, State], trust_timestamps: bool, threads: int
    ) -> dict[str, State]:
        """Link the images one by one."""
        self._become_folder(self.target)
        class_of = self._read_annotations() if self.annotations else {}
        found = self._found(noted, trust_timestamps)
        before = set(found)
        images: dict[str, list[str]] = {}
        changed: set[str] = set()
        for _ in range(LOOKS):
            once = look(
                self.source,
                f"view {self.split}",
                found,
                partial(visit, self.source, self.split),
                partial(self._take, images),
                trust_timestamps,
                threads,
                links_are_classes=False,
            )
            if not once:
                break
            changed.update(once)
        else:
            raise MetadataError(f"{self.source} keeps changing while the view of it is made.")
        here = {name for name in found if found[name].state}
        changed |= before - here
        images = {name: images[name] for name in images if name in here}
        if self.annotations:
            classes = self._by_annotation(images, class_of) if "" in changed else None
        else:
            classes = self._by_folder(images, changed)
        if classes is not None:
            folders_here = {str(self.source / name) for name in here}
            for class_id, some in classes.items():
                self._link_class(class_id, some, folders_here)
            self._remove_classes(here, classes)
        folders = [self.target, *map(self.target.joinpath, class_folders(self.target))]
        states = {name: found[name].state for name in sorted(found)}
        return states | {str(path): folder_state(path, trust_timestamps) for path in folders}

    def _found(self, noted: dict[str, State], trust_timestamps: bool) -> dict[str, Folder]:
        """What is known of the dataset's folders, but for those whose links were tampered with."""
        folders = {name: state for name, state in noted.items() if not os.path.isabs(name)}
        intact = {
            name
            for name, state in noted.items()
            if os.path.isabs(name) and folder_state(name, trust_timestamps) == state
        }
        if str(self.target) not in intact:
            return {}
        below = folders_below(folders)
        damaged = {name for name in noted if os.path.isabs(name)} - intact
        if self.annotations or not self.part.classes:
            known = folders if not damaged else {}
        else:
            known = {
                name: state
                for name, state in folders.items()
                if not name or str(self.target / name.partition("/")[0]) in intact
            }
        return {
            name: Folder(state, below[name], np.empty(0, "<u4"), 0) for name, state in known.items()
        }

    def _take(
        self, images: dict[str, list[str]], name: str, listed: Listing, state: State
    ) -> Folder:
        """Note the images of a folder, and which of the folders in it count."""
        below = [
            f"{name}/{subfolder}" if name else subfolder
            for subfolder in listed.subfolders
            if not subfolder.startswith(".")
            and subfolder not in (() if name else self.part.others)
            and not any(
                os.path.lexists(self.source / name / subfolder / own) for own in (MARK, WORK)
            )
        ]
        images[name] = [file for file in listed.files if is_image(file) and file[0] != "."]
        if not name and self.part.classes and images[name]:
            logger.warning(
                "Passed over, as beside the class folders in %s: %s (for instance %s)",
                self.source,
                count(len(images[name]), "image"),
                printable(min(images[name])),
            )
        return Folder(state, below, np.empty(0, "<u4"), len(images[name]))

    def _by_folder(
        self, images: dict[str, list[str]], changed: set[str]
    ) -> dict[str, dict[str, list[str]]]:
        """Class id -> folder -> images, of the classes with a folder that changed."""
        classes: dict[str, dict[str, list[str]]] = {}
        for name in sorted(changed):
            if name or not self.part.classes:
                class_id = name.partition("/")[0] if self.part.classes else self.part.class_id
                folders = classes.setdefault(class_id, {})
                if name in images:
                    folders[str(self.source / name)] = images[name]
        return classes

    def _by_annotation(
        self, images: dict[str, list[str]], class_of: dict[str, str]
    ) -> dict[str, dict[str, list[str]]]:
        """Class id -> folder -> images, as the annotations tell."""
        strangers = sorted(image for some in images.values() for image in some
                           if image not in class_of)  # fmt: skip
        if strangers:
            raise MetadataError(
                f"{count(len(strangers), 'image')} in {self.source} without a class in "
                f"{self.annotations}:\n{listing(strangers, len(strangers))}\n"
                "Add a row for each, or move them away."
            )
        folder = str(self.source)
        classes = {name: {folder: []} for name in class_folders(self.target)}
        for image in images.get("", ()):
            classes.setdefault(class_of[image], {folder: []})[folder].append(image)
        return classes

    def _link_class(self, class_id: str, images: dict[str, list[str]], here: set[str]) -> None:
        """Make the links of a class those to the images of its folders.

        An image takes the number that its own name ends with, if no other has it; or else the least
        that is free.

        Args:
            class_id: The class; empty for TEST.
            images: Folder -> images in it; links into other folders stay.
            here: All folders that there are; links into others go.
        """
        self._check_name(class_id)
        folder = self.target / class_id if class_id else self.target
        self._become_folder(folder)
        numbers = self._numbers(folder, class_id)
        wanted = {f"{above}/{image}" for above, some in images.items() for image in some}
        for link in list(numbers):
            above = os.path.dirname(link)
            if above not in here or (above in images and link not in wanted):
                self._remove(folder / image_name(self.split, class_id, numbers.pop(link)))
        new = sorted(wanted - numbers.keys())
        own = {image: own_number(image) for image in new}
        often = Counter(own.values())
        used = set(numbers.values())
        free = (i for i in count_from() if i not in used and i not in often)
        for image in new:
            number = own[image]
            if number is None or number in used or often[number] > 1:
                number = next(free)
            used.add(number)
            self._replace(folder / image_name(self.split, class_id, number), Path(image))

    def _numbers(self, folder: Path, class_id: str) -> dict[str, int]:
        """The images that a folder of the view links to, and their numbers."""
        numbers: dict[str, int] = {}
        for name in self._entries(folder):
            path = folder / name
            self._check_link(path)
            number, image = own_number(name), os.readlink(path)
            image = self.root + image.removeprefix(self._root_of(image))
            due = number is not None and name == image_name(self.split, class_id, number)
            if due and image.startswith(f"{self.source}/") and image not in numbers:
                numbers[image] = number
                self._replace(path, Path(image))
            else:
                self._remove(path)
        return numbers

    def _remove_classes(self, here: set[str], classes: dict[str, dict[str, list[str]]]) -> None:
        """Remove the classes of the view that the dataset has no longer."""
        if self.annotations:
            used = {name for name, folders in classes.items() if any(folders.values())}
        elif self.part.classes:
            used = {name.partition("/")[0] for name in here}
        else:
            used = {self.part.class_id}
        if "" not in used or self.part.classes:
            for name in self._entries(self.target) - used:
                self._remove(self.target / name)

    def _read_annotations(self) -> dict[str, str]:
        """Image -> class id."""
        try:
            text = Path(self.annotations).read_text(encoding="utf-8-sig", errors="surrogateescape")
        except OSError as error:
            raise MetadataError(
                f"{self.annotations}, which tells the classes of the images in {self.source}, can "
                f"not be read: {error.strerror}."
            ) from None
        class_of: dict[str, str] = {}
        for number, line in enumerate(map(str.strip, text.splitlines()), 1):
            if not line:
                continue
            try:
                image, class_id = self.part.read(line)
            except (ValueError, IndexError):
                image = class_id = ""
            if not class_id or class_id.startswith(".") or re.search(r"[/\0]", class_id):
                raise MetadataError(
                    f"{self.annotations}, line {number}: {line[:80]!r} does not tell the class of "
                    "an image."
                )
            if class_of.setdefault(image, class_id) != class_id:
                raise MetadataError(
                    f"{self.annotations}, line {number}: {image} has another class than in a line "
                    "before. Remove one of the two."
                )
        return class_of

    def _check_name(self, class_id: str) -> None:
        """Refuse a class whose name DINOv3's format has no room for."""
        try:
            length = len(image_name(self.split, class_id, MAX_INDEX).encode())
        except UnicodeEncodeError:
            raise MetadataError(
                f"The class {printable(class_id)} in {self.source} has a name that is not UTF-8. "
                "Rename it."
            ) from None
        if length > LONGEST:
            raise MetadataError(
                f"The class name {class_id[:40]}... is too long: the names of its images would "
                f"have {length} bytes, of which a file system takes {LONGEST}. Shorten it."
            )

    def _entries(self, folder: Path) -> set[str]:
        """The names in a folder of the view, but for hidden files that others leave everywhere."""
        names = set(os.listdir(folder))
        return {name for name in names if not name.startswith(".") or name.endswith(".tmp")}

    def _root_of(self, image: str) -> str:
        return next((root for root in self.roots if image.startswith(f"{root}/")), "")

    def _check_link(self, path: Path) -> None:
        if not path.is_symlink() or not self._root_of(os.readlink(path)):
            raise MetadataError(
                f"{path} is no link into {self.root}. The folder of a view is made by the program "
                "alone: move this away, or set `view:` to another folder."
            )

    def _become_folder(self, path: Path) -> None:
        """Have a folder at a path, whatever link was there."""
        if path.is_symlink():
            self._remove(path)
        path.mkdir(exist_ok=True)

    def _replace(self, path: Path, target: Path) -> None:
        """Have a link at a path, in one step of the file system."""
        if path.is_symlink() and os.readlink(path) == str(target):
            return
        if os.path.lexists(path):
            self._check_link(path) if path.is_symlink() else self._remove(path)
        new = path.with_name(f".{os.getpid()}.tmp")
        with suppress(FileNotFoundError):
            new.unlink()
        new.symlink_to(target)
        os.replace(new, path)
        self.added += 1

    def _remove(self, path: Path) -> None:
        """Remove a link, or a folder of links; anything else stays and is named."""
        if path.is_dir() and not path.is_symlink():
            for name in self._entries(path):
                self._remove(path / name)
            path.rmdir()
        else:
            self._check_link(path)
            path.unlink()
            self.removed += 1


def own_number(image: str) -> int | None:
    """The number that ends an image's name, if DINOv3's format has room for it."""
    found = re.search(r"([0-9]+)$", os.path.splitext(os.path.basename(image))[0])
    return int(found[1]) if found and int(found[1]) <= MAX_INDEX else None
