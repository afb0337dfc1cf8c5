"""What is said to the person at the keyboard: the one exception for all that they can cause or fix,
and the logger. Whatever a name, a label or the system puts into a message is made harmless here."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from itertools import chain, islice

SHOWN = 10  # offenders named in full; the rest are counted
LONGEST_LINE = 2000  # characters of one line of a message


class MetadataError(Exception):
    """Something about the dataset, its labels or the settings is not as it must be.

    The message is written for the user: what is wrong, where, how many more like it, what to do.

    Args:
        lines: The message, line by line. No file name in it can start a line of its own, or move
            the cursor of a terminal: see ``printable``.
    """

    def __init__(self, *lines: str | Sequence[str]) -> None:
        groups = ([one] if isinstance(one, str) else one for one in lines)
        super().__init__(*chain.from_iterable(groups))

    def __str__(self) -> str:
        return "\n".join(map(printable, self.args))


class DatasetChangedError(MetadataError):
    """The dataset is no longer what this run has read; another look may find it at rest."""


class DamagedError(MetadataError):
    """A file of the work folder is damaged, and was removed: another run makes it anew."""


def listing(offenders: Iterable[str], total: int) -> list[str]:
    """The first ten offenders, one to a line, and how many more there are."""
    lines = [f"  {offender}" for offender in islice(offenders, SHOWN)]
    return [*lines, f"  ... and {total - len(lines):,} more"] if total > len(lines) else lines


def count(number: int, one: str, many: str | None = None) -> str:
    """``count(1, "image")`` is "1 image", ``count(1200, "image")`` is "1,200 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """One line of text for a terminal or a log.

    Line ends, control characters and bytes that are not text are written as in Python, ``a\\nb``;
    a line longer than ``LONGEST_LINE`` loses its middle.
    """
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE // 2]} ... {text[-LONGEST_LINE // 2 :]}"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _clean(record: logging.LogRecord) -> bool:
    """Make what is put into a log message printable."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            printable(os.fspath(one)) if isinstance(one, (str, os.PathLike)) else one
            for one in record.args
        )
    return True


logger = logging.getLogger("dinov3_metadata")
logger.addFilter(_clean)
