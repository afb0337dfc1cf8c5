"""Growth: estimate what a job on a cluster needs, from the images and the folders of its split.

docs/cluster.md has a table of these estimates, beside what was measured.
"""

import math
import os
from contextlib import suppress
from functools import lru_cache

from .paths import existing, path_of

MB, MB_PER_FOLDER = 1000, 0.01
"""Two processes of Snakemake with that of a stage; and the names, times and classes of a scan."""

NUMBERS, NAMES, OBJECTS = 40, 200, 500
"""MB for a million images, if a stage has their numbers in memory; if it has their paths as bytes,
or compares them with lists; and if it has torchvision's list of them."""

MINUTES, MINUTES_PER_FOLDER = 5, 1e-4
"""At least, for a busy node; and 6 ms to list a folder, as on a slow file server."""

SLOW = {
    "link_view": 20,  # 1 ms to make a link
    "scan_split": 1,  # 0.5 ms to list an image, in eight threads
    "audit_images": 350,  # 20 ms to open an image
    "verify full": 20,  # 1 ms to look up an image
    "select_images": 2,
}
"""Minutes for a million images on a slow file server. The other stages read and write 0.2 kB for
each image, at 20 MB/s."""

SHARE = 15_000  # images that a job of an audit opens, in one to five minutes
MOST_SHARES = 1000  # that Snakemake can plan with ease


@lru_cache  # old scans may be removed while jobs are submitted
def images_of(extra: str, split: str, tree: str, folders: int) -> int:
    """Estimate the images of a split: those of its scan. If it does not exist yet, those of old
    scans or 1,300 per folder as in ImageNet-1k, whichever are more.

    Args:
        extra: The folder for the metadata.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        tree: The name of a scan or a view.
        folders: The number of folders.
    """
    with suppress(OSError):
        return os.path.getsize(path_of(extra, "scan", split=split, tree=tree)) // 4
    old = (os.path.getsize(path) // 4 for path, _ in existing(extra, "scan", split=split))
    return max([*old, 1300 * folders])


def memory(images: int, folders: int, *, names: bool = False, objects: bool = False) -> int:
    """Return the MB that a job asks for.

    Args:
        images, folders: Those of the split.
        names: Whether a stage has paths in memory, or compares them with lists.
        objects: Whether a stage has a Python object for each image, as ``verify: level: full`` has.

    Example:
        >>> memory(1_281_167, 1_001), memory(10**9, 10**6)
        (1061, 51000)
    """
    per_million = OBJECTS if objects else NAMES if names else NUMBERS
    return int(MB + MB_PER_FOLDER * folders + per_million * images / 1e6)


def minutes(stage: str, images: int, folders: int) -> int:
    """Return the minutes that the job of a stage asks for.

    Args:
        stage: The stage; ``verify full`` if ``verify`` looks up every image.
        images, folders: Those of the split, or the job's share of them.

    Example:
        >>> minutes("scan_split", 1_281_167, 1_001), minutes("scan_split", 10**9, 10**6)
        (6, 1105)
    """
    listed = folders if stage in ("link_view", "scan_split") else 0
    return int(MINUTES + MINUTES_PER_FOLDER * listed + SLOW.get(stage, 0.2) * images / 1e6)


def shares(images: int) -> int:
    """Return in how many shares to audit a split on a cluster.

    Example:
        >>> shares(10_000), shares(1_281_167), shares(10**9)
        (1, 86, 1000)
    """
    return min(max(1, math.ceil(images / SHARE)), MOST_SHARES)
