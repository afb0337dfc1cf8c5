"""Hashes: give images numbers that are close if they look alike.

Source: the hash by discrete cosine transform in Christoph Zauner, "Implementation and Benchmarking
of Perceptual Image Hash Functions" (2010), section 3.2.1: an image is shrunk to 32 by 32 pixels of
grey, and each of its 64 lowest frequencies is compared with their median. Here the constant term,
the mean of all pixels, is left out of the median, and its bit is always set.
"""

import numpy as np
from PIL import Image

SIDE = 32  # pixels to which an image is shrunk, and as many frequencies there are
LOW = 8  # the frequencies that count, per direction
FLAT = 2.0
"""The least contrast of the counted frequencies, as the root mean square in levels of grey. Below
it, their order is an accident of compression."""

LARGE = 1 << 24  # pixels from which an image is thinned out before its colours are converted
THINNED = (1024, 1024)

_angles = np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1) * np.pi / (2 * SIDE)
WAVES = (np.cos(_angles) / SIDE * np.where(np.arange(LOW), np.sqrt(2), 1)[:, None]).astype("f4")
"""(``LOW``, ``SIDE``): the lowest cosines, so that the squares of the transformed image add up to
the mean square of its pixels."""


def phash(grey: np.ndarray, extent: tuple[float, float] | None = None) -> int:
    """Return the perceptual hash of a picture: 64 bits, of which similar pictures share most.

    Args:
        grey: (height, width) ``u1``.
        extent: Which width and height of it to look at; by default all.

    Returns:
        The hash; 0 if the picture is too flat to have one. Do not compare that.

    Example:
        >>> phash(np.zeros((60, 40), "u1"))
        0
    """
    height, width = grey.shape
    image = Image.frombuffer("L", (width, height), np.ascontiguousarray(grey), "raw", "L", 0, 1)
    return _phash(_shrunk(image, extent or (width, height)))


def phash_of(image: Image.Image) -> int:
    """Return the perceptual hash of a decoded image as training sees it: see ``phash``."""
    if image.mode not in ("L", "RGB"):
        if image.width * image.height > LARGE:  # so that the conversion takes little memory
            image = image.resize(THINNED, Image.Resampling.NEAREST)
        image = image.convert("RGB")
    return _phash(_shrunk(image, image.size).convert("L"))  # shrinking first takes less time


def _shrunk(image: Image.Image, extent: tuple[float, float]) -> Image.Image:
    box = (0, 0, *extent)
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box, reducing_gap=2)


def _phash(small: Image.Image) -> int:
    """Return the hash of an image in mode L that has been shrunk."""
    grey = np.frombuffer(small.tobytes(), "u1").reshape(SIDE, SIDE)
    found = (WAVES @ grey.astype("f4") @ WAVES.T).ravel()
    found[0] = 0
    if found @ found < FLAT * FLAT:
        return 0
    middle = np.partition(found[1:], len(found) // 2 - 1)[len(found) // 2 - 1]
    found[0] = np.inf
    return int.from_bytes(np.packbits(found > middle).tobytes(), "big")
