"""Workdir: refuse a working folder in which Snakemake cannot keep its state.

Snakemake itself ends with a traceback there, some of the time in the middle of a run.
"""

import os
from pathlib import Path

from .errors import MetadataError

WRITTEN = ("", "incomplete", "iocache", "metadata")


def check_workdir(folder: Path, writes: bool = False) -> None:
    """Check that Snakemake can make its folder in the working folder, or write in it.

    Args:
        folder: The working folder.
        writes: Whether Snakemake will write in its folder. It always makes it.

    Raises:
        MetadataError: It cannot.
    """
    state = folder / ".snakemake"
    places = [state / name for name in WRITTEN if writes] if state.is_dir() else [folder]
    for place in places:
        if place.exists() and not os.access(place, os.W_OK | os.X_OK):
            raise MetadataError(
                f"You cannot write in {place}, where Snakemake keeps its state. Use a working "
                "folder of your own: run the same command with --directory <FOLDER>. Relative "
                "paths then begin there."
            )
