"""Witness: read a split with torchvision's own ``ImageFolder``, imported only on demand."""

from pathlib import Path
from typing import Any

from .errors import MetadataError


def image_folder(folder: Path) -> Any:
    """Return torchvision's ``ImageFolder`` of a split folder. Classes without images are allowed.

    Raises:
        MetadataError: It cannot read the folder.
    """
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(folder, allow_empty=True)
    except OSError as error:
        raise MetadataError(f"torchvision's ImageFolder cannot read {folder}: {error}") from None
