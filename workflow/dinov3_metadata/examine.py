"""Examine: open one image as training does, and find out what is wrong with it."""

import os
import struct
import warnings
from contextlib import suppress

from PIL import Image

from .addresses import ANNEX
from .disk import open_regular
from .formats import PROBLEMS
from .images import (
    FORMATS,
    JPEG,
    LONGEST_EXIF,
    Bounded,
    EndlessError,
    opened_image,
    raster_formats,
)
from .stand_ins import MOST, stand_in

BIT = {problem: 1 << place for place, problem in enumerate(PROBLEMS)}
GOOD_MODES = ("RGB", "L")


def examine(path: str) -> tuple[int, int, int, str, str]:
    """Open an image as training does, and find its problems.

    Training calls ``Image.open(file).convert("RGB")``: see ``ImageDataDecoder`` in
    facebookresearch/dinov3 and ``pil_loader`` in torchvision.

    Like training, this does not decode an image above the size at which Pillow raises an error. It
    does decode an image above the size at which Pillow only warns: training decodes such an image
    too, so the audit must find out whether that fails. Decoding takes four bytes per pixel, at most
    720 MB, and whatever the decoder needs.

    Args:
        path: The image.

    Returns:
        The problems as bits (see ``BIT``), the width and height in pixels, and Pillow's mode and
        format. What could not be read is 0 or empty. The suffix is not checked here, see
        ``wrong_suffix``.
    """
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            with opened_image(path) as image:
                what = (*image.size, image.mode, image.format or "")
                problems = _decode(image) | _read_exif(image)
                if what[2] not in GOOD_MODES:
                    problems |= BIT["other-mode"]
        except EndlessError:
            return BIT["decompression-bomb"], 0, 0, "", ""
        except Image.DecompressionBombError:
            return BIT["decompression-bomb"], *_header(path)
        except Exception as error:  # Pillow's plugins raise what they like on broken headers
            return _unreadable(path) if _is_ours(error) else _unidentified(path), 0, 0, "", ""
    for warning in heard:
        if "EXIF" in str(warning.message):
            problems |= BIT["broken-exif"]
        if issubclass(warning.category, Image.DecompressionBombWarning):
            problems |= BIT["decompression-bomb"]
    return problems, *what


def _decode(image: Image.Image) -> int:
    """Decode an image and convert a single pixel, since to convert all would double the memory.

    Returns:
        The problems as bits.
    """
    try:
        image.load()
        image.crop((0, 0, 1, 1)).convert("RGB")
    except Image.DecompressionBombError:
        return BIT["decompression-bomb"]
    except Exception as error:
        return BIT["unreadable" if _is_ours(error) else "truncated"]
    return 0


def _read_exif(image: Image.Image) -> int:
    """Parse the EXIF data again, because Pillow hides errors in it when it opens a file.

    Returns:
        The problems as bits.
    """
    exif = image.info.get("exif", b"")
    if len(exif) > LONGEST_EXIF:
        return BIT["broken-exif"]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            Image.Exif().load(exif)
        except Exception:
            return BIT["broken-exif"]
    return BIT["broken-exif"] if heard else 0  # each version of Pillow has other words for it


def _is_ours(error: Exception) -> bool:
    """Return whether an error comes from the system, and not from the bytes of the image."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) is not None


def _unreadable(path: str) -> int:
    """Return the problems of a file that the system cannot read, as bits.

    A link of git-annex dangles as long as the content of the file is elsewhere.
    """
    problems = BIT["unreadable"]
    dangles = os.path.islink(path) and not os.path.exists(path)
    if dangles and ANNEX in os.path.realpath(path):
        problems |= BIT["annex-link"]
    return problems


def _unidentified(path: str) -> int:
    """Return the problems of a file that Pillow does not recognise as an image, as bits."""
    try:
        with open_regular(path) as file:
            start = file.read(MOST)
    except OSError:
        return BIT["unreadable"]
    if not start:
        return BIT["zero-bytes"]
    if start.startswith(JPEG):
        return BIT["truncated"]
    kind = stand_in(start)
    return BIT["not-an-image"] | (BIT[kind] if kind else 0)


def _header(path: str) -> tuple[int, int, str, str]:
    """Read width, height, mode and format from the header of an image that is too large to open.

    If the header cannot be read, the sizes are 0 and the texts are empty. To raise
    ``Image.MAX_IMAGE_PIXELS`` and open the image would be simpler, but all threads share it.
    """
    with suppress(Exception), Bounded(open_regular(path).detach()) as bounded:
        prefix = bounded.read(16)
        for name in raster_formats():
            factory, accepts = Image.OPEN[name]
            with suppress(SyntaxError, IndexError, TypeError, struct.error):
                if not accepts or accepts(prefix) is True:
                    bounded.seek(0)
                    image = factory(bounded, "")
                    return (*image.size, image.mode, image.format or "")
    return 0, 0, "", ""


def wrong_suffix(name: str, image_format: str) -> bool:
    """Return whether the suffix of a file name does not fit the format of the image.

    Args:
        name: The file name or path.
        image_format: Pillow's format; empty if it is unknown, which fits any suffix.
    """
    if not image_format:
        return False
    suffix = os.path.splitext(name)[1].lower()
    return Image.registered_extensions().get(suffix) != FORMATS.get(image_format, image_format)
