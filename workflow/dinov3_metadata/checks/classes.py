"""Classes: compare class numbers, class names and class arrays with the folders and the labels."""

import numpy as np

from ..addresses import MAX_INDEX
from ..errors import SHOWN, count
from ..readings import Naming
from .numbering import Numbering
from .reading import SplitFiles
from .result import Finding, finding, listed
from .rows import Group, Rows

NO_CLASS = (MAX_INDEX, -1)  # the class_index of TEST; -1 is the same in another type


def check_numbers(
    split: str, rows: Rows, numbering: Numbering, numbers: dict[str, dict[str, int]]
) -> list[Finding]:
    """Compare the class numbers of a split with the folders, with TRAIN, and with one another.

    Args:
        split: ``TRAIN`` or ``VAL``.
        rows: The entries.
        numbering: The numbering that is right.
        numbers: Split -> class id -> class_index.
    """
    position = {class_id: i for i, class_id in enumerate(numbering.classes)}
    train = numbers.get("TRAIN", {}) if split == "VAL" else {}
    between, wrong = [], []
    for class_id, number in numbers[split].items():
        due = position.get(class_id)
        if class_id in train and number != train[class_id]:
            between.append(f"{class_id}: {number} here, {train[class_id]} in TRAIN")
        elif due is None and split == "VAL" and class_id in numbering.lacking:
            between.append(f"{class_id}: {number} here, but TRAIN has no such class")
        elif due is None:
            wrong.append(f"{class_id}: {number}, but it is not among {numbering.source}")
        elif number != due and split == "VAL" and class_id not in train and numbering.of_train:
            between.append(f"{class_id}: {number} here, {due} in TRAIN by {numbering.source}")
        elif number != due:
            wrong.append(f"{class_id}: {number}, but {due} by {numbering.source}")
    found = listed("class-numbers", wrong) + listed("between-splits", between)
    return found + _mixed(rows, numbers[split])


def _mixed(rows: Rows, numbers: dict[str, int]) -> list[Finding]:
    odd = [
        i
        for i, group in enumerate(rows.groups)
        if group.class_index not in (None, numbers.get(group.class_id))
    ]
    total = sum(rows.groups[i].rows for i in odd)
    if not total:
        return []
    at = np.flatnonzero(np.isin(rows.group, odd))[:SHOWN].tolist()
    shown = ((row, rows.groups[rows.group[row]]) for row in at)
    sentences = (
        f"row {row}: {group.class_id} with number {group.class_index}, but the class has "
        f"{numbers[group.class_id]}"
        for row, group in shown
    )
    return [finding("mixed-numbers", total, sentences)]


def check_names(rows: Rows, labels: Naming | None, width: int) -> tuple[list[Finding], str]:
    """Compare the class names in the entries with the labels file.

    Args:
        rows: The entries.
        labels: The names of the classes; None if there is no labels file.
        width: How many code points the column with the names has.

    Returns:
        What is wrong, and a note of what the names were compared with.
    """
    named = {
        (group.class_id, group.class_name): group
        for group in rows.groups
        if group.class_name is not None
    }
    if labels is None:
        same = all(class_id == name for class_id, name in named)
        return [], "" if same else "class names not checked: there is no labels file"
    known = labels.names
    owners = {name: class_id for class_id, name in known.items()}
    wrong: dict[str, list[str]] = {}
    for (class_id, name), group in named.items():
        due = known.get(class_id)
        if due == name:
            continue
        kind, why = _what_name(name or "", due, owners, width)
        where = f"row {group.first} and the like" if group.rows > 1 else f"row {group.first}"
        wrong.setdefault(kind, []).append(f"{class_id}: {name!r}{why}, in {where}")
    source = labels.source or "the names of the class folders"
    return [found for kind, some in sorted(wrong.items()) for found in listed(kind, some)], (
        f"class names compared with {source}"
    )


def _what_name(name: str, due: str | None, owners: dict[str, str], width: int) -> tuple[str, str]:
    """Return which kind of wrong name this is, and the rest of a sentence about it."""
    if due is None:
        return "name-unknown", ""
    expected = f", but {due!r} is expected"
    begins = due.startswith(name)
    if name in owners and not (begins and len(name) == width):
        return "name-swapped", f"{expected}: this is the name of {owners[name]}"
    return ("name-cut" if begins else "name-stale"), expected


def check_arrays(
    files: SplitFiles, numbering: Numbering, numbers: dict[str, int], labels: Naming | None
) -> list[Finding]:
    """Compare the class arrays of a split with its entries and the numbering.

    Args:
        files: The files of the split.
        numbering: The numbering that is right.
        numbers: Class id -> the class_index that most of its rows have.
        labels: The names of the classes; None if there is no labels file.
    """
    ids, names = files.class_ids, files.class_names
    if ids is None and names is None:
        return []
    largest: dict[int, Group] = {}
    for group in files.rows.groups if files.rows else []:
        index = group.class_index
        if index is None or numbers.get(group.class_id) != index:
            continue
        if index not in largest or group.rows > largest[index].rows:
            largest[index] = group
    wrong = []
    needed = max(largest, default=-1) + 1
    for what, array in (("class-ids", ids), ("class-names", names)):
        if array is not None and len(array) < needed:
            wrong.append(
                f"{what} has {count(len(array), 'class', 'classes')}, but the entries have numbers "
                f"up to {needed - 1:,}"
            )
    if ids is not None and names is not None and len(ids) != len(names):
        wrong.append(f"class-ids has {len(ids):,} rows, class-names has {len(names):,}")
    wrong += _wrong_ids(ids or [], largest, numbering)
    wrong += _wrong_names(names or [], ids or [], largest, labels)
    return listed("class-arrays", wrong)


def _wrong_ids(ids: list[str], largest: dict[int, Group], numbering: Numbering) -> list[str]:
    wrong = []
    for i, class_id in enumerate(ids):
        due = numbering.classes[i] if i < len(numbering.classes) else None
        if i in largest:
            if class_id != largest[i].class_id:
                due = largest[i].class_id
                wrong.append(f"class-ids: {class_id!r} at {i}, but the entries have {due!r}")
        elif due is None:
            wrong.append(f"class-ids: {class_id!r} at {i}, beyond {numbering.source}")
        elif class_id != due:
            wrong.append(
                f"class-ids: {class_id!r} at {i}, where no image is; {due!r} is there by "
                f"{numbering.source}"
            )
    return wrong


def _wrong_names(
    names: list[str], ids: list[str], largest: dict[int, Group], labels: Naming | None
) -> list[str]:
    wrong = []
    for i, name in enumerate(names):
        due, source = None, "the entries"
        if i in largest:
            due = largest[i].class_name
        elif labels is not None and i < len(ids):
            due, source = labels.names.get(ids[i]), "the labels"
        if due is not None and name != due:
            wrong.append(f"class-names: {name!r} at {i}, but {source} have {due!r}")
    return wrong


def check_test(rows: Rows) -> list[Finding]:
    """Check that the rows of TEST have no class."""
    odd = [
        i
        for i, group in enumerate(rows.groups)
        if group.class_index not in (None, *NO_CLASS) or group.class_id or group.class_name
    ]
    total = sum(rows.groups[i].rows for i in odd)
    if not total:
        return []
    sentences = []
    for row in np.flatnonzero(np.isin(rows.group, odd))[:SHOWN].tolist():
        group = rows.groups[rows.group[row]]
        texts = f", {group.class_id!r}, {group.class_name!r}"
        sentences.append(f"row {row}: class_index {group.class_index}{texts}")
    return [finding("test", total, sentences)]
