"""Patch DINOv3 at the start of each Python that ``python -m dinov3_metadata.dinov3`` starts."""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from types import TracebackType

here = os.path.dirname(os.path.abspath(__file__))
package = os.path.dirname(here)

# The environment of the command may not have this package installed.
if not importlib.util.find_spec("dinov3_metadata"):
    spec = importlib.util.spec_from_file_location("dinov3_metadata", f"{package}/__init__.py")
    assert spec
    assert spec.loader
    sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])

from dinov3_metadata.dinov3 import use_metadata_lengths  # noqa: E402
from dinov3_metadata.errors import MetadataError  # noqa: E402

use_metadata_lengths()

show_traceback = sys.excepthook


def end_plainly(
    kind: type[BaseException], error: BaseException, traceback: "TracebackType | None"
) -> None:
    """Show only the message of an error that the user can fix, and no traceback."""
    if isinstance(error, MetadataError):
        print(f"Error: {error}", file=sys.stderr)
    else:
        show_traceback(kind, error, traceback)


sys.excepthook = end_plainly

# This file hides a sitecustomize.py of the environment itself, so run that, too.
paths = list(map(os.path.abspath, sys.path))
spec = PathFinder.find_spec("sitecustomize", paths[paths.index(here) + 1 :])
if spec and spec.loader:
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
