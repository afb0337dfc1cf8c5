"""The one exception for everything that the person at the keyboard can cause or mend."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

SHOWN = 10  # offenders named in full; the rest are counted


class MetadataError(Exception):
    """Something about the dataset, its labels or the settings is not as it must be.

    The message is written for the user: what is wrong, where, how many more like it, what to do.
    """


def listing(offenders: Iterable[str], total: int) -> str:
    """The first ten offenders, one to a line, and how many more there are."""
    lines = [f"  {printable(offender)}" for offender in islice(offenders, SHOWN)]
    if total > len(lines):
        lines.append(f"  ... and {total - len(lines):,} more")
    return "\n".join(lines)


def count(number: int, one: str, many: str | None = None) -> str:
    """``count(1, "image")`` is "1 image", ``count(1200, "image")`` is "1,200 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def printable(name: str) -> str:
    """A file name for a terminal or log: line ends, control characters and bytes that are no text
    are written as in Python, ``a\\nb``."""
    return name if name.isprintable() else repr(name)[1:-1]
