"""Class ids: which classes a split has, as they determine the numbers of the classes.

This module is imported at every start.
"""

import os
from collections.abc import Callable

from .access import who_lets_read
from .addresses import LABELLED, is_image
from .disk import read_file
from .errors import MetadataError
from .fingerprint import folders_in
from .layouts import Folders, Part, is_class, part_of
from .look import finds_file, finds_folder


def class_ids_of(
    dataset: str, layout: str, split: str, folders: Folders | None = None
) -> list[str]:
    """Return the sorted ids of the classes of a split, those without images included.

    Args:
        dataset: The dataset's folder.
        layout: Its layout, see ``layouts``.
        split: ``TRAIN`` or ``VAL``.
        folders: See ``layouts.split_folders``.

    Returns:
        Nothing if the split has no folder or its images have no labels.

    Raises:
        MetadataError: The folder cannot be listed, or the file with the classes of the images is
            missing or damaged.
    """
    part = part_of(dataset, layout, split, folders)
    if part.class_id:
        return []
    names = set[str]()
    in_view = bool(folders)  # for the layout imagenet; all others always need a view
    for path in part.paths:
        source = os.path.join(dataset, path)
        try:
            if part.annotations and part.read:
                return _annotated(f"{dataset}/{part.annotations}", source, part.read)
            below = folders_in(source)
            names.update(name for name in below if is_class(layout, source, name, in_view))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise MetadataError(
                f"{source} cannot be listed: {error.strerror}.{who_lets_read(source)}"
            ) from None
    return sorted(names.difference(part.others))


def known_ids(dataset: str, layout: str, part: Part, folders: Folders | None = None) -> set[str]:
    """Return the ids of the classes that a split may have folders of: those of TRAIN, and those in
    the file that lists all.

    Args:
        dataset, layout, folders: See ``class_ids_of``.
        part: Where the images of the split are.
    """
    ids = {*class_ids_of(dataset, layout, "TRAIN", folders)}
    listed = f"{dataset}/{part.ids}"
    if part.ids and finds_file(listed):
        ids.update(read_file(listed).decode(errors="replace").split())
    return ids


def _annotated(annotations: str, source: str, read: Callable[[str], tuple[str, str]]) -> list[str]:
    """Return the classes of the images that exist, by the file with the classes."""
    from .stages.annotations import key_of, read_annotations  # few layouts need it

    images = {name for _, _, names in os.walk(source) for name in names if is_image(name)}
    if not images and not finds_folder(source):
        return []
    class_of = read_annotations(annotations, "", read)
    listed = {key_of(image, class_of) for image in images}
    return sorted({class_id for image, class_id in class_of.items() if image in listed})


def known_classes(dataset: str, layout: str, folders: Folders | None) -> list[str]:
    """Return the class ids of all splits with labels."""
    return sorted(
        {one for split in LABELLED for one in class_ids_of(dataset, layout, split, folders)}
    )
