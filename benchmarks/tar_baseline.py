"""Baseline for tars: list each with GNU tar, then make the entries line by line.

    python tar_baseline.py <ROOT> <EXTRA>

Prints the seconds that the work took, without the imports.
"""

import os
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np

ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8"}


def dump(root: str, extra: str) -> None:
    """Write the metadata of all tars in the steps of DINOv3's ``ImageNet22k``."""
    # 1. The listings that it reads.
    class_ids = sorted(name[:-4] for name in os.listdir(root) if name.endswith(".tar"))
    os.makedirs(f"{extra}/blocks", exist_ok=True)
    for class_id in class_ids:
        with open(f"{extra}/blocks/{class_id}.log", "wb") as log:
            command = ["tar", "-tRf", f"{root}/{class_id}.tar"]
            subprocess.run(command, check=True, stdout=log, env=ENVIRONMENT)
    # 2. The images.
    rows = []
    for class_index, class_id in enumerate(class_ids):
        lines = []
        with open(f"{extra}/blocks/{class_id}.log") as log:
            for line in log:
                block, name = line.rstrip().split(":")
                lines.append((int(block[6:]), name[1:]))
        for (start, name), (end, _) in pairwise(lines):
            if name != "n06470073_47249.JPEG":
                rows.append((class_index, 512 * start, 512 * end, name))
    # 3. The longest strings.
    id_length = name_length = 0
    for class_index, _, _, name in rows:
        id_length = max(id_length, len(class_ids[class_index]))
        name_length = max(name_length, len(name))
    # 4. The entries.
    dtype = [("class_index", "<u4"), ("class_id", f"<U{id_length}")]
    dtype += [("start_offset", "<u4"), ("end_offset", "<u4"), ("filename", f"<U{name_length}")]
    entries = np.empty(len(rows), dtype)
    for i, (class_index, start, end, name) in enumerate(rows):
        entries[i] = (class_index, class_ids[class_index], start, end, name)
    np.save(f"{extra}/entries.npy", entries)
    # 5. How many classes there are, and their ids.
    entries = np.load(f"{extra}/entries.npy", mmap_mode="r")
    classes = id_length = 0
    for entry in entries:
        classes = max(classes, int(entry["class_index"]) + 1)
        id_length = max(id_length, len(str(entry["class_id"])))
    ids = np.empty(classes, f"<U{id_length}")
    for entry in entries:
        ids[entry["class_index"]] = entry["class_id"]
    np.save(f"{extra}/class-ids.npy", ids)


if __name__ == "__main__":
    start = time.perf_counter()
    dump(sys.argv[1], sys.argv[2])
    print(time.perf_counter() - start)
