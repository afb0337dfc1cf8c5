"""Class ids: which classes a split has, as they determine the numbers of the classes.

This module is imported at every start.
"""

import os
from collections.abc import Callable

from .addresses import is_image
from .errors import MetadataError
from .fingerprint import folders_in
from .layouts import LAYOUTS, may_hold_images


def class_ids_of(dataset: str, layout: str, split: str) -> list[str]:
    """Return the sorted ids of the classes of a split, those without images included.

    Args:
        dataset: The dataset's folder.
        layout: Its layout, see ``layouts``.
        split: ``TRAIN`` or ``VAL``.

    Returns:
        Nothing if the split has no folder or its images have no labels.

    Raises:
        MetadataError: The folder cannot be listed, or the file with the classes of the images is
            missing or damaged.
    """
    part = LAYOUTS[layout].list_part(dataset, split)
    source = os.path.join(dataset, part.folder)
    if part.class_id:
        return []
    try:
        if part.annotations and part.read:
            return _annotated(f"{dataset}/{part.annotations}", source, part.read)
        names = folders_in(source)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise MetadataError(f"{source} cannot be listed: {error.strerror}.") from None
    return sorted(name for name in names if layout == "imagenet" or may_hold_images(source, name))


def _annotated(annotations: str, source: str, read: Callable[[str], tuple[str, str]]) -> list[str]:
    """Return the classes of the images that exist, by the file with the classes."""
    from .stages.annotations import read_annotations  # few layouts need it

    images = {name for _, _, names in os.walk(source) for name in names if is_image(name)}
    if not images and not os.path.isdir(source):
        return []
    class_of = read_annotations(annotations, "", read)
    return sorted({class_id for image, class_id in class_of.items() if image in images})
