"""Tiles: show small copies of images, as training sees them and as their author meant them."""

import os
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..images import SAFE_PIXELS, opened_image
from ..paths import StrPath
from .html import Html, embedded, text

TILE = 112  # px in the page
SHARP = 128  # px of the copy, for screens with more of them
LOOK = {
    "clipped": "with its greys spread from black to white",
    "transparent": "with its alpha, on white",
    "rotated": "turned as its EXIF says",
}
"""Problem -> what a viewer does with such an image, and training does not."""


def tile(path: StrPath | None, alt: str, none: str = "") -> Html:
    """Show an image as training sees it, after ``convert("RGB")``.

    Args:
        path: The image; None for none.
        alt: What it shows, for those who do not see it.
        none: The text that is shown if it cannot be decoded.
    """
    return _show(_small(path, _as_training), alt, none)


def meant(path: StrPath | None, alt: str) -> Html:
    """Show an image as a viewer does: see ``LOOK``."""
    return _show(_small(path, _as_viewer), alt, "")


def below(root: str, image: str) -> Path | None:
    """Return the path of an image that a file names below root; None if it is elsewhere."""
    path = os.path.normpath(image)
    return None if os.path.isabs(path) or path.split("/")[0] == ".." else Path(root, path)


def _show(small: Image.Image | None, alt: str, none: str) -> Html:
    if small is None:
        return Html(f"<div class=none>{text(none)}</div>")
    file = BytesIO()
    small.save(file, "JPEG", quality=60, optimize=True)
    size = f'width="{small.width}" height="{small.height}"'
    source = embedded(file.getvalue(), "image/jpeg")
    return Html(f'<img {size} alt="{text(alt)}" src="{source}">')


def _small(path: StrPath | None, look: Callable[[Image.Image], Image.Image]) -> Image.Image | None:
    """Return a small copy of an image; None if it cannot be decoded, or is too large for it."""
    if path is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with opened_image(path) as image:
                image.draft("RGB", (2 * SHARP, 2 * SHARP))
                if image.width * image.height > SAFE_PIXELS:
                    return None
                small = look(image)
                small.thumbnail((SHARP, SHARP))
                return small
    except Exception:  # to find out why is the task of an audit
        return None


def _as_training(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _as_viewer(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode == "F" or image.mode.startswith("I"):
        image.thumbnail((2 * SHARP, 2 * SHARP), Image.Resampling.NEAREST)
        values = np.nan_to_num(np.asarray(image, "f8"))
        low, high = values.min(), values.max()
        grey = 255 * (values - low) / (high - low or 1)
        image = Image.fromarray(grey.astype("u1"))
    elif "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image.thumbnail((4 * SHARP, 4 * SHARP), Image.Resampling.NEAREST)
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return ImageOps.exif_transpose(image).convert("RGB")
