"""Refusals: what a scan refuses or warns of, and what the user can do."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from ..addresses import LABELLED, SPLITS, split_folder
from ..disk import link_target
from ..errors import SHOWN, MetadataError, count, listing, logger
from ..fingerprint import Others
from ..layouts import (
    LAYOUTS,
    SOLUTION,
    SYSTEM,
    class_folders_of,
    folders_like_splits,
    folders_with_images,
    has_images,
    holds_images,
    images_in,
    may_be,
    top_of_kaggle,
)
from ..look import finds, finds_folder
from ..names import check_utf8
from ..nested import deeper, note_nested
from ..paths import StrPath
from ..walk import Found
from .left_out import why_empty

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
    what = "is not a folder" if finds(folder) else "does not exist"
    if os.path.islink(folder) and not os.path.exists(folder):
        what = f"is a link to {os.readlink(folder)}, which does not exist (is a disk not mounted?)"
    known = (
        f"`root` must be the folder that contains {path}/."
        if layout == "imagenet"
        else f"The layout {layout} is: {LAYOUTS[layout].explain()}."
    )
    other = in_another(dataset, split)
    if path != split_folder(split):  # set by the user
        known, other = f"Correct its path in `folders`, where `{split}` has it.", ""
    return MetadataError(
        f"The {split} split folder {folder} {what}. {known}{other} If you do "
        "not need this split, leave it out of `splits`, for instance `--config splits='[TRAIN]'`."
    )


def no_class_folders(
    dataset: str, layout: str, folders: Mapping[str, Sequence[str]]
) -> MetadataError | None:
    """Return the error for the first split without class folders; None if each has some.

    Args:
        dataset: The dataset's folder.
        layout: The layout of the dataset.
        folders: Split -> the paths of its folders below the dataset.
    """
    for split, paths in folders.items():
        for path in paths:
            folder = os.path.join(dataset, path)
            if not finds_folder(folder):
                return missing_split(dataset, path, split, layout)
            if not class_folders_of(folder):
                return (
                    flat_split(split, folder) if images_in(folder) else empty_split(split, folder)
                )
    return None


def empty_split(split: str, folder: str) -> MetadataError:
    """Return the error for a split folder without class folders and images."""
    files = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    inside = f", but {count(len(files), 'file')} (for instance {min(files)})" if files else ""
    return MetadataError(
        f"The {split} split folder {folder} is empty: it contains no class folders{inside}."
    )


def in_another(dataset: str, split: str) -> str:
    """Return a hint which other folder in a dataset may be a split; empty if there is none."""
    like, own = folders_like_splits(dataset), split_folder(split)
    full = [one for one in folders_with_images(dataset) if one != own]
    nested = [one for one in full if any(map(has_images, class_folders_of(f"{dataset}/{one}")))]
    names = [one for one in full if may_be(one, split)]
    if split == "VAL":  # many datasets have two splits, and call the second one test
        names += [one for one in nested if one in like["TEST"]]
    if not names:
        known = {*map(split_folder, SPLITS), *(name for some in like.values() for name in some)}
        names = [one for one in nested if one not in known and _has_classes(dataset, one)]
    usable = [deeper(dataset, one) for one in names if one.isprintable()]
    if usable:
        shown = " or ".join(f"{name}/" for name in usable[:3])
        return f" If {split} is in {shown}, set `folders: {{{split}: {usable[0]}}}`."
    if names:
        return f" If {split} is in {names[0]}/, whose name is not UTF-8, rename it to {own}/."
    return ""


def _has_classes(dataset: str, folder: str) -> bool:
    """Return whether a folder, or one that is alone in it, has several folders with images, or one
    with images directly in it."""
    path = f"{dataset}/{deeper(dataset, folder)}"
    names = [*islice(folders_with_images(path), 2)]
    return len(names) > 1 or any(holds_images(f"{path}/{name}") for name in names)


def flat_split(split: str, folder: str) -> MetadataError:
    """Return the error for a split folder that should have class folders, but has images."""
    images = images_in(folder)
    top, hint = top_of_kaggle(os.path.dirname(folder)), "Sort"
    if top and os.path.isfile(f"{top}/{SOLUTION}"):
        hint = (
            f"{top} contains {SOLUTION}, which has their classes: use it as `root`, with "
            "`layout: auto`. Or sort"
        )
    other, dataset = "VAL" if split == "TRAIN" else "TRAIN", os.path.dirname(folder)
    others = (one for one in folders_with_images(dataset) if one != os.path.basename(folder))
    like = any(may_be(one, split) for one in others)
    return MetadataError(
        f"The {split} split folder {folder} is flat: {count(len(images), 'image')} (for instance "
        f"{images[0]}) and no class folders. {hint} the images into one folder per class id, or "
        f"leave this split out, for instance `--config splits='[{other}]'`."
        f"{in_another(dataset, split) if like else ''}"
    )


def no_images(
    split: str, folder: str, others: Iterable[Others], what: str = "images", hint: str = ""
) -> MetadataError:
    """Return the error for a split without any images.

    Args:
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        folder: Its folder.
        others: What was left out of it and of the folders below.
        what: What it lacks.
        hint: What the user may have meant instead.
    """
    return MetadataError(
        f"The {split} split folder {folder} contains no {what}{why_empty(others)}. Add them, or "
        f"remove {split} from `splits`.{hint}"
    )


def no_images_in(
    split: str,
    folder: str,
    classes: Sequence[tuple[str, Iterable[Others]]],
    what: str = "images",
    *,
    all_of_them: bool = False,
) -> MetadataError:
    """Return the error for class folders without images.

    Args:
        split: ``TRAIN`` or ``VAL``.
        folder: The folder that contains them.
        classes: Their names, each with what was left out of the folder and those below it.
        what: What they lack.
        all_of_them: Whether these are all class folders of the split.
    """
    system = {name: SYSTEM[name.lower()] for name, _ in classes if name.lower() in SYSTEM}
    shown = (
        f"{name}{f' ({system[name]})' if name in system else why_empty(others)}"
        for name, others in classes
    )
    advice = "Add images or remove them, or move them out of the split."
    if len(system) == len(classes):
        advice = "Remove them. Or set `layout: folder`, which leaves such folders out."
    elif any(name[0] == "." for name, _ in classes):
        advice += " A hidden folder (.ipynb_checkpoints) is also a class."
    elif not all_of_them:
        full = [*islice(folders_with_images(folder), 2)]
        if len(full) == 1:
            advice += (
                f" If {full[0]} is no class, but the folder of the images or of their classes, set "
                f"`folders`, for instance `folders: {{{split}: {os.path.basename(folder)}/"
                f"{full[0]}}}`."
            )
        advice += " To number them anyway, set `empty_classes: keep`."
    beside = images_in(folder)
    if beside and all_of_them:
        advice += (
            f" {count(len(beside), 'image')} (for instance {beside[0]}) beside these folders: sort "
            "them into one folder per class."
        )
    return MetadataError(
        f"{split}: {count(len(classes), 'class folder')} in {folder} with no {what}:",
        listing(shown, len(classes)),
        advice,
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
                    lines = [line.replace(path, link_target(path)) for line in lines]
            error.args = tuple(line.replace(os.fspath(folder), source) for line in lines)
        raise


def check_found(
    folder: Path,
    split: str,
    found: Found,
    classes: list[str],
    *,
    unaddressable: str,
    empty_classes: str,
    in_view: bool = False,
    deferred: bool = False,
) -> None:
    """Warn of images that are left out, and refuse what cannot become metadata.

    Args:
        folder, split, found: The split folder, the split, and what was found there.
        classes: The sorted names of its class folders; for TEST, one empty string.
        unaddressable, empty_classes: See ``scan.scan_images``.
        in_view: Whether DINOv3 reads the split through a view.
        deferred: See ``scan.scan_images``.

    Raises:
        MetadataError: There are no images, a class has none or a name that is not UTF-8, or some
            images are not addressable.
    """
    if not classes and images_in(folder):
        raise flat_split(split, str(folder))
    if not classes:
        raise empty_split(split, str(folder))
    check_utf8(classes, folder)
    if deferred and any(len(found[name].actual_index) for name in classes):
        return
    if total := sum(visited.skipped for visited in found.values()):
        folders = [name for name in sorted(found) if name or split not in LABELLED]
        shown = [*islice((text for name in folders for text in found[name].offenders), SHOWN)]
        special = all(found[name].special for name in folders if found[name].skipped)
        refusal = not_addressable(folder, split, shown, total, special, in_view)
        if len(classes) == 1 and split in LABELLED and not in_view:
            hint = note_nested(split, str(folder.parent), [folder.name], classes[0])
            refusal.args = (*refusal.args[:-1], *hint) if hint else refusal.args
        if unaddressable == "refuse":
            raise refusal
        logger.warning("%s", refusal)
    empty = [name for name in classes if not len(found[name].actual_index)]
    what = "addressable images" if total else "images"
    nothing = len(empty) == len(classes) and empty_classes == "keep"
    if (empty and split not in LABELLED) or nothing:
        raise no_images(split, str(folder), (one.others for one in found.values()), what)
    if empty and empty_classes == "refuse":
        inside = inside_of(empty, {name: visited.others for name, visited in found.items()})
        everything = len(empty) == len(classes)
        raise no_images_in(split, str(folder), inside, what, all_of_them=everything)


def inside_of(
    classes: Sequence[str], others: Mapping[str, Others]
) -> list[tuple[str, list[Others]]]:
    """Return some classes, each with what was left out of its folder and those below it.

    Args:
        classes: Their names.
        others: What was left out of each folder, by its path below the split folder.
    """
    inside: dict[str, list[Others]] = {name: [] for name in classes}
    for name, some in others.items():
        if name.partition("/")[0] in inside:
            inside[name.partition("/")[0]].append(some)
    return [*inside.items()]


def not_addressable(
    folder: StrPath,
    split: str,
    shown: list[str],
    total: int,
    special: bool,
    in_view: bool = False,
) -> MetadataError:
    """Return the error for images that DINOv3 cannot open.

    Args:
        folder, split: The split folder, and the split.
        shown: The first of them, each with the reason.
        total: How many there are.
        special: Whether all of them lead to no file.
        in_view: Whether DINOv3 reads the split through a view, which links its class folders whole.
    """
    if special:
        return MetadataError(
            f"{split}: {count(total, 'image')} in {folder} cannot be opened:",
            listing(shown, total) if shown else UNCHANGED,
            "Repair or remove them. Or set `scan: unaddressable: skip` to leave them out.",
        )
    pattern = f"ILSVRC2012_{split.lower()}_<8 digits>"
    if split == "TRAIN":
        pattern = "<class_id>_<number>"
    if split in LABELLED:
        pattern = f"<class_id>/{pattern}"
    parts = {part for text in shown for part in text.split(" (")[0].split("/")[:-1]}
    system = sorted(part for part in parts if part.lower() in SYSTEM)
    hint = [f"{part} is {SYSTEM[part.lower()]}: remove it." for part in system]
    return MetadataError(
        f"{split}: DINOv3 cannot address {count(total, 'image')} in {folder}. "
        f"It opens only {pattern}.JPEG:",
        listing(shown, total) if shown else UNCHANGED,
        *hint,
        "Rename, move or remove them. Or set `scan: unaddressable: skip` to leave them out, or "
        + (
            "`view: none` to find all images by a table of their paths."
            if in_view
            else "`layout: folder` to make links with good names for all images."
        ),
    )
