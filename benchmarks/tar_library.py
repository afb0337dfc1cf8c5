"""Library for tars: scan, entries, class ids, checks and publication in one process.

    python tar_library.py <ROOT> <EXTRA>
    python tar_library.py <ROOT> <THREADS> slow

The second only reads the tars, on a file system where each call takes 5 ms longer. Prints the
seconds that the work took, without the imports.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from dinov3_metadata import dump_extra
from dinov3_metadata.fingerprint import tar_names
from dinov3_metadata.look import in_threads, waiting_ns
from dinov3_metadata.tars import list_members

DELAY = 0.005  # s


def slowly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that waits before it does the same."""

    @wraps(function)
    def slow(*arguments: object, **keywords: object) -> object:
        time.sleep(DELAY)
        return function(*arguments, **keywords)

    return slow


if __name__ == "__main__":
    root, target, *how = sys.argv[1:]
    start = time.perf_counter()
    if how:
        for name in ("open", "stat", "pread", "preadv"):
            setattr(os, name, slowly(getattr(os, name)))
        tars = [f"{root}/{name}" for name in tar_names(root)]
        for _ in in_threads(list_members, tars, int(target), waiting_ns):
            pass
    else:
        dump_extra(root, target)
    print(time.perf_counter() - start)
