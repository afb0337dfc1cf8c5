"""The layout ``folder``: class folders with images of any name, nested or not."""

from ..addresses import LABELLED, split_folder
from .part import Part, class_folders_of, has_images


def recognise(dataset: str) -> bool:
    """Return whether there are class folders with images in ``train`` or in ``val``."""
    return any(
        has_images(path)
        for split in LABELLED
        for path in class_folders_of(f"{dataset}/{split_folder(split)}")
    )


def list_part(dataset: str, split: str) -> Part:
    """Return where the images are. TEST has no classes."""
    return Part(split_folder(split), classes=split in LABELLED, own_names=True)


def explain() -> str:
    """Describe the layout in one line."""
    return "train/<class>/ and val/<class>/ with images of any name, nested or not; test/"
