"""Holdout: decide which images of TRAIN are VAL, for a dataset that has no VAL of its own.

This module is imported at every start.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from .documents import Count


@dataclass(frozen=True)
class Holdout:
    """The rule by which VAL is a part of TRAIN.

    Attributes:
        share: The share of the images that are VAL, above 0 and below 1.
        seed: A number; another one takes other images.

    Example:
        >>> Holdout(0.5, 0).taken("cat", ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
        ['a.jpg', 'b.jpg', 'd.jpg']
    """

    share: float
    seed: Count

    def taken(self, class_id: str, names: Iterable[str]) -> list[str]:
        """Return those of some images of a class that are VAL.

        Whether an image is depends on its class and on its own file name alone: images that come
        or go never move another one to the other split. A larger share takes all images that a
        smaller one does.

        Args:
            class_id: The id of the class.
            names: The file names of the images in the dataset, without folders. They are hashed as
                the bytes that they have on the disk, whatever the locale.
        """
        start = f"{self.seed}/{class_id}/"  # no class id contains a slash
        most = math.ceil(self.share * 2**64).to_bytes(8, "big")
        return [
            name
            for name in names
            if sha256((start + name).encode("utf-8", "surrogateescape")).digest() < most
        ]

    def describe(self, where: str) -> str:
        """Return a sentence that says what VAL is.

        Args:
            where: The folders of TRAIN.
        """
        return (
            f"VAL is about {100 * self.share:g} % of the images in {where} (`holdout`, seed "
            f"{self.seed}), and TRAIN is the rest."
        )
