"""Errors: the exception for everything that a user can cause or fix, and the package's logger.

File names, labels and texts from the system are made harmless before they appear in a message.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice

SHOWN = 10  # offenders that a message names; the rest are only counted
LONGEST_LINE = 2000  # characters of one line of a message


class MetadataError(Exception):
    """Something is wrong with the dataset, its labels or the settings.

    The message is for the user. It says what is wrong, where, how many more cases there are, and
    what to do.

    Args:
        lines: The message: single lines and lists of lines. A file name in it cannot start a new
            line or move the cursor of a terminal, see ``printable``.
    """

    def __init__(self, *lines: str | Sequence[str]) -> None:
        if lines and isinstance(lines[0], str) and lines[0].startswith("Caught "):
            lines = _of_worker(lines[0], type(self)) or lines
        groups = ([line] if isinstance(line, str) else line for line in lines)
        super().__init__(*chain.from_iterable(groups))

    def __str__(self) -> str:
        return "\n".join(map(printable, self.args))


def _of_worker(text: str, kind: type) -> tuple[str, ...]:
    """Return the lines of an error that a DataLoader makes again from the traceback of a worker;
    none if the text is no such traceback. Source: ``ExceptionWrapper`` in ``torch/_utils.py``."""
    _, _, message = text.rpartition(f"\n{kind.__module__}.{kind.__qualname__}: ")
    return tuple(message.splitlines())


class DatasetChangedError(MetadataError):
    """The dataset changed while this run was reading it. Another attempt may succeed."""


class DamagedError(MetadataError):
    """A file of the work folder is damaged. ``run.run_stage`` removes it, so that it is rebuilt.

    Args:
        path: The file.
        why: What is wrong with it, after its path.
    """

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        super().__init__(f"{path} {why}. Run the same command again to rebuild it.")
        self.path = path


def listing(offenders: Iterable[str], total: int) -> list[str]:
    """Return the first ten of ``total`` offenders, one a line, and how many more there are."""
    lines = [f"  {offender}" for offender in islice(offenders, SHOWN)]
    return [*lines, f"  ... and {total - len(lines):,} more"] if total > len(lines) else lines


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun.

    Args:
        number: How many there are.
        one: The singular.
        many: The plural; by default the singular with an s.

    Example:
        >>> count(1, "image"), count(1200, "image")
        ('1 image', '1,200 images')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def did_you_mean(word: str, known: Iterable[str], show: Callable[[str], str] = repr) -> str:
    """Return a question, after a blank, with the known word that is nearest to an unknown one.

    Args:
        word: The unknown word.
        known: The known ones.
        show: Returns a word as the question shows it.

    Returns:
        An empty text if none is near.

    Example:
        >>> did_you_mean("layuot", ["layout", "labels"])
        " Did you mean 'layout'?"
    """
    from difflib import get_close_matches  # only a mistake needs it

    close = get_close_matches(word, [*known], 1)
    return f" Did you mean {show(close[0])}?" if close else ""


def printable(text: str) -> str:
    """Return a text as one line that is safe for a terminal or a log.

    Line ends, control characters and bytes that are not text are escaped as in Python: ``a\\nb``.
    A line longer than ``LONGEST_LINE`` loses its middle.
    """
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE // 2]} ... {text[-LONGEST_LINE // 2 :]}"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _clean(record: logging.LogRecord) -> bool:
    """Make the arguments of a log message printable. This filter keeps every message."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            printable(os.fspath(value)) if isinstance(value, (str, os.PathLike)) else value
            for value in record.args
        )
    return True


logger = logging.getLogger("dinov3_metadata")
logger.addFilter(_clean)
