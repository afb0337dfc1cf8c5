"""Pixels: find images that decode, but look different to training from how they are meant."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

STRIP = 1 << 20  # pixels to convert at a time
BEYOND = 0.01  # the share of pixels outside 0 to 255 from which an image is clipped
LEVELS = 4  # so few levels of grey are as good as one

ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


def is_clipped(image: Image.Image) -> bool:
    """Return whether ``convert("RGB")`` loses what a decoded image shows.

    It does not scale the values of a mode that has more levels than 256, such as ``I;16`` and
    ``F``, but cuts them off at 0 and 255 and drops the digits after the point.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return False
    beyond, least, most, rounded = 0, 255, 0, False
    for strip in _strips(image):
        values = np.asarray(strip)
        seen = np.asarray(strip.convert("RGB"))[..., 0]
        beyond += np.count_nonzero(~((values >= 0) & (values < 256)))  # a NaN is neither
        rounded |= bool((values != seen).any())
        least, most = min(least, int(seen.min())), max(most, int(seen.max()))
    flat = rounded and most - least < LEVELS
    return flat or beyond > BEYOND * image.width * image.height


def is_transparent(image: Image.Image) -> bool:
    """Return whether a decoded image has pixels that are not opaque.

    ``convert("RGB")`` shows their colours, which no one has ever seen.
    """
    if image.mode in ALPHA:
        return any(_least(strip) < 255 for strip in _strips(image))
    clear = image.info.get("transparency")
    if image.mode.startswith("I") and isinstance(clear, int):  # Pillow converts none to RGBA
        return any(bool((np.asarray(strip) == clear).any()) for strip in _strips(image))
    palette = image.palette if image.mode == "P" else None
    if "transparency" in image.info or (palette and palette.mode.endswith("A")):
        return any(_least(strip.convert("RGBA")) < 255 for strip in _strips(image))
    return False


def _least(image: Image.Image) -> int:
    """Return the least alpha of an image, which is its last band."""
    return int(np.asarray(image.getchannel(image.getbands()[-1])).min())


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    """Cut an image into strips of about ``STRIP`` pixels: to convert them takes little memory."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(image.height, top + rows)))
