"""Checking: check the metadata of three splits, or only scan them, in one process.

    python checking.py check <ROOT> <EXTRA>
    python checking.py scan <ROOT> <EXTRA>

Prints the seconds that the work took, without the imports.
"""

import sys
import time

from dinov3_metadata.addresses import SPLITS
from dinov3_metadata.checks.check import check
from dinov3_metadata.stages.scan import scan_images

if __name__ == "__main__":
    what, root, extra = sys.argv[1:]
    start = time.perf_counter()
    if what == "check":
        result = check(root, extra)
        if not result.ok:
            sys.exit(str(result))
    else:
        for split in SPLITS:
            scan_images(root, split)
    print(time.perf_counter() - start)
