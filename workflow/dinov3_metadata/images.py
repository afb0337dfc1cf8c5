"""Images: which files are opened as images at all, and within which bounds."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BufferedReader

from PIL import Image
from PIL.JpegImagePlugin import MARKER

from .disk import open_regular
from .paths import StrPath

RASTER = (
    *("JPEG", "PNG", "BMP", "GIF", "WEBP", "AVIF", "TIFF", "JPEG2000"),
    *("PPM", "DIB", "ICO", "PSD", "PCX", "TGA"),
)
"""The formats of Pillow by which an image is opened, whatever its suffix: those that cameras,
scanners, browsers and painting programs write. What begins as a JPEG may turn out to be an MPO.

Of the others, EPS starts Ghostscript, WMF, BUFR, GRIB and HDF5 call a plugin that must be installed
for them, FITS unpacks gzip without a limit, and BLP, QOI, MSP and DDS are decoded by loops in
Python, which take minutes for one large image. The rest does not occur in datasets of images."""


FORMATS = {"MPO": "JPEG"}  # a JPEG with more pictures behind it
LONGEST_EXIF = 1 << 16  # bytes; an entry of it can ask for all of them, and so can each
SAFE_PIXELS = Image.MAX_IMAGE_PIXELS or 1 << 27
JPEG = b"\xff\xd8\xff"  # how one begins, even if no more of its header is there


READS = 1_000_000
"""Calls of ``read`` that one image may take. Pillow reads headers piece by piece, in Python: a
million chunks, or bytes of padding, take seconds, and a file may have any number of them."""

LARGEST = 1 << 30  # bytes of an image that some formats want as a whole
SCANS = 100  # of a JPEG with as many pixels as Pillow finds safe: each goes over all of them


@cache
def raster_formats() -> tuple[str, ...]:
    """Those of ``RASTER`` that this Pillow was built with."""
    Image.init()
    return tuple(one for one in RASTER if one in Image.OPEN)


def load_image(path: str) -> Image.Image:
    """Open and decode an image as ``torchvision.datasets.folder.pil_loader`` does, but only a
    regular file, and only of one of ``RASTER``.

    Raises:
        UnidentifiedImageError: It is not such an image.
        OSError: It cannot be read, or is not a regular file.
    """
    with open_regular(path) as file, Image.open(file, formats=raster_formats()) as image:
        return image.convert("RGB")


class EndlessError(Image.DecompressionBombError):
    """An image has more pieces, or larger ones, than any that is meant to be looked at."""


class Bounded(BufferedReader):
    """A file that can be read only so often, and only so much at a time."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > READS:
            raise EndlessError(f"more than {READS:,} pieces")
        if size is not None and 0 <= size <= LARGEST:
            return super().read(size)
        content = super().read(LARGEST + 1)
        if len(content) > LARGEST:
            raise EndlessError(f"more than {LARGEST:,} bytes")
        return content


@contextmanager
def opened_image(path: StrPath) -> Iterator[Image.Image]:
    """Open an image for the block, by one of ``RASTER``; nothing of it is decoded yet.

    Raises:
        Image.DecompressionBombError: To decode it would take too much memory or time.
        UnidentifiedImageError: It is not an image.
        OSError: It cannot be opened, or is no regular file. Pillow raises other errors, too.
    """
    with Bounded(open_regular(path).detach()) as file:
        _check_exif(file)
        with Image.open(file, formats=raster_formats()) as image:
            if FORMATS.get(image.format or "", image.format) == "JPEG":
                _check_scans(file, image.width * image.height)
            yield image


def _check_exif(file: Bounded) -> None:
    """Refuse a JPEG whose EXIF fills many segments: Pillow reads it at once when it opens the file,
    and each of its entries can ask for the memory of all of it."""
    if file.read(len(JPEG)) != JPEG:
        return
    file.seek(2)
    size, marker = 0, _next_marker(file)
    while marker and marker != b"\xff\xda":
        name, _, handler = MARKER.get(marker[0] << 8 | marker[1], ("", "", None))
        if handler:
            body = file.read(max(0, int.from_bytes(file.read(2), "big") - 2))
            size += len(body) * (name == "APP1" and body.startswith(b"Exif\0\0"))
            if size > 2 * LONGEST_EXIF:
                raise EndlessError(f"{size:,} bytes of EXIF")
        marker = _next_marker(file)


def _next_marker(file: Bounded) -> bytes:
    """The two bytes of the next marker of a JPEG, found as Pillow finds it; nothing at its end."""
    byte = file.read(1)
    while byte and byte != b"\xff":
        byte = file.read(1)
    while byte == b"\xff":
        byte = file.read(1)
    return b"\xff" + byte if byte else b""


def _check_scans(file: Bounded, pixels: int) -> None:
    """Refuse a JPEG that goes over its pixels again and again: a kilobyte can ask for a minute."""
    file.seek(0)
    scans, last = 0, b""
    while block := file.read(1 << 20):
        scans += (last + block).count(b"\xff\xda")
        last = block[-1:]
    if scans * pixels > SCANS * SAFE_PIXELS:
        raise Image.DecompressionBombError(f"{scans:,} scans of {pixels:,} pixels")
    file.seek(0)
