"""Table: number the images of a dataset whose layout is not DINOv3's, and note their paths.

The table takes the place of a view where no links are wanted. Each image gets the number that its
link would have, see ``image_numbers``, and keeps it from when it is published, in the same way. No
Python object is made for each image, unless a file lists the classes of the images or VAL is held
out of TRAIN.
"""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from ..addresses import LABELLED, is_image, name_parts, owner_of_number
from ..artefacts import Scan
from ..documents import Count
from ..errors import SHOWN, count, logger
from ..fingerprint import Record, State, was_folder
from ..holdout import Holdout
from ..image_paths import ImagePaths
from ..layouts import LAYOUTS, Folders
from ..names import check_length
from ..packed import below, bytes_of, order_of, trailing_numbers
from ..paths import StrPath
from ..readdir import Listing, keys_of, why_no_image
from ..walk import LOOKS, Folder, Found, Targets, visit
from .numbered import NONE, Numbered, Piece, Rows, last_table, published_images
from .refusals import no_images, no_images_in, not_addressable
from .source import Source


def scan_paths(
    extra: StrPath,
    split: str,
    settings: str,
    *,
    dataset: str,
    layout: str,
    folders: Folders | None,
    annotations: str,
    published: str,
    holdout: float | None,
    seed: int,
    empty_classes: str,
    unaddressable: str,
    deferred: bool,
    trust_timestamps: bool,
    threads: int,
) -> tuple[Scan, ImagePaths, Record]:
    """Scan a split of a dataset in another layout, starting from the last table.

    Args:
        extra, split, settings, empty_classes, unaddressable, deferred, trust_timestamps, threads:
            See ``scan.scan_split``.
        dataset, layout, folders, annotations: See ``Source``.
        published: The name of the scan that was published last; may be empty.
        holdout, seed: See ``view.link_view``.

    Raises:
        MetadataError: See ``view.View.link``; or an image cannot be opened.
    """
    held = Holdout(holdout, Count(seed)) if holdout and split in LABELLED else None
    table = Table(
        dataset,
        split=split,
        layout=layout,
        annotations=annotations,
        folders=folders,
        empty_classes=empty_classes,
        deferred=deferred,
        holdout=held,
    )
    table.published = published_images(extra, split, published)
    table.before = last_table(extra, split, settings, table.published)
    scan, paths, states = table.scan(unaddressable, trust_timestamps, threads)
    return (
        scan,
        paths,
        Record(settings, states, annotations, others=table.others, notes=tuple(table.notes)),
    )


class Table(Source):
    """The table of one split, see ``Source`` for its arguments.

    Attributes:
        published: The images that keep their numbers; set it before ``scan``.
        before: The last table, whose other folders need not be listed, and their states.
    """

    published: Numbered | None = None
    before: tuple[Numbered, Record] | None = None

    @property
    def visit(self) -> partial[Listing | None]:
        return partial(visit, Path(self.source), self.split, name_images=True)

    def take(self, name: str, listed: Listing, state: State) -> Folder:
        odd = [os.fsencode(one) for one in filter(is_image, listed.files) if one[0] != "."]
        images = np.concatenate([listed.images, np.array(odd, "S")])
        self.listed[name] = images, [one for one in listed.special if one[0] != "."]
        beside = self.part.classes and name in self.part.tops
        files = [*listed.files, *(map(os.fsdecode, listed.images.tolist()) if beside else ())]
        return super().take(name, listed._replace(files=files), state)

    def scan(
        self, unaddressable: str, trust_timestamps: bool, threads: int
    ) -> tuple[Scan, ImagePaths, dict[str, State]]:
        """List the folders that changed, and number their images.

        Args:
            unaddressable, trust_timestamps, threads: See ``scan.scan_split``.

        Returns:
            The images, their paths, and the states of all folders.
        """
        self.check_there()
        self.listed: dict[str, tuple[np.ndarray, list[str]]] = {}
        noted = self.before[1] if self.before else Record("", {})
        self.others = noted.others
        class_of, found = self.read_annotations(), self.known(noted.folders)
        classes: dict[str, list[str]] | None = None
        targets, changed = Targets(), set[str]()
        for _ in range(LOOKS):
            new, complete = self.look(found, targets, "scan", trust_timestamps, threads)
            changed |= {*new}
            if not complete:
                continue
            if self.annotations and (new or classes is None):
                classes = self.by_annotation(found, class_of)
            elif not (new or self._list_rest(found, changed)):
                break
        else:
            raise self.restless()
        pieces = (
            {one: self._number(one, self._rows_of(images)) for one, images in classes.items()}
            if classes is not None
            else self._by_folder(found, changed)
        )
        scan, paths = self._join(pieces, found)
        self._check(scan, paths, unaddressable)
        self.others = {name: found[name].others for name in sorted(found) if found[name].others}
        what = count(len(scan.actual_index), "image"), count(len(pieces), "class", "classes")
        logger.info("layout %s: %s", self.layout, LAYOUTS[self.layout].explain())
        logger.info("%s: %s in %s", self.source, *what)
        logger.info("%d of %s listed", len(self.listed), count(len(found), "folder"))
        return scan, paths, {name: found[name].state for name in sorted(found)}

    def _affected(self, folders: dict[str, list[str]], changed: set[str]) -> set[str]:
        """Return the classes whose images must be looked at again."""
        again = {*map(self.part.class_of, changed)}
        places = self.before[0].places if self.before else {}
        lacks = () if self.side.may_lack else folders.keys() - places.keys()
        return again.intersection(folders).union(lacks)

    def _list_rest(self, found: Found, changed: set[str]) -> bool:
        """List the other folders of the classes in which a folder changed. Return whether there
        were any, so that all must be looked at once more."""
        if self.annotations:
            return False
        folders = self.by_folder(found)
        names = [name for one in self._affected(folders, changed) for name in folders[one]]
        rest = [name for name in names if name not in self.listed]
        for name in rest:
            if listed := self.visit(name):
                self.take(name, listed, found[name].state)
        return bool(rest)

    def _by_folder(self, found: Found, changed: set[str]) -> dict[str, Piece]:
        """Number the images of the classes that changed, and take the others as they were."""
        folders = self.by_folder(found)
        affected = self._affected(folders, changed)
        pieces: dict[str, Piece] = {}
        empty, lacking = list[str](), set[str]()
        for class_id, names in folders.items():
            if class_id in affected:
                rows = self._images_in(names, class_id)
                if len(rows.paths) or not self.side.may_lack:
                    pieces[class_id] = self._number(class_id, rows)
                if not len(rows.paths):
                    (lacking.add if self.side.may_lack else empty.append)(class_id)
            elif self.before and class_id in self.before[0].places:
                pieces[class_id] = self.before[0].piece(class_id)
            else:  # it lacked images before, too
                lacking.add(class_id)
        self.check_classes(found, folders, empty, lacking)
        return pieces

    def _images_in(self, folders: Sequence[str], class_id: str) -> Rows:
        """Return the images directly in some folders that have been listed, without numbers."""
        parts = [NONE]
        for name in folders:
            images, special = self.listed.get(name, (NONE.paths, []))
            folder = "/".join(filter(None, [self.part.folder, name]))
            prefix = os.fsencode(f"{folder}/" if folder else "")
            if self.side.holdout:
                own = self.side.own(class_id, [*map(os.fsdecode, images.tolist()), *special])
                special = [one for one in special if one in own]
                rest = {*own}.difference(special)
                images = np.array([one for one in images.tolist() if os.fsdecode(one) in rest], "S")
            # They are spelled differently, as in ``Side.images_in``.
            others = np.array([os.fsencode(f"./{one}") for one in special], "S")
            for some, is_special in ((images, False), (others, True)):
                if len(some):
                    paths = below(prefix, some)
                    parts.append(Rows(paths, NONE.numbers, np.full(len(some), is_special)))
        return _joined(parts)

    def _rows_of(self, images: Sequence[str]) -> Rows:
        """Return some images, given by their paths, without numbers."""
        start = len(os.fsencode(self.dataset)) + 1
        paths = [os.fsencode(image)[start:] for image in images]
        special = [b"/./" in b"/" + path for path in paths]
        return Rows(np.array(paths, "S"), NONE.numbers, np.array(special, bool))

    def _number(self, class_id: str, rows: Rows) -> Piece:
        """Give each image of a class its number, see ``image_numbers.ImageNumbers.link_class``.

        Args:
            class_id: The class; empty for TEST.
            rows: All images of the class. Their numbers are ignored.
        """
        check_length(self.split, class_id)
        before = self.published.rows(class_id) if self.published else NONE
        numbers, gone = np.full(len(rows.paths), -1, "<i8"), np.ones(len(before.paths), bool)
        if len(before.paths):
            _, at, old = np.intersect1d(rows.paths, before.paths, True, return_indices=True)
            numbers[at], gone[old] = before.numbers[old], False
        new = np.flatnonzero(numbers < 0)
        own, used = trailing_numbers(rows.paths[new]), numbers[numbers >= 0]
        claimed, first, many = np.unique(own, return_index=True, return_counts=True)
        takes = np.zeros(len(new), bool)
        takes[first[many == 1]] = True
        takes[self._owners(class_id, rows.paths[new], own, claimed[many > 1])] = True
        takes &= (own >= 0) & ~np.isin(own, used)
        numbers[new[takes]] = own[takes]
        if len(rest := new[~takes]):
            rest = rest[order_of(rows.paths[rest])]
            held = np.concatenate([used, claimed, before.numbers[gone]])
            free = np.setdiff1d(np.arange(len(rest) + len(held)), held)
            numbers[rest] = free[: len(rest)]
        good = np.flatnonzero(~rows.special)
        if self.split in LABELLED:
            keys = keys_of(numbers[good], name_parts(self.split, class_id)[1])
        else:
            keys = numbers[good]
        good = good[np.argsort(keys)]
        found = bytes_of(rows.paths[good])
        filled = found > 0
        others = _some(Rows(rows.paths, numbers, rows.special), rows.special)
        return Piece(found[filled], filled.sum(1), numbers[good].astype("<u4"), others)

    def _owners(
        self, class_id: str, paths: np.ndarray, own: np.ndarray, shared: np.ndarray
    ) -> list[int]:
        """Return which images take a number that several have at the end of their names.

        Args:
            class_id: The class; empty for TEST.
            paths: (images,), ``S``.
            own: (images,), ``<i8``: the number at the end of each name.
            shared: The numbers that several have.
        """
        if not len(shared):
            return []
        claims: dict[int, dict[str, int]] = {}
        for i in np.flatnonzero(np.isin(own, shared) & np.char.endswith(paths, b".JPEG")).tolist():
            claims.setdefault(int(own[i]), {})[os.fsdecode(paths[i])] = i
        owners = ((some, owner_of_number(self.split, class_id, some)) for some in claims.values())
        return [some[owner] for some, owner in owners if owner]

    def _join(self, pieces: dict[str, Piece], found: Found) -> tuple[Scan, ImagePaths]:
        """Return all classes in the order of their ids, and what cannot be opened after them."""
        class_ids = sorted(pieces)
        parts = [pieces[one] for one in class_ids]
        others = {one: pieces[one].others for one in class_ids}
        rest = _joined([NONE, *others.values()])
        tail = bytes_of(rest.paths)
        filled = tail > 0
        sizes = [*(part.sizes for part in parts), filled.sum(1)]
        text = np.concatenate([*(part.text for part in parts), tail[filled]])
        names = [one for one, rows in others.items() for _ in rows.numbers]
        paths = ImagePaths(
            text,
            np.cumsum(np.concatenate(sizes)).astype("<i8"),
            np.array(names, str),
            rest.numbers.astype("<u4"),
        )
        visited = sorted(name for name in found if was_folder(found[name].state))
        many = Counter(map(self._folder_of, rest.paths.tolist()))
        scan = Scan(
            np.array(class_ids),
            np.array([len(part.numbers) for part in parts], "<i8"),
            np.concatenate([np.empty(0, "<u4"), *(part.numbers for part in parts)]),
            np.array(visited),
            np.array([many[name] for name in visited], "<i8"),
        )
        return scan, paths

    def _folder_of(self, path: bytes) -> str:
        """Return the folder of what cannot be opened, below the split's folder."""
        folder = os.fsdecode(path).rpartition("./")[0].rstrip("/")
        return folder[len(self.part.folder) :].lstrip("/")

    def _check(self, scan: Scan, paths: ImagePaths, unaddressable: str) -> None:
        """Refuse images that cannot be opened, or warn of them; refuse classes without any."""
        if many := len(paths.numbers):
            shown = [
                f"{os.path.relpath(link, self.part.folder or '.')} "
                f"({why_no_image(f'{self.dataset}/{link}')})"
                for link, *_ in islice(paths.unopened(), SHOWN)
            ]
            refusal = not_addressable(self.source, self.split, shown, many, True)
            if unaddressable == "refuse" and not self.deferred:
                raise refusal
            if unaddressable == "skip":
                logger.warning("%s", refusal)
        empty = scan.class_ids[scan.counts == 0].tolist()
        if len(empty) == len(scan.counts):
            raise no_images(self.split, self.source, [], "addressable images")
        if empty and not (self.keep_empty or self.deferred):
            bare = [(one, ()) for one in empty]
            raise no_images_in(self.split, self.source, bare, "addressable images")


def _some(rows: Rows, which: np.ndarray) -> Rows:
    return Rows(*(array[which] for array in rows))


def _joined(rows: Sequence[Rows]) -> Rows:
    return Rows(*map(np.concatenate, zip(*rows, strict=True)))
