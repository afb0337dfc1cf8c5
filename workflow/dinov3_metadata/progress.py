"""Progress: show how far a stage has come, on the terminal and in its log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from .errors import logger

progress_logger = logger.getChild("progress")

LONG = 10  # s without a line

bars = True  # whether a terminal shows a bar

watchers: list[Callable[[str, int, int], None]] = []
"""Functions to call with ``what``, the number of items that were yielded, and ``total``."""


def without_bars() -> None:
    """Show lines in place of bars, which would overwrite those of other processes."""
    global bars
    bars = False


def progress(items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
    """Yield ``items`` and show how many were yielded.

    A terminal shows a bar. The log gets a line for every five percent, or after 10 s, with the rate
    and the time left.

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
    start = said = time.monotonic()
    shown = 0
    for done, item in enumerate(items, 1):
        yield item
        for watch in watchers:
            watch(what, done, total)
        percent, now = 100 * done // total, time.monotonic()
        if percent >= shown + 5 or percent == 100 != shown or now >= said + LONG:
            rate = done / max(now - start, 1e-9)
            left = timedelta(seconds=round((total - done) / rate))
            speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
            progress_logger.info("%s: %d %%, %s a second, %s left", what, percent, speed, left)
            shown, said = percent, now
