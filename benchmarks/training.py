"""Measure DINOv3's own data loading, plainly or under the launcher.

    PYTHONPATH=<DINOV3> python training.py memory <ROOT> <EXTRA> [<ITERATIONS> [fork|spawn]]

Start it by itself, or by ``python -m dinov3_metadata.dinov3 --``. It needs omegaconf and termcolor,
as DINOv3 does. The metadata is that of TRAIN, of a dataset without a view. Two workers make batches
of eight images with the augmentations of DINOv3, and garbage collection is off, as in its trainer.
In place of ``memory``, it also measures other things:

- ``memory`` prints how much the RssAnon of both workers together grows in an iteration, in MB: the
  slope of a line through all but the first fifth of the iterations.
- ``speed`` prints the seconds that the iterations take after the first ten.
- ``digest`` prints a digest of the images and targets that each sampler of DINOv3 gives, without
  augmentations.
"""

import gc
import hashlib
import sys
import time

import numpy as np
import torch
from dinov3.data import DataAugmentationDINO, SamplerType, make_data_loader, make_dataset
from dinov3.data.datasets import ImageNet

SCALES = (0.32, 1), (0.05, 0.32)


def shown(image) -> torch.Tensor:
    """Return the start of an image's pixels."""
    return torch.from_numpy(np.asarray(image)[:8, :8].copy())


def pairs(samples: list) -> list:
    """Leave the samples of a batch as they are."""
    return samples


def first(samples: list) -> torch.Tensor:
    """Join only one crop, so that most of the time is that of the augmentations."""
    return torch.stack([image["global_crops"][0] for image, _ in samples])


def rss_anon(pid: int) -> float:
    """Return the RssAnon of a process in MB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1e3


def digest(dataset: str, iterations: int) -> None:
    """Print the digests of ``digest``."""
    # One of the samplers asks how many processes there are.
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    for sampler in SamplerType:
        torch.manual_seed(0)
        loader = make_data_loader(
            dataset=make_dataset(dataset_str=dataset, transform=shown),
            batch_size=8,
            num_workers=2,
            seed=7,
            sampler_type=sampler,
            collate_fn=pairs,
        )
        hasher, batches = hashlib.sha256(), iter(loader)
        for _ in range(iterations):
            try:
                batch = next(batches)
            except StopIteration:
                batches = iter(loader)
                batch = next(batches)
            for image, target in batch:
                hasher.update(image.numpy().tobytes() + b"%d" % target)
        del batches
        print(sampler.name, iterations, hasher.hexdigest()[:16], flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    what, root, extra, *rest = sys.argv[1:]
    iterations = int(rest[0]) if rest else 1000
    dataset = f"ImageNet:split=TRAIN:root={root}:extra={extra}"
    if "dinov3_metadata" not in sys.modules:
        ImageNet.__len__ = lambda self: len(self._get_entries())
    if rest[1:]:
        torch.multiprocessing.set_start_method(rest[1])
    if what == "digest":
        digest(dataset, iterations)
        return
    torch.manual_seed(0)
    images = make_dataset(dataset_str=dataset, transform=DataAugmentationDINO(*SCALES, 8))
    loader = make_data_loader(dataset=images, batch_size=8, num_workers=2, seed=7, collate_fn=first)
    gc.disable()
    gc.collect()
    batches, began, sizes = iter(loader), 0.0, []
    for i in range(iterations):
        next(batches)
        if i == 9:
            began = time.perf_counter()
        sizes.append(sum(rss_anon(worker.pid) for worker in batches._workers))
    if what == "speed":
        print(f"{time.perf_counter() - began:.2f}")
    else:
        late = np.arange(iterations // 5, iterations)
        slope = np.polyfit(late, np.array(sizes)[late], 1)[0]
        print(
            f"{slope:.4f} MB an iteration; {sizes[late[0]]:.0f} MB, {sizes[-1]:.0f} MB at the end"
        )


if __name__ == "__main__":
    main()
