"""Check: say whether metadata files are right for a dataset now, whoever made them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from ..access import check_readable, refused
from ..addresses import LABELLED, SPLITS, split_folder
from ..errors import MetadataError, count
from ..formats import differently_held_out, read_description
from ..log import NO_MEMORY
from ..look import finds, finds_folder
from ..loop import known_settings, make_command
from ..paths import (
    StrPath,
    absolute,
    file_name,
    folder_of,
    path_of,
    published_paths,
    work_folder,
)
from ..preflight import check_root, find_labels, is_same
from ..published import patiently
from ..readings import Naming
from ..since import repaired
from ..stages.labels import read_labels
from ..tables import rows_for
from .classes import check_arrays, check_names, check_numbers, check_test
from .compare import compare_rows
from .images import Images, list_images
from .left_out import changed_lists, place_of_chosen, without_left_out
from .numbering import Numbering, best_numbering, numbering_for, numbers_of
from .place import Place, check_view, place_of, place_of_split
from .reading import SplitFiles, read_split
from .result import CheckResult, Finding, SplitCheck, finding, listed
from .tabled import check_table, images_of_table


def check(
    root: StrPath,
    extra: StrPath,
    splits: Sequence[str] | None = None,
    labels: StrPath = "auto",
) -> CheckResult:
    """Check whether metadata files are right for a dataset, whoever made them. Nothing is written.

    Formats, every row against the disk, every image against the rows, the order, class numbers
    (within a split, between splits and against the folders), names and class arrays are checked.

    Args:
        root: The folder of the dataset, in DINOv3's layout; or the dataset that a view was made of.
        extra: The folder with the files.
        splits: One or several of ``TRAIN``, ``VAL``, ``TEST``; by default those with files.
        labels: Where the class names come from, as in ``dump_extra``.

    Returns:
        What was found out. Its ``ok`` is true if all is right.

    Raises:
        MetadataError: Nothing could be checked: there are no files or no splits, or the labels
            file cannot be read.

    Example:
        >>> result = check("/data/imagenet", "/data/extra")
        >>> result.ok, [finding.kind for finding in result.splits[0].findings]
        (False, ['missing', 'order'])
    """
    return judge(root, extra, splits, labels).result


@dataclass(frozen=True)
class Judged:
    """The result of a check, and what it was found out from.

    Attributes:
        result: The result.
        files: The content of the files, one for each split.
        labels: The class names of each split; None if there is no labels file.
        place: Where the dataset is.
        numbering: The numbering of the classes that fits best.
    """

    result: CheckResult
    files: list[SplitFiles]
    labels: list[Naming | None]
    place: Place
    numbering: Numbering


def judge(root: StrPath, extra: StrPath, splits: Sequence[str] | None, labels: StrPath) -> Judged:
    """Do the same as ``check``, but return what the result was found out from, too."""
    dataset, extra = map(absolute, (root, extra))
    try:
        check_readable([dataset, extra])
        splits = _splits_of(extra, splits)
        rooms = [work_folder(extra), folder_of(extra, "receipt")]
        check_readable([*published_paths(extra, *splits), *rooms])
        return _judge(dataset, extra, splits, os.fspath(labels))
    except OSError as error:
        raise refused(error, reads=True) from error
    except MemoryError:
        raise MetadataError(NO_MEMORY) from None


def _judge(dataset: str, extra: str, splits: list[str], labels: str) -> Judged:
    if not finds_folder(dataset):
        raise MetadataError(f"There is no dataset to check against: {dataset} is not a folder.")
    place = place_of(dataset, extra)
    if not (place.is_view or place.tabled):
        check_root(dataset)
    threads = os.cpu_count() or 1
    made = {split: place_of_split(place, read_description(extra, split)) for split in splits}
    disk = {split: _list(made[split], extra, split, threads) for split in splits}
    read = partial(_read_all, extra, disk)
    for split in splits:  # whichever is replaced meanwhile, all are read again
        read = partial(patiently, extra, split, read)
    files = read()
    place = place_of_chosen(place, files)
    for one in files:
        images = disk[one.split]
        if one.about and one.about.selection and images:
            disk[one.split] = without_left_out(images, extra, one.about, place)
            one.notes += one.about.selection.says()
            changed = [*changed_lists(one.about), *repaired(extra, one.split)]
            one.findings += listed("selection", changed)
    overlap = [*filter(None, [differently_held_out(extra)])]
    for one in files:
        one.findings += listed("held-out", overlap if one.split == "VAL" else [])
    counts = {
        one.split: one.rows.by_class()
        for one in files
        if one.rows is not None and one.split in LABELLED
    }
    numbering = best_numbering(place, disk, files, counts)
    numbers = {split: numbers_of(some, numbering) for split, some in counts.items()}
    known = [_labels_of(place.dataset, one, labels) for one in files]
    found: dict[str, list[Finding]] = {}
    for one, names in zip(files, known, strict=True):
        own, at = numbering_for(place, one.split, numbering), made[one.split]
        found[one.split] = [
            *(check_view(at, extra, one) if at.is_view or at.tabled else []),
            *(check_table(extra, one.about) if one.about and one.about.table else []),
            *_check_split(one, disk[one.split], own, numbers, names, at.root),
        ]
    every = [this for some in found.values() for this in some]
    checked = []
    for one in files:
        alike = [split for split in splits if made[split] == made[one.split]]
        again = _make_command(place, extra, alike, labels, every) if found[one.split] else ""
        done = [replace(this, cure=this.cure.format(make=again)) for this in found[one.split]]
        groups = one.rows.groups if one.rows and one.split in LABELLED else []
        classes = len({group.class_id for group in groups})
        rows = len(one.rows) if one.rows is not None else 0
        checked.append(SplitCheck(one.split, rows, classes, done, one.notes))
    result = CheckResult(place.dataset, extra, checked)
    return Judged(result, files, known, place, numbering)


def _list(place: Place, extra: str, split: str, threads: int) -> Images | None:
    """List the images of a split, by the table of their paths if there is one."""
    about = read_description(extra, split) if place.tabled else None
    if about and about.split == split and about.table:
        return images_of_table(place, extra, about)
    return list_images(place.root, split, threads)


def _splits_of(extra: str, splits: Sequence[str] | None) -> list[str]:
    """Return the splits to check: those with files, narrowed to ``splits``.

    Raises:
        MetadataError: There are none.
    """
    splits = [splits] if isinstance(splits, str) else splits or None
    for split in splits or ():
        if split not in SPLITS:
            raise MetadataError(f"split is {split!r}, not one of {', '.join(SPLITS)}.")
    found = [split for split in SPLITS if any(map(os.path.lexists, published_paths(extra, split)))]
    missing = [split for split in splits or () if split not in found]
    if missing or not found:
        name = file_name("entries", split=missing[0] if missing else "SPLIT")
        raise MetadataError(
            f"There is nothing to check: {extra} contains no {name}. Pass the folder with the "
            "metadata files as extra."
        )
    return [split for split in found if splits is None or split in splits]


def _read_all(extra: str, disk: dict[str, Images | None]) -> list[SplitFiles]:
    return [
        read_split(extra, split, len(images.actual_index) if images else 0)
        for split, images in disk.items()
    ]


def _labels_of(dataset: str, files: SplitFiles, labels: str) -> Naming | None:
    """Return the class names of a split; None if it has none, or if there is no labels file.

    With ``auto``, the file from which the metadata says that it was made is taken, if it was made
    for this dataset.
    """
    if files.split not in LABELLED:
        return None
    about = files.about
    if labels == "auto" and about and about.labels:
        same = is_same(about.dataset, dataset)
        if same and about.labels.form == "folders":
            labels = "folders"
        elif same and finds(about.labels.file):
            labels = about.labels.file
    path = find_labels(dataset, labels, own_names=True)
    if not path and labels != "folders":
        return None
    known, groups = read_labels(path), files.rows.groups if files.rows else []
    ids = [*dict.fromkeys([*(group.class_id for group in groups), *(files.class_ids or [])])]
    try:
        return known.naming(ids)
    except MetadataError:
        there = rows_for(known.tables, ids)  # a class without a row is a finding
        if not there:
            raise
        return known.naming(there)


def _check_split(
    files: SplitFiles,
    images: Images | None,
    numbering: Numbering,
    numbers: dict[str, dict[str, int]],
    labels: Naming | None,
    root: str,
) -> list[Finding]:
    """Return everything that is wrong with a split, and add to its notes."""
    found, rows = list(files.findings), files.rows
    if images is None:
        found.append(finding("folder", 1, [os.path.join(root, split_folder(files.split))]))
    elif rows is not None:
        skipped = files.about.skipped if files.about else 0
        found += compare_rows(rows, images, skipped)
        if skipped > images.not_addressable and not images.table:
            name = file_name("metadata", split=files.split)
            there = f"but {images.not_addressable:,} are there"
            found += listed("description", [f"{name} says {skipped:,} images left out, {there}"])
    if files.about and files.about.holdout:
        held = files.about.holdout
        files.notes.append(f"VAL is held out of TRAIN (`holdout: {held.share}`, seed {held.seed})")
    if files.split not in LABELLED:
        return found + (check_test(rows) if rows is not None else [])
    if numbering.classes:
        files.notes.append(f"class numbers compared with {numbering.source}")
        if numbering.is_union and files.split == "VAL":
            many = count(len(numbering.lacking), "class of VAL has", "classes of VAL have")
            files.notes.append(f"{many} no image in TRAIN")
        if rows is not None:
            found += check_numbers(files.split, rows, numbering, numbers)
        found += check_arrays(files, numbering, numbers.get(files.split, {}), labels)
    if rows is not None:
        wrong, note = check_names(rows, labels, files.lengths[1])
        found += wrong
        files.notes += filter(None, [note])
    return found


def _make_command(
    place: Place,
    extra: str,
    splits: list[str],
    labels: str,
    findings: list[Finding],
) -> str:
    """Return the command that makes the files again, with the settings that they were made with.

    Settings that would make the same fault again, or be refused, are replaced.

    Args:
        place: The dataset.
        extra: The folder with the files.
        splits: The splits that were checked.
        labels: The setting for the labels; ``auto`` for the one that they were made with.
        findings: What is wrong with all splits.
    """
    settings = known_settings(place.dataset, extra, splits)
    if labels != "auto":
        settings["labels"] = labels
    elif settings.get("labels") not in (None, "folders") and not os.path.exists(settings["labels"]):
        del settings["labels"]
    if settings.get("view") == f"{extra}/view":
        del settings["view"]
    classes = settings.pop("classes", "train")
    if classes == "own" and any(one.kind == "between-splits" for one in findings):
        classes = "train"
    if classes != "union" and "VAL" in splits and _has_more_in_val(place):
        classes = "union"  # which changes the numbers of TRAIN, too
        there = os.path.lexists(path_of(extra, "entries", split="TRAIN"))
        splits = ["TRAIN", *splits] if there and "TRAIN" not in splits else splits
    if classes in ("own", "union"):
        settings["classes"] = classes
    return make_command(extra, settings, splits)


def _has_more_in_val(place: Place) -> bool:
    """Return whether VAL has classes that TRAIN lacks, so that ``classes: train`` is refused."""
    if any(place.part(split).class_id for split in LABELLED):
        return False
    train, val = map(place.class_ids, LABELLED)
    return bool(train and val - train)
