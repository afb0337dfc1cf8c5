"""Annotations: a file that gives each image of a split its class, for layouts without class
folders."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..disk import read_file
from ..errors import MetadataError, count, listing
from ..fingerprint import check_content, digest

WNID = r"n\d{8}"
IMAGES = "images"  # the folder of VAL in Tiny ImageNet


def read_annotations(
    path: str, fingerprint: str, read: Callable[[str], tuple[str, str]]
) -> dict[str, str]:
    """Read the class of each image from an annotations file.

    Args:
        path: The file, with one image per line.
        fingerprint: The fingerprint that the file must still have; empty to accept any.
        read: Returns the image and its class id from a line, see ``layouts.Part``.

    Returns:
        Image -> class id.

    Raises:
        DatasetChangedError: The file no longer has this fingerprint.
        MetadataError: The file cannot be read, a line does not have the expected form, or two lines
            give an image different classes.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise MetadataError(
            f"{path}, the file with the classes of the images, cannot be read: {error.strerror}. "
            "Put it there, or sort the images into one folder per class id, or leave VAL out of "
            "`splits`."
        ) from None
    check_content(path, digest(content), fingerprint)
    text = content.decode("utf-8-sig", "surrogateescape")
    class_of: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line:
            continue
        try:
            image, class_id = read(line)
        except (ValueError, IndexError):
            image = class_id = ""
        if not class_id or class_id.startswith(".") or re.search(r"[/\0]", class_id):
            raise MetadataError(
                f"{path}, line {number}: {line[:80]!r} does not name an image and its class."
            )
        if class_of.setdefault(image, class_id) != class_id:
            raise MetadataError(
                f"{path}, line {number}: an earlier line gives {image} another class. Remove one "
                "of the two."
            )
    return class_of


def key_of(image: str, class_of: Mapping[str, str]) -> str:
    """Return the name that the annotations have for an image, whose suffix may have been changed.

    Example:
        >>> key_of("val_0.jpeg", {"val_0.JPEG": "n01440764"})
        'val_0.JPEG'
    """
    return image if image in class_of else f"{os.path.splitext(image)[0]}.JPEG"


def by_annotation(
    images: Sequence[str],
    class_of: dict[str, str],
    annotations: str,
    source: str,
    ids: Iterable[str] = (),
) -> tuple[dict[str, list[str]], list[str]]:
    """Sort images into classes. Of several copies of an image, take the first one.

    Args:
        images: The paths of the images.
        class_of: What ``read_annotations`` returned.
        annotations: The annotations file, for messages.
        source: The folder that contains the images, for messages.
        ids: Further class ids, which the file may lack.

    Returns:
        Class id -> the paths of its images; and a sentence each if there are copies, and if several
        folders that the images are in have the name of no class.

    Raises:
        MetadataError: Some images are not in the file. Or a user has sorted them into class
            folders, and some are in the folder of another class than the file says.
    """
    strangers = sorted(
        path for path in images if key_of(os.path.basename(path), class_of) not in class_of
    )
    if strangers:
        cure = "Add a row for each, or move them elsewhere."
        if any(os.path.dirname(path) not in (source, f"{source}/{IMAGES}") for path in strangers):
            cure += " If the folders that they are in are their classes, set `layout: folder`."
        raise MetadataError(
            f"{count(len(strangers), 'image')} in {source} with no class in {annotations}:",
            listing(map(os.path.basename, strangers), len(strangers)),
            cure,
        )
    known = {*class_of.values(), *ids}
    classes: dict[str, list[str]] = {}
    torn, taken, others = [], set[str](), set[str]()
    for path in images:
        name = key_of(os.path.basename(path), class_of)
        class_id = class_of[name]
        if name not in taken:
            classes.setdefault(class_id, []).append(path)
        taken.add(name)
        folders = os.path.relpath(path, source).split("/")[:-1]
        other = any(name in known or re.fullmatch(WNID, name) for name in folders)
        if other and class_id not in folders:
            torn.append(f"{os.path.relpath(path, source)} ({class_id})")
        elif folders and not other and folders[0] != IMAGES:
            others.add(folders[0])
    if torn:
        raise MetadataError(
            f"{count(len(torn), 'image')} in {source} in the folder of another class than "
            f"{os.path.basename(annotations)} says (in brackets):",
            listing(sorted(torn), len(torn)),
            f"Move the images, or remove {annotations} if the folders are right. To take the "
            "folders without removing it, set `layout: folder`.",
        )
    notes = []
    if copies := len(images) - len(taken):
        what = count(copies, "image is", "images are")
        notes.append(f"{what} there twice, in two folders, and taken once.")
    if len(others) > 1:
        notes.append(
            f"the classes are those in {os.path.basename(annotations)}, not the {len(others):,} "
            f"folders that the images are in (for instance {min(others)})."
        )
    return classes, notes
