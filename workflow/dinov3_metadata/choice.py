"""Choice: the images of a split that are left after some rules, and why the others are not."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import BinaryIO

import numpy as np

from .addresses import LABELLED, image_path
from .artefacts import Scan, check_members
from .disk import open_regular
from .documents import Count, to_json
from .errors import MetadataError, count, listing, logger
from .files import reading_back, write_atomically
from .image_paths import Places, name_image
from .paths import StrPath
from .selection import Rule, Selection


@dataclass
class Choice:
    """The images of a split that are left after some rules.

    Attributes:
        scan: All images of the split.
        reason: (images,) ``u1``: 0 for the images that are left, and otherwise the position in
            ``reasons``, from 1, of the reason why one is not.
        taken: (classes,) ``bool``: the classes that are left.
        reasons: Why images are left out, in words.
        rules: What each rule left out.
        others: The path below root of each image that was left out and that DINOv3 could not open,
            so that it is none of the scan, with the reason.
        unfit: The number of these, and of those in classes that are not taken.
    """

    scan: Scan
    reason: np.ndarray
    taken: np.ndarray
    reasons: list[str] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    unfit: int = 0

    def leave_out(self, images: np.ndarray, reason: str) -> Count:
        """Leave out those of some images that are left, and return how many.

        Args:
            images: (images,) ``bool``.
            reason: Why.
        """
        new = images & (self.reason == 0)
        self.reasons.append(reason)
        self.reason[new] = len(self.reasons)
        return Count(int(new.sum()))

    @classmethod
    def of(cls, scan: Scan) -> Choice:
        """Return a choice of all images of a split."""
        return cls(scan, np.zeros(len(scan.actual_index), "u1"), np.ones(len(scan.class_ids), bool))

    def save(self, path: StrPath) -> None:
        """Write the choice, without its scan, to ``path``, an uncompressed ``.npz``."""
        with write_atomically(path) as file:
            reasons, others = np.array(self.reasons), np.array(self.others, "U").reshape(-1, 2)
            np.savez(
                file,
                reason=self.reason,
                taken=self.taken,
                reasons=reasons,
                others=others,
                unfit=np.array([self.unfit]),
            )

    @classmethod
    def load(cls, path: StrPath, scan: Scan, rules: list[Rule]) -> Choice:
        """Read what ``save`` wrote.

        Raises:
            DamagedError: The file is damaged, or does not fit the scan.
        """
        with reading_back(path), open_regular(path) as file:
            check_members(file)
            with np.load(file, allow_pickle=False) as arrays:
                choice = cls(scan, arrays["reason"], arrays["taken"], arrays["reasons"].tolist())
                choice.others += map(tuple, arrays["others"].tolist())
                (choice.unfit,) = arrays["unfit"].tolist()
            choice.rules += rules
            if (len(choice.reason), len(choice.taken)) != (
                len(scan.actual_index),
                len(scan.class_ids),
            ):
                raise ValueError("it does not fit the scan")
            return choice

    def scan_of_rest(self, unaddressable: str) -> Scan:
        """Return the images that are left, as a scan.

        Args:
            unaddressable: The setting. With ``skip``, images of classes that are taken may have
                been skipped.
        """
        kept = self.reason == 0
        index = self.scan.class_index()[kept]
        counts = np.bincount(index, minlength=len(self.taken))[self.taken].astype("<i8")
        class_ids, folders = self.scan.class_ids[self.taken], self.scan.folders
        taken = {"", *class_ids.tolist()}
        own = np.array([name.partition("/")[0] in taken for name in folders.tolist()], bool)
        skipped = self.scan.skipped * (own & (unaddressable == "skip"))
        return Scan(class_ids, counts, self.scan.actual_index[kept], folders, skipped)


def check_left(choice: Choice, split: str, empty_classes: str) -> None:
    """Check that images are left, of the split and of each class that had some.

    Raises:
        MetadataError: None are.
    """
    index = choice.scan.class_index()[choice.reason == 0]
    left = np.bincount(index, minlength=len(choice.taken))
    most = ", ".join(f"{rule.images:,} by {rule.rule}" for rule in choice.rules if rule.images)
    if not left.any():
        raise MetadataError(
            f"{split}: the selection leaves no image. Left out are {most}. Change `select`, for "
            "instance to a list for each split ({TRAIN: <FILE>}), or leave the split out of "
            "`splits`."
        )
    empty = choice.scan.class_ids[choice.taken & (left == 0) & (choice.scan.counts > 0)].tolist()
    if empty and empty_classes != "keep":
        raise MetadataError(
            f"{split}: the selection leaves {count(len(empty), 'class', 'classes')} without "
            "images:",
            listing(empty, len(empty)),
            "Name the classes to take with `select: classes`, or number them anyway with "
            "`empty_classes: keep`.",
        )


def write_choice(
    choice: Choice,
    selection: StrPath,
    left_out: StrPath,
    *,
    root: str,
    split: str,
    is_view: bool,
    places: Places,
) -> None:
    """Write what was left out by which rule, and each image that was.

    Args:
        choice: The images that are left, and why others are not.
        selection: See ``formats.Selection``.
        left_out: The document for users. For a class that is not selected, it has only the counts.
        root, split, is_view: See ``select_images``.
        places: The paths of all images of the choice.
    """
    scan = choice.scan
    about = Selection(
        images=Count(len(scan.actual_index) + choice.unfit),
        classes=Count(len(scan.class_ids) if split in LABELLED else 0),
        chosen=Count(int((choice.reason == 0).sum())),
        rules=choice.rules,
        unfit=Count(choice.unfit),
    )
    with write_atomically(selection) as file:
        file.write(to_json(about))
    text = json.dumps({"split": split, "root": root, **asdict(about)}, indent=1).encode()
    with write_atomically(left_out) as file:
        file.write(text[: -len(b"\n}")] + b',\n "left_out": [')
        _write_images(choice, file, root, places, is_view)
        file.write(b"\n ]\n}\n")
    for rule in choice.rules:
        logger.info("%s: %d images left out by %s", split, rule.images, rule.rule)


def _write_images(choice: Choice, file: BinaryIO, root: str, places: Places, is_view: bool) -> None:
    """Write a line for each image that is left out, but not for classes that are not selected."""
    index, between = choice.scan.class_index(), "\n  "
    ends = [f', "reason": {json.dumps(reason)}}}' for reason in choice.reasons]
    listed = choice.taken[index] & (choice.reason > 0)
    ends_at = np.cumsum(choice.scan.counts).tolist()
    for class_index, class_id in enumerate(choice.scan.class_ids.tolist()):
        if not choice.taken[class_index]:
            continue
        start, stop = ends_at[class_index] - choice.scan.counts[class_index], ends_at[class_index]
        at = start + np.flatnonzero(listed[start:stop])
        numbers, why = choice.scan.actual_index[at].tolist(), choice.reason[at].tolist()
        if is_view or places.tabled:
            named = (name_image(root, places[i], is_view) for i in at.tolist())
            starts = (json.dumps(one)[:-1] for one in named)
        else:  # there may be a million
            escaped, split = json.dumps(class_id)[1:-1], places.split
            starts = (f'{{"image": "{image_path(split, escaped, number)}"' for number in numbers)
        lines = [start + ends[one - 1] for start, one in zip(starts, why, strict=True)]
        if lines:
            file.write((between + ",\n  ".join(lines)).encode())
            between = ",\n  "
    for path, reason in choice.others:
        line = json.dumps({**name_image(root, path, is_view), "reason": reason})
        file.write((between + line).encode())
        between = ",\n  "
