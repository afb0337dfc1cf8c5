"""Witness: torchvision's own ``ImageFolder``, imported only where somebody asks for it."""

from pathlib import Path
from typing import Any

from .errors import MetadataError


def image_folder(folder: Path) -> Any:
    """torchvision's ``ImageFolder`` of a split folder, classes without images allowed.

    Raises:
        MetadataError: It cannot read the folder.
    """
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(folder, allow_empty=True)
    except OSError as error:
        raise MetadataError(f"torchvision's ImageFolder cannot read {folder}: {error}") from None
