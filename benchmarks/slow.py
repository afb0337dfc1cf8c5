"""Slow: scan TRAIN as on a file system that takes 5 ms longer to open a folder.

    python slow.py <ROOT> <THREADS>

Prints the seconds that the work took, without the imports.
"""

import os
import sys
import time

from dinov3_metadata.stages.scan import scan_images

DELAY = 0.005  # s


def slowly(path: str, flags: int, *mode: int) -> int:
    """Do the same as ``os.open``, but wait first if a folder is opened."""
    if flags & os.O_DIRECTORY:
        time.sleep(DELAY)
    return quickly(path, flags, *mode)


if __name__ == "__main__":
    quickly, os.open = os.open, slowly
    start = time.perf_counter()
    scan_images(sys.argv[1], "TRAIN", threads=int(sys.argv[2]))
    print(time.perf_counter() - start)
