"""Refusals: what a scan refuses or warns of, and what the user can do."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from ..addresses import LABELLED
from ..errors import SHOWN, MetadataError, count, listing, logger
from ..fingerprint import Others
from ..layouts import (
    LAYOUTS,
    SOLUTION,
    SYSTEM,
    class_folders_of,
    folders_like_splits,
    has_images,
    top_of_kaggle,
)
from ..names import check_utf8
from ..paths import StrPath
from ..walk import Found
from .left_out import images_in, why_empty

UNCHANGED = "  all of them in folders that have not changed since the last scan"


def missing_split(dataset: str, path: str, split: str, layout: str) -> MetadataError:
    """Return the error for a split whose folder does not exist.

    Args:
        dataset: The dataset's folder.
        path: The path of the missing folder below it.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        layout: The layout of the dataset.
    """
    folder = os.path.join(dataset, path)
    what = "is not a folder" if os.path.lexists(folder) else "does not exist"
    known = (
        f"`root` must be the folder that contains {path}/."
        if layout == "imagenet"
        else f"The layout {layout} is: {LAYOUTS[layout].explain()}."
    )
    hint = ""
    if split == "VAL":  # many datasets have two splits, and call the second one test
        for name in folders_like_splits(dataset)["TEST"]:
            if any(map(has_images, class_folders_of(f"{dataset}/{name}"))):
                hint = f" To take {name}/ for it, set `folders: {{VAL: {name}}}`."
    return MetadataError(
        f"The {split} split folder {folder} {what}. {known}{hint} If you do not need this split, "
        "leave it out of `splits`, for instance `--config splits='[TRAIN]'`."
    )


def flat_split(split: str, folder: str) -> MetadataError:
    """Return the error for a split folder that should have class folders, but has images."""
    images = images_in(folder)
    top, hint = top_of_kaggle(os.path.dirname(folder)), "Sort"
    if top and os.path.isfile(f"{top}/{SOLUTION}"):
        hint = f"{top} contains {SOLUTION}, which has their classes: use it as `root`. Or sort"
    other = "VAL" if split == "TRAIN" else "TRAIN"
    return MetadataError(
        f"The {split} split folder {folder} is flat: {count(len(images), 'image')} (for instance "
        f"{images[0]}) and no class folders. {hint} the images into one folder per class id, or "
        f"leave this split out, for instance `--config splits='[{other}]'`."
    )


def no_images_in(
    split: str, folder: str, classes: Sequence[tuple[str, Iterable[Others]]], what: str = "images"
) -> MetadataError:
    """Return the error for class folders without images.

    Args:
        split: ``TRAIN`` or ``VAL``.
        folder: The folder that contains them.
        classes: Their names, each with what was left out of the folder and those below it.
        what: What they lack.
    """
    shown = (
        f"{name}{f' ({SYSTEM[name.lower()]})' if name.lower() in SYSTEM else why_empty(others)}"
        for name, others in classes
    )
    hint = " A hidden folder (.ipynb_checkpoints) is also a class."
    return MetadataError(
        f"{split}: {count(len(classes), 'class folder')} in {folder} with no {what}:",
        listing(shown, len(classes)),
        "Add images or remove them, or move them out of the split. To number them anyway, set "
        f"`empty_classes: keep`.{hint if any(name[0] == '.' for name, _ in classes) else ''}",
    )


@contextmanager
def naming_the_dataset(folder: StrPath, source: str) -> Iterator[None]:
    """Replace the paths of a view in a MetadataError of the block by those in the dataset.

    Args:
        folder: The split folder of the view.
        source: The folder of the dataset; empty if there is no view.
    """
    try:
        yield
    except MetadataError as error:
        if source:
            lines = list(map(str, error.args))
            for name in sorted(os.listdir(folder), reverse=True) if os.path.isdir(folder) else []:
                path = os.path.join(folder, name)
                if os.path.islink(path):
                    lines = [line.replace(path, os.readlink(path)) for line in lines]
            error.args = tuple(line.replace(os.fspath(folder), source) for line in lines)
        raise


def behind(folder: StrPath, name: str, source: str) -> str:
    """Return where the dataset has a folder of a view, as its path below ``source`` if it is there.

    Args:
        folder: The split folder of the view.
        name: The path of a folder below it.
        source: The folder of the dataset; empty if there is no view.
    """
    first, slash, rest = name.partition("/")
    path = os.path.join(folder, first)
    if not source or not os.path.islink(path):
        return name
    target = os.readlink(path)
    return f"{target.removeprefix(f'{source}/')}{slash}{rest}"


def check_found(
    folder: Path,
    split: str,
    found: Found,
    classes: list[str],
    *,
    unaddressable: str,
    empty_classes: str,
) -> None:
    """Warn of images that are left out, and refuse what cannot become metadata.

    Args:
        folder, split, found: The split folder, the split, and what was found there.
        classes: The sorted names of its class folders; for TEST, one empty string.
        unaddressable, empty_classes: See ``scan.scan_images``.

    Raises:
        MetadataError: There are no images, a class has none or a name that is not UTF-8, or some
            images are not addressable.
    """
    strays = found[""].offenders if split in LABELLED else []
    if strays and not classes:
        raise flat_split(split, str(folder))
    if not classes:
        raise MetadataError(
            f"The {split} split folder {folder} is empty: it contains no class folders."
        )
    check_utf8(classes, folder)
    if strays:
        logger.warning(
            "Ignored, because they are beside the class folders in %s: %s", folder, strays[0]
        )
    if total := sum(visited.skipped for visited in found.values()):
        folders = (name for name in sorted(found) if name or split not in LABELLED)
        shown = islice((text for name in folders for text in found[name].offenders), SHOWN)
        refusal = _refusal(folder, split, list(shown), total)
        if unaddressable == "refuse":
            raise refusal
        logger.warning("%s", refusal)
    empty = [name for name in classes if not len(found[name].actual_index)]
    what = "addressable images" if total else "images"
    nothing = len(empty) == len(classes) and empty_classes == "keep"
    if (empty and split not in LABELLED) or nothing:
        reason = why_empty(one.others for one in found.values())
        raise MetadataError(
            f"The {split} split folder {folder} contains no {what}{reason}. Add them, or remove "
            f"{split} from `splits`."
        )
    if empty and empty_classes == "refuse":
        inside: dict[str, list[Others]] = {name: [] for name in empty}
        for name, visited in found.items():
            if name.partition("/")[0] in inside:
                inside[name.partition("/")[0]].append(visited.others)
        raise no_images_in(split, str(folder), [*inside.items()], what)


def _refusal(folder: Path, split: str, shown: list[str], total: int) -> MetadataError:
    pattern = f"ILSVRC2012_{split.lower()}_<8 digits>"
    if split == "TRAIN":
        pattern = "<class_id>_<number>"
    if split in LABELLED:
        pattern = f"<class_id>/{pattern}"
    return MetadataError(
        f"{split}: DINOv3 cannot address {count(total, 'image')} in {folder}. "
        f"It opens only {pattern}.JPEG:",
        listing(shown, total) if shown else UNCHANGED,
        "Rename, move or remove them. Or set `scan: unaddressable: skip` to leave them out, or "
        "`layout: folder` to make links with good names for all images.",
    )
