"""Selection: decide which of a split's images count, and say of each other one why it does not.

The dataset is never written to. What is published is what DINOv3 would write for a copy of the
dataset with only the chosen images.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ..artefacts import Scan
from ..choice import Choice, check_left, write_choice
from ..class_ids import known_classes
from ..documents import NONE, Count
from ..errors import SHOWN, MetadataError, count, listing, logger
from ..files import sha256
from ..fingerprint import check_content, of_content, read_record
from ..image_paths import Places
from ..layouts import Folders
from ..paths import StrPath
from ..readdir import behind
from ..selection import Rule
from .lists import Matched, among, match_images, read_classes
from .unfit import Leftover, Unfit, as_scan

MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""The constants of SplitMix64: G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number
Generators" (2014), figure 17."""


def select_images(
    *,
    selected: StrPath,
    selection: StrPath,
    choice: StrPath,
    new_left_out: StrPath,
    scan: StrPath,
    folders: StrPath,
    table: StrPath = "",
    root: str,
    split: str,
    dataset: str,
    layout: str,
    parts: Folders | None,
    source: str,
    unaddressable: str,
    is_last: bool,
    rules: Mapping[str, Any],
    contents: Mapping[str, str],
    beside: Mapping[str, Mapping[str, str]],
    empty_classes: str = "refuse",
) -> None:
    """Apply the lists and the sample of the setting ``select`` to a split.

    Args:
        selected: Where to write the images that are left, see ``artefacts.Scan``.
        selection: Where to write what was left out by which rule, see ``selection.Selection``.
        choice: Where to write which image was left out why, see ``choice.Choice``.
        new_left_out: Where to write each image that was left out, see ``choice.write_choice``.
        scan, folders, table: The split's images, the record of its folders and, if there is a table
            of their paths, that; see ``image_paths.Places``.
        root, split: The folder that DINOv3 uses as root, and the split.
        dataset, layout, parts: The dataset's folder, its layout, and those of its splits, see
            ``layouts.split_folders``.
        source, unaddressable: See ``unfit.Leftover``.
        is_last: Whether no selection by an audit follows.
        rules: The keys of ``select`` in config.yaml that apply to the split -> their values.
        contents: File -> the fingerprint that it must still have.
        beside: Other split -> the same of it, and ``source``; for lists that are for all splits.
        empty_classes: What to do with a class of which no image is left: ``refuse`` or ``keep``.

    Raises:
        DatasetChangedError: A list has changed meanwhile.
        MetadataError: A list cannot be read, or has lines that match nothing; no image is left of
            the split, or of a class; or see ``unfit.Leftover.refuse``.
    """
    own = {"scan": str(scan), "folders": str(folders), "table": str(table), "source": source}
    found = {
        one: Leftover(
            Places.load(one, files["scan"], table=files.get("table", "")),
            read_record(files["folders"]),
            root=root,
            source=files["source"],
            unaddressable=unaddressable,
            empty_classes=empty_classes,
        )
        for one, files in {split: own, **beside}.items()
    }
    unfit, made = found[split], found[split].choice
    _apply(found, split, dataset, rules, known_classes(dataset, layout, parts))
    for path, content in contents.items():
        check_content(path, of_content(path), content)
    if is_last:
        unfit.refuse()
    check_left(made, split, empty_classes)
    made.scan_of_rest(unaddressable).save(selected)
    made.save(choice)
    write_choice(
        made,
        selection,
        new_left_out,
        root=root,
        split=split,
        is_view=unfit.is_view,
        places=unfit.places,
    )


def _apply(
    places: Mapping[str, Leftover],
    split: str,
    dataset: str,
    rules: Mapping[str, Any],
    known: Sequence[str],
) -> None:
    """Apply the rules in their order: classes, exclude, images, and the sample last."""
    unfit, choice, scan = places[split], places[split].choice, places[split].choice.scan

    def matched(rule: str) -> tuple[Matched, set[Unfit]]:
        """Return what a list names, and which of the unfit images."""
        setting, own = f"select: {rule}", rules[f"{rule}_own"]
        one = partial(match_images, rules[rule], setting=setting, classes=rule == "exclude")
        found = one(scan, split, own=own, paths=_paths(unfit, dataset))
        named = set[Unfit]()
        if unfit.images:
            others = one(as_scan(unfit.images), split, own=True, paths=unfit.paths(dataset))
            _pass_over(found, others)
            named = {unfit.images[i] for i in np.flatnonzero(others.images).tolist()}
        if found.unmatched and rule == "exclude":
            _pass_over(found, among(known, rules[rule]))
        for other, beside in places.items():
            if found.unmatched and other != split:
                paths = _paths(beside, dataset)
                _pass_over(found, one(beside.choice.scan, other, own=True, paths=paths))
            if found.unmatched and other != split and beside.images:
                some, paths = as_scan(beside.images), beside.paths(dataset)
                _pass_over(found, one(some, other, own=True, paths=paths))
        if found.unmatched and rules["missing"] == "refuse":
            raise MetadataError(
                f"{setting}: {rules[rule]}: "
                f"{count(found.unmatched, 'line matches', 'lines match')} no image of "
                f"{' or '.join(places)}:",
                listing(found.examples, found.unmatched),
                "Correct the list, or set `select: missing: skip` to pass over such lines.",
            )
        for note in found.notes:
            logger.warning("%s: %s", split, note)
        return found, named

    if "classes" in rules:
        wanted = {*read_classes(rules["classes"], known, "select: classes")}
        file = rules["classes"] if isinstance(rules["classes"], str) else ""
        _take_classes(unfit, wanted, "classes", "its class is not selected", file=file)
    if "exclude" in rules:
        found, named = matched("exclude")
        others = {*scan.class_ids.tolist()}.difference(found.classes)
        _take_classes(unfit, others, "exclude", "excluded", file=rules["exclude"])
        rule = choice.rules[-1]
        many = unfit.leave_out(named, "excluded") + choice.leave_out(found.images, "excluded")
        rule.images = Count(rule.images + many)
        rule.unmatched = Count(found.unmatched)
    if "images" in rules:
        found, named = matched("images")
        _note(unfit, ~found.images, {*unfit.left()} - named, "images", found, file=rules["images"])
    for name in {"fraction", "per_class"} & rules.keys():
        # What has a number is drawn even if it leads to nothing: it may be mended later.
        some = [one for one in unfit.left() if one.number is not None]
        taken = _drawn(choice, as_scan(some), rules["seed"], name, rules[name])
        own, other = np.split(taken, [len(scan.actual_index)])
        gone = [some[i] for i in np.flatnonzero(~other).tolist()]
        _note(unfit, ~own, gone, name, value=f"{rules[name]}, seed {rules['seed']}")


def _pass_over(found: Matched, elsewhere: Matched) -> None:
    """Take from the lines that match nothing those that match something elsewhere."""
    found.numbers = np.intersect1d(found.numbers, elsewhere.numbers)
    found.unmatched = len(found.numbers)
    left = {f" {number}:" for number in found.numbers.tolist()}
    shown = dict.fromkeys([*found.examples, *elsewhere.examples])
    found.examples = [one for one in shown if any(number in one for number in left)][:SHOWN]


def _take_classes(unfit: Leftover, wanted: set[str], rule: str, reason: str, file: str) -> None:
    """Leave out the classes that are not wanted."""
    choice, before = unfit.choice, len(unfit.left())
    unwanted = np.array([one not in wanted for one in choice.scan.class_ids.tolist()], bool)
    gone = Count(int((unwanted & choice.taken).sum()))
    choice.taken &= ~unwanted
    images = choice.leave_out(unwanted[choice.scan.class_index()], reason)
    images = Count(images + unfit.without_classes(before))
    choice.rules.append(_of_file(Rule(rule, images, classes=gone), file))


def _note(
    unfit: Leftover,
    images: np.ndarray,
    others: Iterable[Unfit],
    rule: str,
    found: Matched | None = None,
    file: str = "",
    value: str = "",
) -> None:
    """Leave out some images of the scan and some others, and note the rule."""
    reason = "not in the list" if found else "not in the sample"
    many = Count(unfit.choice.leave_out(images, reason) + unfit.leave_out(others, reason))
    unmatched = Count(found.unmatched) if found else NONE
    unfit.choice.rules.append(_of_file(Rule(rule, many, unmatched=unmatched, value=value), file))


def _of_file(rule: Rule, path: str) -> Rule:
    """Note the list of a rule, if it has one."""
    return replace(rule, file=path, sha256=sha256(path)) if path else rule


def draws(scan: Scan, seed: int) -> np.ndarray:
    """Return a number for each image by which it is drawn: (images,) ``<u8``, evenly spread.

    It depends on the class, the number in the file name and the seed alone, so that the choice of
    an image does not change when others come or go.
    """
    starts = [
        int.from_bytes(hashlib.sha256(f"{seed}/{one}".encode()).digest()[:8], "little")
        for one in scan.class_ids.tolist()
    ]
    mixed = np.repeat(np.array(starts, "<u8"), scan.counts)
    mixed += scan.actual_index.astype("<u8") * np.uint64(MIX[0])
    for shift, factor in ((30, MIX[1]), (27, MIX[2])):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _drawn(choice: Choice, others: Scan, seed: int, rule: str, value: float) -> np.ndarray:
    """Return which images are in the sample, (images + others,) ``bool``.

    Args:
        choice: The choice; of its images, those that are left count.
        others: Images of its classes that are none of its scan.
        seed, rule, value: The seed; and ``fraction`` or ``per_class``, with its value.
    """
    scans = (choice.scan, others)
    drawn = np.concatenate([draws(one, seed) for one in scans])
    if rule == "fraction":
        return drawn < np.uint64(int(value * 2**64)) if value < 1 else np.ones(len(drawn), bool)
    few = np.zeros(len(drawn), bool)
    place = np.searchsorted(choice.scan.class_ids, others.class_ids)
    index = np.concatenate([choice.scan.class_index(), place[others.class_index()]])
    left = np.concatenate([choice.reason == 0, np.ones(len(others.actual_index), bool)])
    at = np.flatnonzero(left)
    order = np.lexsort((drawn[at], index[at]))
    starts = np.searchsorted(index[at][order], np.arange(len(choice.taken)))
    few[at[order[np.arange(len(order)) - starts[index[at][order]] < value]]] = True
    return few


def _paths(images: Leftover, dataset: str) -> list[str] | None:
    """Return the path below the dataset of each image, if DINOv3 does not rebuild it."""
    if not images.is_view:
        return [*images.places] if images.places.tabled else None
    real_path, real = lru_cache(maxsize=None)(os.path.realpath), os.path.realpath(dataset)
    paths = (behind(images.root, link, real_path) for link in images.places)
    return [path.removeprefix(f"{dataset}/").removeprefix(f"{real}/") for path in paths]
