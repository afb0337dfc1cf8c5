"""Table: number the images of a dataset whose layout is not DINOv3's, and note their paths.

The table takes the place of a view where no links are wanted. Each image gets the number that its
link would have, see ``image_numbers``, and keeps it over edits in the same way. No Python object is
made for each image, unless a file lists the classes of the images or VAL is held out of TRAIN.
"""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..addresses import LABELLED, is_image, name_parts
from ..artefacts import Scan
from ..documents import Count
from ..errors import SHOWN, MetadataError, count, logger
from ..fingerprint import Record, State, read_record, was_folder
from ..holdout import Holdout
from ..image_paths import ImagePaths, read_published, read_view
from ..layouts import LAYOUTS, Folders
from ..names import check_length
from ..packed import below, bytes_of, order_of, trailing_numbers
from ..paths import StrPath, existing, path_of
from ..readdir import Listing, keys_of, why_no_image
from ..walk import LOOKS, Folder, Found, Targets, visit
from .refusals import no_images, no_images_in, not_addressable
from .source import Source


class Before(NamedTuple):
    """The last table of a split.

    Attributes:
        scan, paths: The images and their paths.
        swept: Whether it was published, so that the numbers of removed images are free.
        record: The states of its folders; None if they were taken with other settings.
    """

    scan: Scan
    paths: ImagePaths
    swept: bool
    record: Record | None


class Rows(NamedTuple):
    """Images of a class.

    Attributes:
        paths: (images,), ``S``: their paths below the dataset.
        numbers: (images,), ``<i8``.
        special: (images,), ``bool``: whether each is in the dataset, but cannot be opened.
    """

    paths: np.ndarray
    numbers: np.ndarray
    special: np.ndarray


class Piece(NamedTuple):
    """A class.

    Attributes:
        text: (bytes,), ``u1``: the paths of its images in the order of the scan.
        sizes: (images,), ``<i8``: the bytes of each path.
        numbers: (images,), ``<u4``.
        others: The numbers that are held by what cannot be opened, or was removed.
    """

    text: np.ndarray
    sizes: np.ndarray
    numbers: np.ndarray
    others: Rows


NONE = Rows(np.empty(0, "S1"), np.empty(0, "<i8"), np.empty(0, bool))


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
    table.before = last_table(extra, split, settings, published)
    scan, paths, states = table.scan(unaddressable, trust_timestamps, threads)
    return (
        scan,
        paths,
        Record(settings, states, annotations, others=table.others, notes=tuple(table.notes)),
    )


def last_table(extra: StrPath, split: str, settings: str, published: str) -> Before | None:
    """Return the last table of a split: from the work folder or, if that was deleted, the published
    one; or what was published last by a view. None if there is none that can be read."""
    tables = [
        (os.stat(path).st_mtime_ns, path, state)
        for path, state in existing(extra, "table", split=split)
    ]
    in_view = read_view(extra, split, published)
    for time, path, state in sorted(tables, key=lambda one: one[0], reverse=True):
        if in_view and time < os.stat(path_of(extra, "metadata", split=split)).st_mtime_ns:
            break
        try:
            scan = Scan.load(path_of(extra, "scan", **state))
            paths = ImagePaths.load(path, scan)
        except MetadataError:
            continue
        record = read_record(path_of(extra, "folders", **state))
        same = record if record and record.settings == settings else None
        return Before(scan, paths, state["tree"] == published, same)
    found = in_view or read_published(extra, split)
    return Before(*found, True, None) if found else None


def numbers_in(before: Before, dataset: str) -> dict[str, dict[str, int]]:
    """Return class -> path -> number of each image of a table."""
    scan, stop, found = before.scan, 0, {}
    for class_id, many in zip(scan.class_ids.tolist(), scan.counts.tolist(), strict=True):
        start, stop = stop, stop + many
        paths = (f"{dataset}/{before.paths.path(i)}" for i in range(start, stop))
        found[class_id] = dict(zip(paths, scan.actual_index[start:stop].tolist(), strict=True))
    return found


class Table(Source):
    """The table of one split, see ``Source`` for its arguments.

    Attributes:
        before: The last table. Set it before ``scan``.
    """

    before: Before | None = None

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
        self._remember()
        record = self.before.record if self.before else None
        self.others = record.others if record else {}
        class_of, found = self.read_annotations(), self.known(record.folders if record else {})
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

    def _remember(self) -> None:
        """Find the places of the classes in the last table."""
        self._places: dict[str, tuple[int, int]] = {}
        self._held: dict[str, list[int]] = {}
        if not self.before:
            return
        scan, paths = self.before.scan, self.before.paths
        ends = np.cumsum(scan.counts)
        spans = zip((ends - scan.counts).tolist(), ends.tolist(), strict=True)
        self._places = dict(zip(scan.class_ids.tolist(), spans, strict=True))
        self._sizes = np.diff(paths.ends, prepend=0)
        kept = paths.special | (not self.before.swept)
        for i in np.flatnonzero(kept).tolist():
            self._held.setdefault(str(paths.class_ids[i]), []).append(i)

    def _affected(self, folders: dict[str, list[str]], changed: set[str]) -> set[str]:
        """Return the classes whose images must be looked at again."""
        again = {*map(self.part.class_of, changed)}
        lacks = () if self.side.may_lack else folders.keys() - self._places.keys()
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
            elif class_id in self._places:
                pieces[class_id] = self._as_before(class_id)
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
        before = self._rows_before(class_id)
        numbers, gone = np.full(len(rows.paths), -1, "<i8"), np.ones(len(before.paths), bool)
        if len(before.paths):
            _, at, old = np.intersect1d(rows.paths, before.paths, True, return_indices=True)
            numbers[at], gone[old] = before.numbers[old], False
        new = np.flatnonzero(numbers < 0)
        own, used = trailing_numbers(rows.paths[new]), numbers[numbers >= 0]
        claimed, first, many = np.unique(own, return_index=True, return_counts=True)
        alone = (many == 1) & (claimed >= 0)
        if len(used):
            alone &= ~np.isin(claimed, used)
        takes = np.zeros(len(new), bool)
        takes[first[alone]] = True
        numbers[new[takes]] = own[takes]
        if len(rest := new[~takes]):
            rest = rest[order_of(rows.paths[rest])]
            held = np.concatenate([used, claimed, before.numbers[gone]])
            free = np.setdiff1d(np.arange(len(rest) + len(held)), held)
            numbers[rest] = free[: len(rest)]
        if gone.any():  # a new image may take over a number
            gone[gone] = ~np.isin(before.numbers[gone], numbers)
        retired = Rows(before.paths[gone], before.numbers[gone], np.zeros(gone.sum(), bool))
        own_special = Rows(rows.paths, numbers, rows.special)
        others = _joined([_some(own_special, rows.special), retired])
        good = np.flatnonzero(~rows.special)
        if self.split in LABELLED:
            keys = keys_of(numbers[good], name_parts(self.split, class_id)[1])
        else:
            keys = numbers[good]
        good = good[np.argsort(keys)]
        found = bytes_of(rows.paths[good])
        filled = found > 0
        return Piece(found[filled], filled.sum(1), numbers[good].astype("<u4"), others)

    def _others_before(self, class_id: str) -> Rows:
        """Return what held numbers of a class, beside its images, according to the last table."""
        at = self._held.get(class_id, [])
        if not (self.before and at):
            return NONE
        paths, first = self.before.paths, len(self.before.scan.actual_index)
        texts = paths.rows(first + at[0], first + at[-1] + 1)[np.array(at) - at[0]]
        return Rows(texts, paths.numbers[at].astype("<i8"), paths.special[at])

    def _rows_before(self, class_id: str) -> Rows:
        """Return everything that had a number of a class according to the last table."""
        others = self._others_before(class_id)
        if not self.before or class_id not in self._places:
            return others
        start, stop = self._places[class_id]
        numbers = self.before.scan.actual_index[start:stop].astype("<i8")
        images = self.before.paths.rows(start, stop)
        return _joined([Rows(images, numbers, np.zeros(stop - start, bool)), others])

    def _as_before(self, class_id: str) -> Piece:
        """Return a class as it was, without a copy."""
        start, stop = self._places[class_id]
        scan, paths = self.before.scan, self.before.paths  # type: ignore[union-attr]
        first, last = (paths.ends[at - 1] if at else 0 for at in (start, stop))
        numbers, others = scan.actual_index[start:stop], self._others_before(class_id)
        return Piece(paths.text[first:last], self._sizes[start:stop], numbers, others)

    def _join(self, pieces: dict[str, Piece], found: Found) -> tuple[Scan, ImagePaths]:
        """Return all classes in the order of their ids, and what has been removed after them."""
        class_ids = sorted(pieces)
        parts = [pieces[one] for one in class_ids]
        others = {one: pieces[one].others for one in class_ids}
        for one in sorted((self._places.keys() | self._held.keys()).difference(pieces)):
            rows = self._rows_before(one)
            others[one] = rows._replace(special=np.zeros(len(rows.special), bool))
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
            rest.special,
        )
        visited = sorted(name for name in found if was_folder(found[name].state))
        many = Counter(self._folder_of(one) for one in rest.paths[rest.special].tolist())
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
        if many := int(paths.special.sum()):
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
