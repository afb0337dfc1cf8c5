"""Selection: what the setting ``select`` left out of a split, for documents and messages.

numpy is not imported, because this module is imported at every start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .addresses import LABELLED
from .documents import NONE, Count
from .errors import count


@dataclass
class Rule:
    """What a rule of the setting ``select`` left out of a split.

    Attributes:
        rule: Its name in config.yaml.
        images: The number of images that it left out, and that no rule before it did.
        classes: The number of classes that it left out.
        value: What was set, if that is not a file.
        file, sha256: The list, and its digest.
        unmatched: The number of lines of the list that match nothing.
    """

    rule: str
    images: Count
    classes: Count = NONE
    value: str = ""
    file: str = ""
    sha256: str = ""
    unmatched: Count = NONE

    def says(self) -> str:
        """Return what the rule left out, as a phrase."""
        set_to = self.value or self.file
        classes = f" and {count(self.classes, 'class', 'classes')}" if self.classes else ""
        lines = count(self.unmatched, "line of it matches", "lines of it match")
        unmatched = f"; {lines} nothing" if self.unmatched else ""
        name = f"select: {self.rule}" + (f" ({set_to})" if set_to else "")
        return f"{count(self.images, 'image')}{classes} left out by {name}{unmatched}"


@dataclass
class Selection:
    """What was left out of a split; see ``stages.selection`` and ``stages.sound``.

    Attributes:
        images, classes: The numbers of images and classes in the split.
        chosen: The number of images that are left.
        rules: The rules, in the order in which they were applied.
        unfit: How many of the images that were left out DINOv3 could not have opened.
    """

    images: Count
    classes: Count
    chosen: Count
    rules: list[Rule]
    unfit: Count = NONE

    def says(self) -> list[str]:
        """Return what was left out, as one phrase for the whole and one for each rule."""
        whole = f"{self.chosen:,} of {count(self.images, 'image')} are selected"
        return [whole, *(rule.says() for rule in self.rules)]


def rules_of(used: Any, split: str) -> dict[str, Any]:
    """Return the keys of ``select`` but ``audit`` that apply to a split -> their values.

    ``images_own`` and ``exclude_own`` say whether the list is for this split alone.

    Args:
        used: The ``settings.Settings``.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
    """
    rules = dict[str, Any]()
    images = used.select_images
    own = isinstance(images, Mapping)
    if isinstance(images, Mapping):
        images = images.get(split, "")
    if used.select_classes and split in LABELLED:
        rules["classes"] = used.select_classes
    if used.select_exclude:
        rules |= {"exclude": used.select_exclude, "exclude_own": False}
    if images:
        rules |= {"images": images, "images_own": own}
    if "exclude" in rules or "images" in rules:
        rules["missing"] = used.select_missing
    share = {"fraction": used.select_fraction, "per_class": used.select_per_class}
    in_part = split == "TRAIN" and used.select_fraction != 1
    share = {name: value for name, value in share.items() if value and in_part}
    return rules | share | ({"seed": used.select_seed} if share else {})


def select_of(used: Any, split: str) -> dict[str, Any]:
    """Return ``rules_of``, and the problems with which images are left out."""
    problems = list(used.select_audit)
    return rules_of(used, split) | ({"audit": problems} if problems else {})
