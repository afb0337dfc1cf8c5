"""Lists: read which classes and images the lists of ``select:`` name.

A list names a class or an image in each line, or is JSON. Nothing here decides what becomes of a
line that names nothing.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from operator import ne
from typing import Any

import numpy as np

from ..addresses import image_path, is_image
from ..artefacts import Scan
from ..errors import SHOWN, MetadataError, count, did_you_mean, listing, logger
from ..names import match_alike
from ..structures import structured_tables
from ..tables import TITLES, Table, columns_of, is_wordnet
from ..texts import TextFile, checked, decode, read_blocks, read_content
from .label_forms import tables_of
from .list_names import Addressed, Named, is_of_another, parts_of, readings

IMAGE_TITLES = TITLES | {
    *("path", "paths", "file", "files", "filename", "filenames", "file_name", "filepath"),
    *("file_path", "image", "images", "image_id", "image_path", "imageid", "img", "img_path"),
    *("relpath", "relative_path"),
}
"""The titles of columns, by which the header of a list of images is recognised."""

JSON_START = re.compile(rb'(\xef\xbb\xbf)?\s*[\[{]\s*(["\[{\]}]|$)')
WORDS = re.compile(r"[\s/\\,;:\"']+")
MANY = 100_000  # entries of a list in JSON that are matched at a time
MOST_COMPARED = 2_000_000  # characters of class ids that are compared with unknown ones


@dataclass
class Matched:
    """Which images of a split a list names.

    Attributes:
        images: (images,), bool: whether each image of the scan is named.
        classes: The class ids that are named, sorted.
        lines: The number of entries; comments, blank lines and a header are none.
        unmatched: The number of entries that match nothing.
        examples: The first ten of these, as ``line 5: 'text'``.
        numbers: (unmatched,), ``<u4``: the line of each of these; of JSON, the number of the entry.
        notes: What a user should know about it, one sentence each.
    """

    images: np.ndarray
    classes: list[str] = field(default_factory=list)
    lines: int = 0
    unmatched: int = 0
    examples: list[str] = field(default_factory=list)
    numbers: np.ndarray = field(default_factory=lambda: np.empty(0, "<u4"))
    notes: list[str] = field(default_factory=list)


def _list_file(path: str, setting: str) -> TextFile:
    name = f"{setting}: {path}"
    return TextFile(path, setting, name, name)


def read_classes(source: str | Sequence[str], known: Collection[str], setting: str) -> list[str]:
    """Return the class ids that a list names, sorted, each once.

    A line of a file is an id, or has one in some column. An id that only looks equal to that of one
    class counts as this class, as it does in a labels file.

    Args:
        source: The file, or the ids themselves.
        known: The class ids of the dataset.
        setting: The setting that names the file, for messages: ``select: classes``.

    Raises:
        MetadataError: The file cannot be read, or names no class, or one that is not known.

    Example:
        >>> read_classes(["n02", "n01", "n02"], {"n01", "n02", "n03"}, "select: classes")
        ['n01', 'n02']
    """
    ids = {*known}
    if isinstance(source, str):
        file = _list_file(source, setting)
        content = read_content(file)
        text = decode(file, content)
        checked(file, content, 1)
        name, table = file.what, _best_column(file, text, ids)
        if not table.rows:
            raise MetadataError(f"{name} has no entries.")
    else:
        rows = [[str(one)] for one in source]
        name, table = setting, Table("json", rows, [*range(1, len(rows) + 1)])
        if not table.rows:
            raise MetadataError(f"{setting}: the list is empty.")
    named = [row[0] for row in table.rows]
    unknown = {one: i for i, one in reversed([*enumerate(named)]) if one not in ids}
    alike = match_alike(unknown, [*{*named}], known) if unknown else {}
    for one, other in alike.items():
        logger.info("%s: %r was taken for %r", name, one, other)
    wrong = sorted(i for one, i in unknown.items() if one not in alike)
    if wrong:
        images = any(is_image(table.rows[i][0]) for i in wrong[:SHOWN])
        nearby = known if sum(map(len, ids)) < MOST_COMPARED // SHOWN else ()
        raise MetadataError(
            f"{name} names {count(len(wrong), 'class', 'classes')} that the dataset does not have:",
            listing((_unknown_class(table, i, nearby) for i in wrong), len(wrong)),
            "Correct or remove them."
            + (" A list of images is set with `select: images`." if images else ""),
        )
    return sorted({alike.get(one, one) for one in named})


def _unknown_class(table: Table, row: int, known: Collection[str]) -> str:
    """Return where an unknown class id is, and the known one that is nearest to it."""
    shown = table.rows[row][0][:80]
    if is_image(shown):
        known = ()
    if is_wordnet(shown):  # all look alike to difflib
        known = [one for one in known if is_wordnet(one) and _differing(one, shown) <= 2]
    nearest = did_you_mean(shown, known)
    return f"{table.place(row)}: {shown!r}{'.' if nearest else ''}{nearest}"


def _differing(one: str, other: str) -> int:
    """Return in how many places two texts of the same length differ."""
    return sum(map(ne, one, other))


def _best_column(file: TextFile, text: str, ids: set[str]) -> Table:
    """Return the class ids in a text: a table of one column.

    Of all columns in which the ids may be, it is the one with the most known ids.

    Args:
        file: The file.
        text: Its content.
        ids: The known class ids.

    Raises:
        MetadataError: The text is JSON or Python that cannot be read, or has ids in several
            columns.
    """
    lines = _first_columns(text, ids)
    if ids.issuperset(row[0] for row in lines.rows):
        return lines
    structured = _json_scalars(text) or _structured(file, text)
    tables = [lines, *structured]
    if not structured:  # an id may be in another column
        with suppress(MetadataError):  # about CSV, which it need not be
            tables += tables_of(text, file.place)
    columns = [*columns_of(tables, ids)]
    best = min(columns, key=lambda one: _ranked(one.cells(), ids), default=None)
    if not best:
        return lines
    cells, table = best.cells(), best.table
    everywhere = {cell for row in table.rows for cell in row}
    if table in structured and not ids.isdisjoint(everywhere.difference(cells)):
        raise MetadataError(
            f"{file.what} has class ids in several places. Write one class id per line."
        )
    return Table(table.form, [[cell] for cell in cells], [table.lines[row] for row in best.rows])


def _ranked(cells: list[str], ids: set[str]) -> tuple[int, int]:
    """Return what is smallest for the column with the most known ids and the fewest others."""
    return -len(ids.intersection(cells)), sum(cell not in ids for cell in cells)


def _first_columns(text: str, ids: set[str]) -> Table:
    """Return the class id in each line: the first of its readings that is known.

    If none is known, it is what is before the first comma, tab or semicolon, or before the first
    blank if no known id has one.
    """
    rows, numbers = [], []
    ending = re.compile(r"[\t,;]" if any(" " in one for one in ids) else r"[\t,;]|:?\s")
    for number, line in enumerate(re.split(r"\r\n|[\r\n]", text), 1):
        known = next((one for one in (line, *_ids(line)) if one in ids), None)
        if known is not None or (line.strip() and not line.lstrip().startswith("#")):
            head = ending.split(line.strip(), maxsplit=1)[0].strip()
            rows.append([head if known is None else known])
            numbers.append(number)
    return Table("lines", rows, numbers)


def _ids(line: str) -> Iterator[str]:
    """Yield what may be the class id in a line, also at the end of a path such as ``train/n01``."""
    for text in readings(line):
        yield text
        yield text.rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def _json_scalars(text: str) -> list[Table]:
    """Return the table of a list of texts and numbers in JSON; no table if it is something else."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, list) and found and all(type(one) in (str, int) for one in found):
            numbers = [*range(1, len(found) + 1)]
            return [Table("json", [[str(one)] for one in found], numbers)]
    return []


def _structured(file: TextFile, text: str) -> list[Table]:
    """Return the tables in JSON, Python or YAML.

    Raises:
        MetadataError: The text is JSON or Python that cannot be read.
    """
    if re.fullmatch(r"\s*(\[\s*\]|\{\s*\})\s*", text):
        raise MetadataError(f"{file.what} has no entries.")
    try:
        return structured_tables(text, file.place)
    except MetadataError as error:
        raise MetadataError(str(error.args[0])) from None


def match_images(
    path: str,
    scan: Scan,
    split: str,
    *,
    setting: str,
    own: bool,
    paths: Sequence[str] | None = None,
    classes: bool = False,
) -> Matched:
    """Find the images of a split that a list names.

    A line is a path that ends as that of an image does, or is the name of an image alone; further
    columns are ignored.

    Args:
        path: The list.
        scan: The images of the split.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        setting: The setting that names the list, for messages: ``select: images``.
        own: Whether the list is for this split alone. Otherwise, a line that clearly belongs to
            another split is passed over.
        paths: The path of each image below the dataset, if it is not the one that DINOv3 opens.
        classes: Whether a line may also name a class.

    Raises:
        MetadataError: The list cannot be read or has no entries, or a name in it may be that of
            several images.
    """
    file = _list_file(path, setting)
    images = Addressed(scan, split, own) if paths is None else Named(scan, split, own, paths)
    known = {*scan.class_ids.tolist()} - {""} if classes else set()
    starts = {WORDS.split(class_id, maxsplit=1)[0] for class_id in known}
    matched = Matched(np.zeros(len(scan.actual_index), bool))
    numbers, named = array("I"), set()
    hits, far, example = 0, 0, ""
    for unit, first, block in _entries(file):
        found = images.find(block)
        lines = block.split(b"\n")[:-1]
        if found.unclear:
            line, *which = found.unclear
            one, other = (_path_of(image, scan, split, paths) for image in which)
            raise MetadataError(
                f"{file.place}, {unit} {first + line}: {_shown(lines[line])} may be {one} or "
                f"{other}. Write the folder before the name."
            )
        matched.images[found.image] = True
        hits += len(found.image)
        if len(found.far) and not far:
            line = int(found.far[0])
            example = f"{unit} {first + line}: {_shown(lines[line])}"
        far += len(found.far)
        skipped = 0
        for line in found.unmatched.tolist():
            text = lines[line].decode().strip()
            begins = first == 1 and line == skipped
            if not text or text.startswith("#") or (begins and _is_header(text)):
                skipped += 1
                continue
            class_id, is_other = None, False
            if known and not starts.isdisjoint(WORDS.split(text)):  # it may name a class
                class_id, is_other = _class_in(text, known, split)
            if class_id is not None:
                named.add(class_id)
            elif own or not is_other:
                numbers.append(first + line)
                if len(matched.examples) < SHOWN:
                    matched.examples.append(f"{unit} {first + line}: {_shown(lines[line])}")
        matched.lines += len(lines) - skipped
    if not matched.lines:
        raise MetadataError(f"{file.what} has no entries.")
    matched.classes = sorted(named)
    matched.numbers, matched.unmatched = np.array(numbers, "<u4"), len(numbers)
    again = hits - int(np.count_nonzero(matched.images))
    matched.notes = [*_notes(file.what, again, far, example)]
    return matched


def _notes(name: str, again: int, far: int, example: str) -> Iterator[str]:
    """Yield what a user should know about a list.

    Args:
        name: What to call the list.
        again: How many entries name an image that an earlier one names.
        far: How many paths begin outside of the dataset.
        example: One of these.
    """
    if again:
        yield f"{name} names images again in {count(again, 'entry', 'entries')}."
    if far:
        yield (
            f"{name} has {count(far, 'path')} from elsewhere, matched by the last parts (for "
            f"instance {example})."
        )


def _shown(line: bytes) -> str:
    """Return the start of a line, for a message."""
    return repr(line.decode().strip()[:80])


def _path_of(image: int, scan: Scan, split: str, paths: Sequence[str] | None) -> str:
    """Return the path of an image below the dataset."""
    if paths is not None:
        return paths[image]
    (row,) = scan.class_index(image, image + 1).tolist()
    return image_path(split, str(scan.class_ids[row]), int(scan.actual_index[image]))


def _is_header(text: str) -> bool:
    """Return whether a line has titles of columns."""
    cells = [cell.strip(" \"'").casefold() for cell in re.split(r"[\t,;]", text)]
    return not IMAGE_TITLES.isdisjoint(cells)


def _class_in(text: str, known: Collection[str], split: str) -> tuple[str | None, bool]:
    """Return the class of a split that a line names, and whether it names one of another split."""
    is_other = False
    for one in readings(text):
        if one in known:
            return one, False
        parts = parts_of(one)
        if parts and parts[-1] in known:
            if not is_of_another((*parts, ""), split):
                return parts[-1], False
            is_other = True
    return None, is_other


def _entries(file: TextFile) -> Iterator[tuple[str, int, bytes]]:
    """Yield the entries of a list, some at a time.

    Yields:
        What an entry is called, the number of the first one, and the entries, a line each.

    Raises:
        MetadataError: The list cannot be read.
    """
    for number, block in read_blocks(file):
        if number == 1 and JSON_START.match(block):
            break
        yield "line", number, block
    else:
        return
    entries = iter(enumerate(_json_entries(file), 1))
    while some := [*islice(entries, MANY)]:
        yield "entry", some[0][0], b"".join(line for _, line in some)


def _json_entries(file: TextFile) -> list[bytes]:
    """Return the paths in a list in JSON, each with a line feed.

    Raises:
        MetadataError: It is not a list of paths, or of lists with the path first.
    """
    try:
        found = json.loads(decode(file, read_content(file)))
        paths = [one[0] if isinstance(one, list) else one for one in found]
        if not isinstance(found, list) or not all(isinstance(one, str) for one in paths):
            raise ValueError("it has something else")
        return [" ".join(one.splitlines()).encode() + b"\n" for one in paths]
    except (ValueError, RecursionError, IndexError, TypeError) as error:
        raise MetadataError(
            f"{file.what} begins like JSON, but is not a list of paths in JSON ({error})."
        ) from None


def chosen_classes(ids: Sequence[str], known: Sequence[str], rules: Mapping[str, Any]) -> list[str]:
    """Return those of some classes that the setting ``select`` takes.

    Args:
        ids: The class ids of a split.
        known: Those of all splits.
        rules: See ``select_images``; only ``classes`` and ``exclude`` matter.
    """
    wanted = {*known}
    if "classes" in rules:
        wanted = {*read_classes(rules["classes"], known, "select: classes")}
    if "exclude" in rules:
        wanted.difference_update(among(known, rules["exclude"]).classes)
    return [one for one in ids if one in wanted]


def among(known: Sequence[str], path: str) -> Matched:
    """Find the classes, of any split, that a list of what to exclude names.

    Args:
        known: The class ids of all splits.
        path: The list.

    Raises:
        MetadataError: See ``match_images``.
    """
    none = np.zeros(len(known), "<i8")
    scan = Scan(np.array(known), none, np.empty(0, "<u4"), np.array([""]), np.zeros(1, "<i8"))
    return match_images(path, scan, "TRAIN", setting="select: exclude", own=True, classes=True)
