"""Nested: find the class folders of a split that are deeper than expected, and say so.

People unpack archives into folders of the same name (``train/train/cat``), or put a folder between
a split and its classes (``train/images/cat``). Then the folder between them counts as a class.
"""

import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import product

from .addresses import split_folder
from .errors import MetadataError, count, listing
from .layouts import Folders, folders_like_splits, folders_with_images, holds_images, images_in
from .names import alike

DEEPEST = 10  # folders inside each other to look into for the classes of a split
MOST = 10  # folders that a split may be in

CURE = (
    "Correct their names or move their images elsewhere. Or set `classes: union` to number both "
    "splits by the classes of both, or `classes: own` to number each split by its own, as DINOv3's "
    "dump_extra() does, whatever an evaluation makes of it."
)

Level = tuple[Sequence[str], Sequence[str]]
"""The paths of some folders below the dataset, and the names of the folders with images in them."""


def levels(dataset: str, folders: Sequence[str], names: Sequence[str]) -> Iterator[Level]:
    """Yield the folders in which the classes of a split may be instead, one level deeper each time,
    as long as no image is directly in them.

    Args:
        dataset: The dataset's folder.
        folders: The paths of the split's folders below it.
        names: The names of the class folders in them.
    """
    for _ in range(DEEPEST):
        if len(folders) * len(names) > MOST:
            return
        inner = [f"{folder}/{name}" for folder in folders for name in names]
        folders = [folder for folder in inner if os.path.isdir(f"{dataset}/{folder}")]
        if any(holds_images(f"{dataset}/{folder}") for folder in folders):
            return
        some = {one for folder in folders for one in folders_with_images(f"{dataset}/{folder}")}
        names = sorted(some)
        if not names:
            return
        yield folders, names


def deeper(dataset: str, folder: str) -> str:
    """Return the path of the folder with the classes of a split: the given one, or one in it if
    that is the only one."""
    names = [*folders_with_images(f"{dataset}/{folder}")]
    inner = levels(dataset, [folder], names) if len(names) == 1 else ()
    return next((folders[0] for folders, names in inner if len(names) > 1), folder)


def note_nested(split: str, dataset: str, folders: Sequence[str], class_id: str) -> list[str]:
    """Return a note if the only class of a split has no images of its own, but several folders with
    images: these may be the classes.

    Args:
        split: ``TRAIN`` or ``VAL``.
        dataset: The dataset's folder.
        folders: The paths of the split's folders below it.
        class_id: The class.
    """
    for inner, names in levels(dataset, folders, [class_id]):
        if len(names) > 1:
            return [
                f"{split} has only one class, {class_id}, whose images are in "
                f"{count(len(names), 'folder')} in {inner[0]}/ (for instance {names[0]}). If these "
                f"are the classes, set `folders: {{{_setting(split, inner)}}}`."
            ]
    return []


def unknown_classes(
    dataset: str, layout: str, folders: Folders, ids: Sequence[str], class_ids: Sequence[str]
) -> MetadataError:
    """Return the error for classes of VAL that TRAIN lacks, with what the user may have meant.

    Args:
        dataset: The dataset's folder.
        layout: Its layout, see ``layouts``.
        folders: Split -> the paths of its folders below the dataset, for TRAIN and VAL.
        ids: The classes of TRAIN.
        class_ids: The classes of VAL.
    """
    known = {*ids}
    unknown = [class_id for class_id in class_ids if class_id not in known]
    hints = list[str]()
    if len(unknown) == len(class_ids) and layout in ("folder", "imagenet"):
        sides = {"TRAIN": (folders["TRAIN"], ids), "VAL": (folders["VAL"], class_ids)}
        hints = _same_names(dataset, sides)
        if not hints and (flat := _flat(dataset, layout, sides)):
            return flat
        for split, (paths, names) in () if hints else sides.items():
            hints += note_nested(split, dataset, paths, names[0]) if len(names) == 1 else []
    cure = CURE
    if all(alike(class_id, ids) for class_id in unknown):
        cure = "Give them the names that these classes have in TRAIN."
    shown = unknown if hints else (f"{one} ({_nearest(one, ids)})" for one in unknown)
    train = folders["TRAIN"][0] if len(folders["TRAIN"]) == 1 else ""
    return MetadataError(
        f"VAL has {count(len(unknown), 'class', 'classes')} that TRAIN lacks in "
        f"{os.path.join(dataset, train)}, so an evaluation would compare wrong labels:",
        listing(shown, len(unknown)),
        hints or [cure],
    )


def _nearest(class_id: str, ids: Sequence[str]) -> str:
    """Say which class of TRAIN may have been meant by an unknown one."""
    if similar := alike(class_id, ids):
        return f"TRAIN has {' and '.join(similar)}"
    close = get_close_matches(class_id, ids, 1) or get_close_matches(class_id, ids, 1, cutoff=0)
    return f"the most similar one in TRAIN is {close[0]}"


def _same_names(dataset: str, sides: dict[str, Level]) -> list[str]:
    """Return a hint if deeper folders of VAL and TRAIN, or of one of them, have the same names."""
    train, val = ([side, *levels(dataset, *side)] for side in sides.values())
    for one, other in product(train, val):
        common = sorted({*one[1]}.intersection(other[1]))
        if len(common) > (len(one[0]) > 1 or len(other[0]) > 1):
            settings = [
                _setting(split, paths)
                for split, paths in (("TRAIN", one[0]), ("VAL", other[0]))
                if [*paths] != [split_folder(split)]
            ]
            what = count(len(common), "folder of the same name", "folders of the same names")
            return [
                f"But {_shown(one[0])} and {_shown(other[0])} contain {what} "
                f"({'for instance ' if common[1:] else ''}{common[0]}). If these are the classes, "
                f"set `folders: {{{', '.join(settings)}}}`."
            ]
    return []


def _flat(dataset: str, layout: str, sides: dict[str, Level]) -> MetadataError | None:
    """Return the error for a VAL whose images are all in one folder, which is no class of TRAIN."""
    (_, ids), val = sides.values()
    folders, names = [val, *levels(dataset, *val)][-1]
    folder = f"{folders[0]}/{names[0]}"
    images = images_in(f"{dataset}/{folder}")
    similar = get_close_matches(names[0], ids, 1) or alike(names[0], ids)
    if len(ids) < 2 or len(folders) > 1 or len(names) > 1 or similar or not images:
        return None
    test = ""
    if layout == "folder" and not folders_like_splits(dataset)["TEST"]:
        test = (
            f" To use them as images without classes, set `folders: {{TEST: {folder}}}` and "
            "`splits: [TRAIN, TEST]`."
        )
    return MetadataError(
        f"The images of VAL are all in one folder, {dataset}/{folder}: "
        f"{count(len(images), 'image')} (for instance {images[0]}). It has the name of no class of "
        f"TRAIN, so their classes are unknown. Sort them into one folder per class in "
        f"{val[0][0]}/, as in TRAIN, or leave VAL out, for instance `--config "
        f"splits='[TRAIN]'`.{test}"
    )


def _shown(folders: Sequence[str]) -> str:
    return " and ".join(f"{folder}/" for folder in folders)


def _setting(split: str, folders: Sequence[str]) -> str:
    """Return the entry of a split in the setting ``folders``."""
    return f"{split}: {folders[0] if len(folders) == 1 else '[' + ', '.join(folders) + ']'}"
