"""Examine: open one image as training does, and find out what is wrong with it."""

import hashlib
import os
import struct
import warnings
from contextlib import suppress
from typing import NamedTuple

from PIL import Image

from .addresses import ANNEX
from .damage import Decoded, decode_strictly, is_damaged
from .disk import open_regular
from .formats import PROBLEMS
from .hashes import phash, phash_of
from .images import (
    FORMATS,
    JPEG,
    LONGEST_EXIF,
    Bounded,
    EndlessError,
    identified,
    open_bounded,
    raster_formats,
)
from .pixels import is_clipped, is_transparent
from .stand_ins import MOST, stand_in

BIT = {problem: 1 << place for place, problem in enumerate(PROBLEMS)}
GOOD_MODES = ("RGB", "L")
ORIENTATION = 0x0112  # the tag of EXIF
TURNED = range(2, 9)  # its values but 1; others mean nothing


class Examined(NamedTuple):
    """What is known of an image. What could not be read is 0 or empty.

    Attributes:
        problems: The problems as bits, see ``BIT``.
        width, height: In pixels.
        mode, format: Pillow's names.
        sha256: That of the file, 32 bytes; empty if it was not wanted, too.
        phash: See ``hashes.phash``; 0 if it was not wanted, too.
    """

    problems: int
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    sha256: bytes = b""
    phash: int = 0


def examine(path: str, hashed: bool = True) -> Examined:
    """Open an image as training does, and find its problems.

    Training calls ``Image.open(file).convert("RGB")``: see ``ImageDataDecoder`` in
    facebookresearch/dinov3 and ``pil_loader`` in torchvision.

    Like training, this does not decode an image above the size at which Pillow raises an error. It
    does decode an image above the size at which Pillow only warns: training decodes such an image
    too, so the audit must find out whether that fails. Decoding takes four bytes per pixel, at most
    720 MB, and whatever the decoder needs.

    Args:
        path: The image.
        hashed: Whether to find its hashes.

    Returns:
        What was found. The suffix is not checked here, see ``wrong_suffix``.
    """
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        content = b""
        try:
            with open_bounded(path) as file:
                content = file.content
                with identified(file) as image:
                    size, mode, kind = image.size, image.mode, image.format or ""
                    problems, look = _decode(image, content, hashed)
                    problems |= _read_exif(image)
                    if mode not in GOOD_MODES:
                        problems |= BIT["other-mode"]
        except EndlessError:
            return Examined(BIT["decompression-bomb"])
        except Image.DecompressionBombError:
            return Examined(BIT["decompression-bomb"], *_header(path), _sha256(content, hashed))
        except Exception as error:  # Pillow's plugins raise what they like on broken headers
            return Examined(_unreadable(path) if _is_ours(error) else _unidentified(path))
    for warning in heard:
        if "EXIF" in str(warning.message):
            problems |= BIT["broken-exif"]
        if issubclass(warning.category, Image.DecompressionBombWarning):
            problems |= BIT["decompression-bomb"]
    return Examined(problems, *size, mode, kind, _sha256(content, hashed), look)


def _sha256(content: bytes, hashed: bool) -> bytes:
    """Return the sha256 of a file; nothing if it was too large to be read as a whole."""
    return hashlib.sha256(content).digest() if hashed and content else b""


def _decode(image: Image.Image, content: bytes, hashed: bool) -> tuple[int, int]:
    """Decode an image, and look for problems in its pixels.

    Args:
        image: The image, not decoded yet.
        content: Its file; empty if that was too large to be read as a whole.
        hashed: Whether to return its perceptual hash.

    Returns:
        The problems as bits, and the hash.
    """
    decoded = Decoded()
    if image.format in ("JPEG", "MPO") and content:
        decoded = decode_strictly(content, image.size)
        if decoded.grey is not None and image.mode in GOOD_MODES:
            return 0, phash(decoded.grey, decoded.extent) if hashed else 0
    try:
        image.load()
        image.crop((0, 0, 1, 1)).convert("RGB")  # to convert all would double the memory
    except Image.DecompressionBombError:
        return BIT["decompression-bomb"], 0
    except Exception as error:
        return BIT["unreadable" if _is_ours(error) else "truncated"], 0
    problems = 0
    if decoded.damaged or (content and is_damaged(content, image)):
        problems |= BIT["damaged"]
    try:
        if is_clipped(image):
            problems |= BIT["clipped"]
        if is_transparent(image):
            problems |= BIT["transparent"]
        return problems, phash_of(image) if hashed else 0
    except Exception as error:  # training does not ask for these pixels
        return problems | (BIT["unreadable"] if _is_ours(error) else 0), 0


def _read_exif(image: Image.Image) -> int:
    """Parse the EXIF data again, because Pillow hides errors in it when it opens a file.

    Returns:
        The problems as bits.
    """
    exif = image.info.get("exif", b"")
    if len(exif) > LONGEST_EXIF:
        return BIT["broken-exif"]
    tags, problems = Image.Exif(), 0
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            tags.load(exif)
        except Exception:
            return BIT["broken-exif"]
        if heard:  # each version of Pillow has other words for it
            problems |= BIT["broken-exif"]
        with suppress(Exception):  # Pillow reads the value of a tag only now
            if tags.get(ORIENTATION) in TURNED:
                problems |= BIT["rotated"]
    return problems


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
