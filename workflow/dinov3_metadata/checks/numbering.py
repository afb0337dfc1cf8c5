"""Numbering: find the list of classes whose order gives the class numbers of some files."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..addresses import LABELLED
from .images import Images
from .place import Place
from .reading import SplitFiles


@dataclass(frozen=True)
class Numbering:
    """The numbers that classes should have: their positions in a list.

    Attributes:
        classes: The class ids, in order.
        source: What the list was made from, for messages.
        of_train: Whether TRAIN has classes, whose numbers VAL shares.
        by: The splits whose classes these are.
        lacking: The classes of VAL that TRAIN lacks, if TRAIN has classes.
    """

    classes: list[str]
    source: str
    of_train: bool
    by: tuple[str, ...]
    lacking: tuple[str, ...] = ()

    @property
    def is_union(self) -> bool:
        """Whether these are the classes of both splits together, and more than those of TRAIN."""
        return len(self.by) > 1


def numberings(place: Place, disk: dict[str, Images | None]) -> Iterator[Numbering]:
    """Yield the numberings that are right for a dataset, the usual one first.

    These are the classes of TRAIN, which VAL shares, or those of both splits together; with and
    without folders that have no images.

    Args:
        place: The dataset.
        disk: Split -> its images, for the splits that were listed.

    Raises:
        OSError: A folder cannot be listed.
    """
    classes = {split: place.class_ids(split) for split in LABELLED}
    for with_empty in (True, False):
        if not with_empty:
            for split in LABELLED:
                images = disk.get(split)
                empty = images.empty_classes() if images else None
                if empty is None:
                    empty = [*place.empty_classes(split, classes[split])]
                classes[split] = classes[split].difference(empty)
        train, val = (classes[split] for split in LABELLED)
        what = "" if with_empty else " with images"
        first = "TRAIN" if train else "VAL"
        lacking = tuple(sorted(val - train)) if train else ()
        source = f"{place.source(first)}{what}"
        yield Numbering(sorted(train or val), source, bool(train), (first,), lacking)
        if lacking:
            source = f"{place.source(*LABELLED)}{what}"
            yield Numbering(sorted(train | val), source, True, LABELLED, lacking)


def numbers_of(counts: dict[str, Counter[int]], numbering: Numbering) -> dict[str, int]:
    """Return the class_index that most rows of each class have; of several, the right one.

    Args:
        counts: Class id -> class_index -> number of rows.
        numbering: The numbering that is right.
    """
    position = {class_id: i for i, class_id in enumerate(numbering.classes)}
    numbers = {}
    for class_id, many in counts.items():
        number, most = many.most_common(1)[0]
        due = position.get(class_id, number)
        numbers[class_id] = due if many[due] == most else number
    return numbers


def best_numbering(
    place: Place,
    disk: dict[str, Images | None],
    files: list[SplitFiles],
    counts: dict[str, dict[str, Counter[int]]],
) -> Numbering:
    """Return the numbering that fits the most classes.

    Args:
        place, disk: See ``numberings``.
        files: The files of each split.
        counts: Split -> class id -> class_index -> number of rows.
    """
    best, least = None, None
    known = [one.about.numbering for one in files if one.about and one.about.numbering]
    joint = bool(known) and all(one.classes == "union" for one in known)
    for numbering in sorted(numberings(place, disk), key=lambda one: one.is_union != joint):
        if numbering.is_union and not _is_listed(numbering, files):
            continue
        position = {class_id: i for i, class_id in enumerate(numbering.classes)}
        numbers = [numbers_of(counts[split], numbering) for split in LABELLED if split in counts]
        wrong = [
            sum(position.get(class_id) != number for class_id, number in some.items())
            for some in numbers
        ]
        if least is None or wrong < least:
            best, least = numbering, wrong
        if not any(wrong):
            break
    assert best is not None
    return best


def numbering_for(place: Place, split: str, best: Numbering) -> Numbering:
    """Return the numbering of a split: the best one, unless all its images have a single class, as
    in a dataset without labels."""
    class_id = place.part(split).class_id
    return Numbering([class_id], f"the class of {split}", False, (split,)) if class_id else best


def _is_listed(numbering: Numbering, files: list[SplitFiles]) -> bool:
    """Return whether all class arrays list all classes of a numbering by both splits.

    If they do not, the numbers may still fit by chance. But then a head that was trained on TRAIN
    has no output for a class that only VAL has.
    """
    for one in files:
        if one.split not in LABELLED:
            continue
        if one.class_ids is not None and not {*numbering.classes} <= {*one.class_ids}:
            return False
        known = one.about.numbering if one.about else None
        if known and one.split == "VAL" and known.classes != "union":
            return False
    return True
