"""Result: what ``check`` found out, as dataclasses and as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, NamedTuple

from ..errors import SHOWN, count, listing, printable

MAKE_AGAIN = "Make the files again: {make}"


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        one, many: What is counted, in the singular and in the plural.
        meaning: What it means for training.
        cure: What to do about it. ``{make}`` stands for the command that makes the files again.
    """

    one: str
    many: str
    meaning: str
    cure: str = MAKE_AGAIN


KINDS = {
    "file": Kind(
        "file that is missing or damaged",
        "files that are missing or damaged",
        "DINOv3 cannot read it, or reads garbage. Rows that could not be read were not checked.",
    ),
    "format": Kind(
        "difference in the format",
        "differences in the format",
        "Programs that read the columns by position or by type read other values.",
    ),
    "folder": Kind(
        "split folder that does not exist",
        "split folders that do not exist",
        "No image of this split can be read.",
        "Pass the folder that contains the split folders as root, or remove the files of this "
        "split.",
    ),
    "stale": Kind(
        "folder or file of the dataset that changed since the view or table was made",
        "folders or files of the dataset that changed since the view or table was made",
        "DINOv3 reads the dataset through the view or the table of paths, which does not show the "
        "change: new images are never read, and classes may have old numbers.",
    ),
    "selection": Kind(
        "list or left-out image that changed since the selection was made",
        "lists or left-out images that changed since the selection was made",
        "The files are those of the former list, or lack an image that was repaired.",
    ),
    "held-out": Kind(
        "difference between TRAIN and VAL in what is held out",
        "differences between TRAIN and VAL in what is held out",
        "What training learns may be tested on the same images: the score is too high.",
        "Make both splits in one run: {make}",
    ),
    "missing": Kind(
        "row without an image",
        "rows without an image",
        "Training stops with FileNotFoundError when it first reads such a row, perhaps after "
        "hours.",
    ),
    "unaddressable": Kind(
        "row whose image has another name",
        "rows whose images have other names",
        "DINOv3 rebuilds the name of an image from its number. The image exists, but not under "
        "this name, so training stops with FileNotFoundError.",
        "Rename the images, or leave them out: add `--unaddressable skip`; or link them under "
        "good names: add `--layout folder`. Then make the files again: {make}",
    ),
    "wrong-class": Kind(
        "row with another class than its image",
        "rows with other classes than their images",
        "The image was moved, or the row has a wrong label. DINOv3 looks in the folder of the "
        "row's class and does not find the image.",
    ),
    "duplicate": Kind(
        "row that repeats an earlier one",
        "rows that repeat earlier ones",
        "The image is used more often than the others, and the length of the split is wrong.",
    ),
    "no-row": Kind(
        "image without a row",
        "images without a row",
        "Training never sees these images, and nothing says so.",
    ),
    "left-out": Kind(
        "image without a row that DINOv3 cannot address",
        "images without a row that DINOv3 cannot address",
        "Training never sees these images: DINOv3 rebuilds the name of an image from its number, "
        "and never gets these names.",
        "Rename the images, remove them, leave them out: add `--unaddressable skip`; or link them "
        "under good names: add `--layout folder`. Then make the files again: {make}",
    ),
    "order": Kind(
        "row that should be before the previous one",
        "rows that should be before the previous ones",
        "The order is not that of ImageFolder, for instance because os.listdir gave it. Anything "
        "that was stored by row number, such as features or subsets, belongs to other images.",
    ),
    "class-numbers": Kind(
        "class with a wrong number",
        "classes with wrong numbers",
        "A number must be the position of the class among the sorted class folders, as in "
        "ImageFolder. Otherwise a head that was trained with other metadata names other classes.",
    ),
    "between-splits": Kind(
        "class with another number than in TRAIN, or none there",
        "classes with other numbers than in TRAIN, or none there",
        "k-NN, linear and log-regression evaluation compare the numbers of VAL with those of "
        "TRAIN, so these classes count as wrong even if they are recognised. A class that TRAIN "
        "lacks is a target that a head trained on TRAIN does not have.",
    ),
    "mixed-numbers": Kind(
        "row with another number than the rest of its class",
        "rows with other numbers than the rest of their classes",
        "The row has the label of another class.",
    ),
    "name-cut": Kind(
        "class name that was cut",
        "class names that were cut",
        "The name is incomplete, as DINOv3's own dump_extra() writes it if labels.txt is not in "
        "the order of the folders. The labels are right.",
    ),
    "name-swapped": Kind(
        "class with the name of another class",
        "classes with the names of other classes",
        "Everything that shows names, or trains from them, takes one class for another.",
    ),
    "name-stale": Kind(
        "class name that differs from the labels file",
        "class names that differ from the labels file",
        "The labels file was edited after the metadata was made, or is another one.",
    ),
    "name-unknown": Kind(
        "class that is not in the labels file",
        "classes that are not in the labels file",
        "The name cannot be checked: the labels file has no row for this class.",
        "Add a row for each, or name another labels file: `--labels <FILE>`.",
    ),
    "class-arrays": Kind(
        "difference in the class arrays",
        "differences in the class arrays",
        "find_class_id and find_class_name return another class than that of the images, and "
        "evaluation takes the number of classes from these arrays.",
    ),
    "test": Kind(
        "row of TEST with a class",
        "rows of TEST with a class",
        "TEST has no labels: class_index must be 4294967295 and the texts empty. DINOv3 ignores "
        "them, but other programs take the number for a label.",
    ),
    "description": Kind(
        "difference in metadata-SPLIT.json",
        "differences in metadata-SPLIT.json",
        "ImageNetMetadata does not open the files, and the launcher may take a wrong length.",
    ),
}
"""Name of a kind of finding -> what it means and what to do."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with the files of a split.

    Attributes:
        kind: A key of ``KINDS``.
        total: How many there are.
        first: The first ten of them, one sentence each.
        meaning: What it means for training.
        cure: What to do about it.
    """

    kind: str
    total: int
    first: list[str]
    meaning: str
    cure: str


@dataclass(frozen=True)
class SplitCheck:
    """What was found out about a split.

    Attributes:
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        rows: The number of rows in the entries; 0 if they could not be read.
        classes: The number of classes that have rows.
        findings: What is wrong.
        notes: What else to know, one phrase each; nothing in it is wrong.
    """

    split: str
    rows: int
    classes: int
    findings: list[Finding]
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Whether the files are right."""
        return not self.findings

    def __str__(self) -> str:
        parts = [count(self.rows, "row")]
        if self.classes:
            parts.append(count(self.classes, "class", "classes"))
        said = f"{self.split}: {'right' if self.ok else 'wrong'}: {', '.join(parts)}"
        lines = ["; ".join([said, *self.notes])]
        for finding in self.findings:
            kind = KINDS[finding.kind]
            lines += [
                f"  {count(finding.total, kind.one, kind.many)} ({finding.kind}):",
                *(f"  {line}" for line in listing(finding.first, finding.total)),
                f"    What it means: {finding.meaning}",
                f"    What to do: {finding.cure}",
            ]
        return "\n".join(map(printable, lines))


@dataclass(frozen=True)
class CheckResult:
    """What ``check`` found out.

    Attributes:
        root: The folder of the dataset.
        extra: The folder with the metadata files.
        splits: What was found out about each split that has files.
    """

    root: str
    extra: str
    splits: list[SplitCheck]

    @property
    def ok(self) -> bool:
        """Whether the files of all splits are right."""
        return all(split.ok for split in self.splits)

    def __str__(self) -> str:
        return "\n".join(map(str, self.splits))

    def document(self) -> dict[str, Any]:
        """Return the result as JSON has it."""
        splits = [{"ok": split.ok, **asdict(split)} for split in self.splits]
        return {"ok": self.ok, "root": self.root, "extra": self.extra, "splits": splits}


def finding(kind: str, total: int, first: Iterable[str]) -> Finding:
    """Return a finding.

    Args:
        kind: A key of ``KINDS``.
        total: How many there are.
        first: Sentences about them. Only the first ten are taken.
    """
    known = KINDS[kind]
    return Finding(kind, total, list(islice(first, SHOWN)), known.meaning, known.cure)


def listed(kind: str, sentences: list[str]) -> list[Finding]:
    """Return the finding with all of some sentences; nothing if there are none."""
    return [finding(kind, len(sentences), sentences)] if sentences else []
