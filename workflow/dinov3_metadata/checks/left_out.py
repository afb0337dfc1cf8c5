"""Left out: take away from the images on the disk those that the setting ``select`` left out."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ..addresses import LABELLED, index_of
from ..class_ids import known_classes
from ..disk import open_regular
from ..errors import MetadataError
from ..files import sha256
from ..formats import Description
from ..paths import StrPath, path_of
from ..stages.lists import chosen_classes
from .images import NUMBER, Images
from .place import Place
from .reading import SplitFiles


def place_of_chosen(place: Place, files: list[SplitFiles]) -> Place:
    """Return a place that has only the classes that were selected.

    They are found by the lists themselves. Where a list is gone, those of the class arrays count.

    Args:
        place: The dataset.
        files: The files of the splits.
    """
    for one in files:
        about = one.about
        if not about or not about.selection or place.part(one.split).class_id:
            continue
        if one.split in LABELLED and {"classes", "exclude"} & {*about.select}:
            known = known_classes(place.dataset, place.layout, place.folders)
            chosen = one.class_ids or []
            if not changed_lists(about):
                with suppress(MetadataError, LookupError, TypeError):
                    chosen = chosen_classes(known, known, about.select)
            return replace(place, chosen=frozenset(chosen))
    return place


def changed_lists(about: Description) -> list[str]:
    """Return the lists that are gone or have changed since a split was made from them."""
    rules = about.selection.rules if about.selection else []
    return [rule.file for rule in rules if rule.file and _sha256(rule.file) != rule.sha256]


def _sha256(path: str) -> str:
    try:
        return sha256(path) if os.path.isfile(path) else ""
    except OSError:
        return ""


def without_left_out(images: Images, extra: StrPath, about: Description, place: Place) -> Images:
    """Return the images of a split without those that were left out.

    Args:
        images: What is on the disk.
        extra: The folder with the metadata files.
        about: The content of ``metadata-SPLIT.json``.
        place: The dataset, with the classes that were selected.
    """
    keys, chosen = images.keys(), np.ones(len(images.class_ids), bool)
    gone = np.fromiter(_keys(images, path_of(extra, "left_out", split=about.split)), "<i8")
    if place.chosen is not None and about.split in LABELLED:
        chosen = np.array([one in place.chosen for one in images.class_ids], bool)

    def without(some: np.ndarray) -> np.ndarray:
        return some[~np.isin(some, gone) & chosen[some // NUMBER]]

    kept = without(keys)
    return replace(
        images,
        counts=np.bincount(kept // NUMBER, minlength=len(chosen)).astype("<i8"),
        actual_index=(kept % NUMBER).astype("<u4"),
        others=images.others[chosen[images.others // NUMBER]],
        unnumbered=images.unnumbered * chosen,
        dangling=without(images.dangling),
        left_out=0 if images.table else int((gone < 0).sum()),  # a table has only what opens
    )


def _keys(images: Images, path: str) -> Iterator[int]:
    """Yield the keys of the images that a document says were left out, as far as it can be read; -1
    for one that DINOv3 could not open under any number."""
    position = {class_id: i for i, class_id in enumerate(images.class_ids)}
    with suppress(OSError, ValueError, LookupError, TypeError), open_regular(path) as file:
        for line in file:
            if line.startswith(b'  {"image": '):
                image = json.loads(line.rstrip(b",\n"))["image"]
                _, *folder, name = image.split("/")
                class_id = folder[0] if folder else ""
                number = index_of(images.split, class_id, name)
                fits = number is not None and class_id in position
                yield position[class_id] * NUMBER + (number or 0) if fits else -1
