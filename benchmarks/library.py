"""Our stages in one process, without Snakemake: scan, entries, class arrays, verify.

    python library.py <ROOT> <EXTRA> TRAIN

Prints the seconds that the work took, without the imports.
"""

import sys
import time
from pathlib import Path

from dinov3_metadata.classes import dump_class_arrays
from dinov3_metadata.entries import dump_entries
from dinov3_metadata.labels import read_labels
from dinov3_metadata.publish import array_names
from dinov3_metadata.scan import scan_split
from dinov3_metadata.verify import verify

if __name__ == "__main__":
    root, extra, split = sys.argv[1:]
    start = time.perf_counter()
    labels = read_labels(f"{root}/labels.txt")
    scan, _ = scan_split(root, split)
    files = {name: str(Path(extra, name)) for name in array_names(split)}
    entries, class_ids, class_names = files.values()
    dump_entries(scan, labels, entries)
    dump_class_arrays(entries, scan, class_ids, class_names)
    verify(root, split, scan, labels, files)
    print(time.perf_counter() - start)
