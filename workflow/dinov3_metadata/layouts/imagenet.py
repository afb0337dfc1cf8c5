"""ImageNet as DINOv3 reads it: the only layout that needs no view."""

import os

from ..folder import is_image, list_folder
from ..layout import LABELLED, split_folder
from . import Part, class_folders_of

ORDER = 10

ENOUGH = 1000  # images


def recognise(root: str) -> bool:
    """Whether most images in some class folders of ``train`` or ``val`` have DINOv3's names."""
    named = others = 0
    for split in LABELLED:
        for path in class_folders_of(f"{root}/{split_folder(split)}"):
            listed = list_folder(path, split, os.path.basename(path))
            named += listed.actual_index.size
            others += sum(map(is_image, listed.files))
            if named + others > ENOUGH:
                break
    return 0 < named >= others


def list_part(root: str, split: str) -> Part:
    """The split folders themselves."""
    return Part(split_folder(split), classes=split in LABELLED, whole=True)


def explain() -> str:
    """What the layout is."""
    return "train/<class>/<class>_<n>.JPEG, val/<class>/ILSVRC2012_val_<8 digits>.JPEG, test/ flat"
