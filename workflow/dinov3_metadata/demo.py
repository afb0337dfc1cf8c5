"""Demo: draw a small dataset of JPEGs, for a first run and for tests that decode images."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .addresses import LABELLED, image_path
from .paths import StrPath

if TYPE_CHECKING:
    import numpy as np


def make_demo(
    dataset: StrPath, labels: StrPath, images: dict[str, int], faults: bool = False
) -> None:
    """Make the demo dataset, unless its folder exists. The folder appears complete or not at all.

    Args:
        dataset: The folder to make.
        labels: A labels.txt in CSV. Each of its classes gets images.
        images: Split -> number of images per class; for TEST, the total number of images.
        faults: Whether some images get faults that only an audit finds, see ``faults``.
    """
    dataset = Path(dataset)
    if dataset.exists():
        return
    import numpy as np
    from PIL import Image

    new = dataset.with_name(f".{dataset.name}.{os.getpid()}.tmp")
    with open(labels, encoding="utf-8") as file:
        class_ids = [class_id for class_id, _ in csv.reader(file)]
    rng = np.random.default_rng(0)
    for split, per_class in images.items():
        for position, class_id in enumerate(class_ids if split in LABELLED else [""]):
            # Numbers are sparse in train/ and consecutive elsewhere, as in ImageNet-1k.
            numbers = (
                rng.choice(20_000, per_class, replace=False)
                if split == "TRAIN"
                else range(position * per_class + 1, (position + 1) * per_class + 1)
            )
            for number in numbers:
                path = new / image_path(split, class_id, int(number))
                path.parent.mkdir(parents=True, exist_ok=True)
                hue = position if class_id else rng.integers(len(class_ids))
                Image.fromarray(_draw(hue / len(class_ids), rng)).save(path, "JPEG")
    shutil.copyfile(labels, new / "labels.txt")
    if faults:
        from .faults import plant_faults

        plant_faults(new)
    try:
        new.rename(dataset)
    except OSError:  # another run was faster
        shutil.rmtree(new)


def _draw(hue: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a (96, 96, 3) uint8 picture: a disc of the class's colour somewhere on soft clouds.

    The clouds let pictures differ as photographs do, so that none is taken for another one's copy.
    """
    import numpy as np

    y, x = np.mgrid[0:96, 0:96]
    colour = 127 + 120 * np.cos(2 * np.pi * (hue + np.array([0, 1 / 3, 2 / 3])))
    waves = np.cos(np.outer(np.arange(96), np.arange(8)) * np.pi / 96)
    clouds = waves @ rng.normal(0, 12, (8, 8)) @ waves.T
    ground = clouds[..., None] * rng.uniform(0.7, 1.3, 3) + rng.uniform(60, 180, 3)
    (left, top), radius = rng.integers(24, 72, 2), rng.integers(12, 32)
    disc = (x - left) ** 2 + (y - top) ** 2 < radius**2
    return np.where(disc[..., None], colour, ground).clip(0, 255).astype("uint8")
