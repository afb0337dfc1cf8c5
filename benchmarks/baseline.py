"""Baseline: make the metadata as people do today, with ImageFolder and a loop over all rows.

    python baseline.py <ROOT> <EXTRA> TRAIN [VAL [TEST]]

Prints the seconds that the work took, without the imports.
"""

import csv
import os
import sys
import time

import numpy as np
from torchvision.datasets import ImageFolder


def dump(root: str, extra: str, split: str) -> None:
    """Write the metadata of a split in the steps of DINOv3's ``ImageNet.dump_extra()``."""
    # 1. The labels.
    with open(f"{root}/labels.txt") as file:
        names = dict(csv.reader(file))
    # 2. The images.
    if split == "TEST":
        folder = f"{root}/test"
        samples = [(f"{folder}/{name}", 2**32 - 1) for name in sorted(os.listdir(folder))]
    else:
        samples = ImageFolder(f"{root}/{split.lower()}").samples
    # 3. The longest strings.
    id_length = name_length = 0
    for path, _ in samples if split != "TEST" else ():
        class_id = os.path.basename(os.path.dirname(path))
        id_length = max(id_length, len(class_id))
        name_length = max(name_length, len(names[class_id]))
    # 4. The entries.
    dtype = [("actual_index", "<u4"), ("class_index", "<u4")]
    dtype += [("class_id", f"<U{id_length}"), ("class_name", f"<U{name_length}")]
    entries = np.empty(len(samples), dtype)
    for i, (path, class_index) in enumerate(samples):
        folder, name = os.path.split(os.path.relpath(path, root))
        class_id = "" if split == "TEST" else os.path.basename(folder)
        actual_index = int(os.path.splitext(name)[0].rsplit("_", 1)[1])
        entries[i] = (actual_index, class_index, class_id, names.get(class_id, ""))
    np.save(f"{extra}/entries-{split}.npy", entries)
    if split == "TEST":
        return
    # 5. How many classes there are.
    entries = np.load(f"{extra}/entries-{split}.npy", mmap_mode="r")
    classes = 0
    for entry in entries:
        classes = max(classes, int(entry["class_index"]) + 1)
    # 6. The class arrays.
    class_ids = np.empty(classes, f"<U{id_length}")
    class_names = np.empty(classes, f"<U{name_length}")
    for entry in entries:
        class_ids[entry["class_index"]] = entry["class_id"]
        class_names[entry["class_index"]] = entry["class_name"]
    np.save(f"{extra}/class-ids-{split}.npy", class_ids)
    np.save(f"{extra}/class-names-{split}.npy", class_names)


if __name__ == "__main__":
    start = time.perf_counter()
    for split in sys.argv[3:]:
        dump(sys.argv[1], sys.argv[2], split)
    print(time.perf_counter() - start)
