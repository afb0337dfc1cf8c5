"""Log: write a stage's messages to its log and the terminal, and end it with a clear error."""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from io import TextIOWrapper
from typing import TextIO

from .access import refused
from .disk import create_anew, read_file
from .errors import MetadataError, logger
from .lock import lock_job
from .paths import extra_of
from .progress import progress_logger

INTERRUPTED = "Interrupted. Nothing is lost: run the same command again."

NO_MEMORY = (
    "There is not enough memory. Nothing is lost: run the same command again where there is more."
)

PAUSE = 10  # s at least between two messages on the terminal about how far a stage has come


@contextmanager
def stage(log_file: str, level: str) -> Iterator[None]:
    """Run one stage in the block. Log its messages; show warnings and errors on the terminal, too,
    and how far it has come, if it takes long.

    After a MetadataError, an OSError or a MemoryError, the process exits with code 1 and one
    message. After Ctrl+C, it exits with code 130. Any other exception is a bug in this program and
    keeps its traceback.

    Args:
        log_file: The log file, which is overwritten. During the block, a lock shows that a job is
            using the work folder that contains it.
        level: ``debug``, ``info`` or ``warning``: the lowest level that the log file records.
    """
    open_streams()
    text = TextIOWrapper(create_anew(log_file), "utf-8", "backslashreplace", line_buffering=True)
    to_file = logging.StreamHandler(text)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setLevel(logging.WARNING)
    to_terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    escape(sys.stderr)
    logging.raiseExceptions = False  # on a full disk, only the terminal gets messages
    logging.basicConfig(level=level.upper(), handlers=[to_file, to_terminal])
    how_far = logging.StreamHandler(sys.stderr)
    how_far.addFilter(now_and_then())
    progress_logger.addHandler(how_far)
    try:
        with lock_job(extra_of(log_file)) or nullcontext():
            yield
    except MetadataError as error:
        logger.error("%s", error)
        sys.exit(1)
    except OSError as error:
        logger.error("%s", refused(error))
        sys.exit(1)
    except MemoryError:
        logger.error(NO_MEMORY)
        sys.exit(1)
    except KeyboardInterrupt:
        logger.error(INTERRUPTED)
        sys.exit(130)
    except Exception:
        logger.exception("Unexpected error, please report it")
        raise


def now_and_then() -> Callable[[logging.LogRecord], bool]:
    """Return a filter that passes a message only if none was passed in the last ``PAUSE``."""
    last = time.monotonic()

    def passes(record: logging.LogRecord) -> bool:
        nonlocal last
        if (now := time.monotonic()) < last + PAUSE:
            return False
        last = now
        return True

    return passes


def open_streams() -> None:
    """Open the null device for each standard stream that is closed.

    Otherwise one of our files would get its number, and so whatever a library in C prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one


def escape(stream: TextIO | None) -> None:
    """Let a standard stream escape what its encoding lacks. It is None where it was closed."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


@contextmanager
def ending_plainly() -> Iterator[None]:
    """Exit with one sentence if the block raises an error that a user can fix."""
    try:
        yield
    except MetadataError as error:
        sys.exit(f"Error: {error}")
    except OSError as error:
        sys.exit(f"Error: {refused(error)}")
    except MemoryError:
        sys.exit(f"Error: {NO_MEMORY}")


def error_in(log_file: str) -> str | None:
    """Return the error that ended a stage, from its log; None if the log contains no error."""
    try:
        text = read_file(log_file).decode(errors="replace")
    except OSError:
        return None
    errors = re.split(r"^[\d-]{10} [\d:,]{12} ERROR ", text, flags=re.MULTILINE)[1:]
    return errors[-1].strip() if errors else None
