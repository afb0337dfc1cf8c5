"""One's own class folders: any file names, nested or not."""

from ..layout import LABELLED, split_folder
from . import Part, class_folders_of, has_images

ORDER = 40


def recognise(root: str) -> bool:
    """Whether there are class folders with images in ``train``, or in ``val``."""
    return any(
        has_images(path)
        for split in LABELLED
        for path in class_folders_of(f"{root}/{split_folder(split)}")
    )


def list_part(root: str, split: str) -> Part:
    """TEST has no classes."""
    return Part(split_folder(split), classes=split in LABELLED, own_names=True)


def explain() -> str:
    """What the layout is."""
    return "train/<class>/ and val/<class>/ with images of any name, nested or not; test/"
