"""Workdir: refuse a working folder in which Snakemake cannot keep its state.

Snakemake itself ends with a traceback there, some of the time in the middle of a run.
"""

import os
from pathlib import Path

from .errors import MetadataError

MADE = (
    *("auxiliary", "conda", "conda-archive", "incomplete", "iocache", "locks", "metadata"),
    *("shadow", "singularity"),
)
"""The folders that Snakemake makes in its own at each start, if they are not there."""

WRITTEN = ("incomplete", "iocache", "metadata")
"""Those in which a run writes."""


def check_workdir(folder: Path, writes: bool = False) -> None:
    """Check that Snakemake can make its folder in the working folder, or write in it.

    Args:
        folder: The working folder.
        writes: Whether Snakemake will write in its folder. It always makes it, and those in it.

    Raises:
        MetadataError: It cannot.
    """
    state = folder / ".snakemake"
    places = [folder] if not state.exists() else []
    if writes or not all((state / name).is_dir() for name in MADE):
        places += [state, *(state / name for name in WRITTEN if writes)]
    for place in places:
        if os.path.lexists(place) and not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise MetadataError(
                f"You cannot write in {place}, where Snakemake keeps its state. Use a working "
                "folder of your own: run the same command with --directory <FOLDER>. Relative "
                "paths then begin there."
            )
