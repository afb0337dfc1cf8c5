"""Numbering: give each class its class_index, if a split is not numbered by its own classes alone.

Whoever trains takes the labels from both TRAIN and VAL. So a class must have the same number in
both, even if VAL lacks some classes of TRAIN.
"""

from collections.abc import Mapping
from typing import Any

from ..artefacts import Numbering
from ..class_ids import class_ids_of, known_classes
from ..errors import logger
from ..fingerprint import check_content, digest
from ..layouts import Folders
from ..paths import StrPath
from .lists import chosen_classes


def number_classes(
    *,
    numbering: StrPath,
    dataset: str,
    layout: str,
    classes: dict[str, str],
    parts: dict[str, list[str]],
    folders: Folders | None = None,
    rules: Mapping[str, Any] | None = None,
) -> None:
    """Number the classes of some splits together, in sorted order, as ImageFolder does for one.

    Args:
        numbering: Where to write the numbers, see ``artefacts.Numbering``.
        dataset: The dataset's folder.
        layout: Its layout, see ``layouts``.
        classes: Split -> the fingerprint of its class ids, see ``class_ids``.
        parts: Split -> the paths of its folders below the dataset, for messages.
        folders: See ``layouts.split_folders``.
        rules: Which classes to take, see ``lists.chosen_classes``; None for all.

    Raises:
        DatasetChangedError: A split has other classes by now.
        MetadataError: See ``class_ids.class_ids_of``.
    """
    ids, known = set[str](), known_classes(dataset, layout, folders) if rules else []
    for split, expected in classes.items():
        found = class_ids_of(dataset, layout, split, folders)
        check_content(f"The list of classes of {split} in {dataset}", digest(found), expected)
        ids.update(chosen_classes(found, known, rules) if rules else found)
    logger.info("%s: %d classes", " and ".join(classes), len(ids))
    Numbering(sorted(ids), [*classes], dataset, layout, parts).save(numbering)
