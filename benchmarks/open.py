"""Measure how TRAIN is opened and used with ImageNetMetadata ("ours") or with ImageFolder.

    python open.py <ours|ImageFolder> <ROOT> <EXTRA> <first|workers|access>

Prints one number, which excludes the imports:

- ``first``: the seconds to open the dataset and read the first image.
- ``workers``: the unique memory in megabytes of one of ten workers after an epoch, less that of a
  worker that reads nothing.
- ``access``: the seconds that a random access to the index takes.
"""

import gc
import sys
import time
from statistics import median

import numpy as np
import psutil
from dinov3_metadata.dataset import ImageNetMetadata
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

WORKERS = 10
ACCESSES = 200_000


def unique_memory(dataset) -> float:
    """Return the unique memory in megabytes of a worker that has read its share of an epoch."""
    loader = DataLoader(dataset, 1000, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    batches = iter(loader)
    for _ in batches:
        pass
    workers = [psutil.Process(worker.pid) for worker in batches._workers]
    return median(worker.memory_full_info().uss for worker in workers) / 1e6


def main() -> None:
    """Measure what the command line asks for."""
    which, root, extra, what = sys.argv[1:]

    def open_split(**options):
        if which == "ours":
            return ImageNetMetadata(root, extra, **options)
        return ImageFolder(f"{root}/train", **options)

    if what == "first":
        Image.init()  # Pillow's own imports
        start = time.perf_counter()
        open_split()[0]
        print(f"{time.perf_counter() - start:.6f}")
    elif what == "workers":
        gc.freeze()  # otherwise the garbage collector makes each worker copy the imported modules
        dataset = open_split(loader=len)
        nothing = unique_memory(range(len(dataset)))
        print(f"{max(0, unique_memory(dataset) - nothing):.6f}")
    else:
        samples = open_split().samples
        some = np.random.default_rng(0).integers(len(samples), size=ACCESSES).tolist()
        start = time.perf_counter()
        for i in some:
            samples[i]
        print(f"{(time.perf_counter() - start) / ACCESSES:.9f}")


if __name__ == "__main__":
    main()
