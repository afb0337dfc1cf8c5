"""Numbering: give each class its class_index, if a split is not numbered by its own classes alone.

Whoever trains takes the labels from both TRAIN and VAL. So a class must have the same number in
both, even if VAL lacks some classes of TRAIN.
"""

import os

from ..artefacts import Numbering
from ..errors import logger
from ..fingerprint import check_content, class_folders, of_content
from ..layouts import LAYOUTS, may_hold_images
from ..paths import StrPath
from .annotations import read_annotations


def number_classes(
    *, numbering: StrPath, dataset: str, layout: str, contents: dict[str, dict[str, str]]
) -> None:
    """Number the classes of some splits together, in sorted order, as ImageFolder does for one.

    Args:
        numbering: Where to write the numbers, see ``artefacts.Numbering``.
        dataset: The dataset's folder.
        layout: Its layout, see ``layouts``.
        contents: Split -> the folder or file that says which classes it has -> its fingerprint.

    Raises:
        DatasetChangedError: A fingerprint is no longer the one that was taken.
        MetadataError: A file with the classes of the images is missing or damaged.
    """
    ids = {one for split in contents for one in class_ids_of(dataset, layout, split)}
    for content in contents.values():
        for path, expected in content.items():
            check_content(path, of_content(path), expected)
    logger.info("%s: %d classes", " and ".join(contents), len(ids))
    Numbering(sorted(ids), [*contents]).save(numbering)


def class_ids_of(dataset: str, layout: str, split: str) -> set[str]:
    """Return the ids of a split's classes, without a look at its images.

    Args:
        dataset, layout: See ``number_classes``.
        split: ``TRAIN`` or ``VAL``.

    Raises:
        MetadataError: The file with the classes of the images is missing or damaged.
    """
    part = LAYOUTS[layout].list_part(dataset, split)
    if part.annotations and part.read:
        return {*read_annotations(f"{dataset}/{part.annotations}", "", part.read).values()}
    source = os.path.join(dataset, part.folder)
    names = class_folders(source)
    if layout == "imagenet":
        return {*names}
    return {name for name in names if may_hold_images(source, name)}
