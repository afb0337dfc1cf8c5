"""Make and read the metadata files that DINOv3 trains from, given a folder of images.

``dump_extra`` makes or updates the files, ``check`` says whether any such files are right, and
``ImageNetMetadata`` reads them as a torchvision dataset. ``snakefile`` is for other workflows. A
``MetadataError`` is raised for everything that the user can fix.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_LAZY = {
    "ImageNetMetadata": "dataset",
    "MetadataError": "errors",
    "check": "checks.check",
    "dump_extra": "run",
    "snakefile": "paths",
}
"""Public name -> module. A module is imported when one of its names is first used, because the
import of torchvision alone takes seconds."""

__all__ = ["ImageNetMetadata", "MetadataError", "check", "dump_extra", "snakefile"]

if TYPE_CHECKING:
    from .checks.check import check
    from .dataset import ImageNetMetadata
    from .errors import MetadataError
    from .paths import snakefile
    from .run import dump_extra
else:  # so that a type checker complains about other names

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
