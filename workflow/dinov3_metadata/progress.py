"""Progress: show how far a stage has come, on the terminal and in its log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from .errors import logger

progress_logger = logger.getChild("progress")

bars = True  # whether a terminal shows a bar

watchers: list[Callable[[str, int, int], None]] = []
"""Functions to call with ``what``, the number of items that were yielded, and ``total``."""


def without_bars() -> None:
    """Show lines in place of bars, which would overwrite those of other processes."""
    global bars
    bars = False


def progress(items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
    """Yield ``items`` and show how many were yielded.

    A terminal shows a bar. The log gets a line for every five percent, with the rate and the time
    left.

    Args:
        items: Anything.
        total: How many items there are.
        what: The text in front of the numbers.
    """
    if bars and sys.stderr and sys.stderr.isatty():
        # A job has no terminal, and starts without tqdm. DINOv3's environment may have none.
        with suppress(ImportError):
            from tqdm import tqdm

            items = tqdm(items, what, total, leave=False)
    start, shown = time.monotonic(), 0
    for done, item in enumerate(items, 1):
        yield item
        for watch in watchers:
            watch(what, done, total)
        percent = 100 * done // total
        if percent >= shown + 5 or percent == 100 != shown:
            rate = done / max(time.monotonic() - start, 1e-9)
            left = timedelta(seconds=round((total - done) / rate))
            progress_logger.info("%s: %d %%, %.0f a second, %s left", what, percent, rate, left)
            shown = percent
