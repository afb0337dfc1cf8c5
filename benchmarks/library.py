"""Library: run scan, entries, class arrays and verify in one process, without Snakemake.

    python library.py <ROOT> <EXTRA> TRAIN

Prints the seconds that the work took, without the imports.
"""

import sys
import time
from pathlib import Path

from dinov3_metadata.paths import array_names
from dinov3_metadata.stages.classes import write_class_arrays
from dinov3_metadata.stages.entries import write_entries
from dinov3_metadata.stages.labels import read_labels
from dinov3_metadata.stages.scan import scan_images
from dinov3_metadata.stages.verify import check_files

if __name__ == "__main__":
    root, extra, split = sys.argv[1:]
    start = time.perf_counter()
    labels = read_labels(f"{root}/labels.txt")
    scan, *_ = scan_images(root, split)
    files = {name: str(Path(extra, name)) for name in array_names(split)}
    entries, *arrays = files.values()
    ids = scan.class_ids.tolist()
    write_entries(scan, labels, entries)
    write_class_arrays(entries, ids, labels.of(ids), arrays)
    check_files(files, scan, labels, root=root, split=split)
    print(time.perf_counter() - start)
