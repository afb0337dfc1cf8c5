"""Images: open image files, but only in common formats and within limits of memory and time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BufferedReader, BytesIO

from PIL import Image
from PIL.JpegImagePlugin import MARKER

from .disk import check_whole, open_regular
from .paths import StrPath

RASTER = (
    *("JPEG", "PNG", "BMP", "GIF", "WEBP", "AVIF", "TIFF", "JPEG2000"),
    *("PPM", "DIB", "ICO", "PSD", "PCX", "TGA"),
)
"""The formats of Pillow that are tried to open an image, whatever its suffix: those that cameras,
scanners, browsers and painting programs write. A file that begins like a JPEG may be an MPO.

The other formats are left out. EPS starts Ghostscript. WMF, BUFR, GRIB and HDF5 call a plugin that
must be installed for them. FITS unpacks gzip without a limit. BLP, QOI, MSP and DDS are decoded by
loops in Python, which take minutes for one large image. The rest do not occur in image datasets."""


FORMATS = {"MPO": "JPEG"}  # an MPO is a JPEG followed by more pictures
LONGEST_EXIF = 1 << 16  # bytes; each entry of the EXIF data can ask for a copy of all of them
SAFE_PIXELS = Image.MAX_IMAGE_PIXELS or 1 << 27
JPEG = b"\xff\xd8\xff"  # the first bytes of a JPEG, even if the rest of its header is missing


READS = 1_000_000
"""The most calls of ``read`` for one image. Pillow reads headers piece by piece, in Python: a
million chunks, or bytes of padding, take seconds, and a file may have any number of them."""

LARGEST = 1 << 30  # most bytes to read at once, and of a file that is read as a whole
SCANS = 100  # most scans of a JPEG with ``SAFE_PIXELS``; each scan goes over all pixels


@cache
def raster_formats() -> tuple[str, ...]:
    """Return those formats of ``RASTER`` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in RASTER if name in Image.OPEN)


def load_image(path: str) -> Image.Image:
    """Open and decode an image like ``torchvision.datasets.folder.pil_loader``.

    Unlike that function, this one opens only regular files in one of the formats of ``RASTER``.

    Raises:
        UnidentifiedImageError: It is not an image in one of these formats.
        OSError: It cannot be read, or is not a regular file.
    """
    with open_bounded(path) as file, Image.open(file, formats=raster_formats()) as image:
        return image.convert("RGB")


class EndlessError(Image.DecompressionBombError):
    """An image has more pieces, or larger ones, than any real image."""


class Bounded(BufferedReader):
    """A file that limits how often it is read, and how much at a time.

    Attributes:
        content: All of the file; empty if it has more than ``LARGEST`` bytes.
    """

    reads = 0
    content = b""

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


def open_bounded(path: StrPath) -> Bounded:
    """Open a file, and read it as a whole unless it has more than ``LARGEST`` bytes.

    Raises:
        OSError: It cannot be read up to its end, or is not a regular file.
    """
    file = open_regular(path)
    size = os.fstat(file.fileno()).st_size
    if size > LARGEST:
        return Bounded(file.detach())
    with file:
        content = file.read(size)
    check_whole(content, size, path)
    bounded = Bounded(BytesIO(content))
    bounded.content = content
    return bounded


@contextmanager
def opened_image(path: StrPath) -> Iterator[Image.Image]:
    """Open an image in one of the formats of ``RASTER`` for the block, without decoding it.

    Raises:
        Image.DecompressionBombError: To decode it would take too much memory or time.
        UnidentifiedImageError: It is not an image.
        OSError: It cannot be opened, or is not a regular file. Pillow may raise other errors, too.
    """
    with open_bounded(path) as file, identified(file) as image:
        yield image


@contextmanager
def identified(file: Bounded) -> Iterator[Image.Image]:
    """Open the image in a file for the block: see ``opened_image``."""
    _check_exif(file)
    with Image.open(file, formats=raster_formats()) as image:
        if image.format in ("JPEG", "MPO"):
            _check_scans(file, image.width * image.height)
        yield image


def _check_exif(file: Bounded) -> None:
    """Refuse a JPEG whose EXIF data fills many segments.

    Pillow reads all of this data when it opens the file, and each entry can ask for as much memory
    as all of the data.
    """
    if file.read(len(JPEG)) != JPEG:
        return
    file.seek(2)
    size, marker = 0, _next_marker(file)
    while marker and marker != b"\xff\xda":
        name, _, handler = MARKER.get(marker[0] << 8 | marker[1], ("", "", None))
        if handler:
            body = file.read(max(0, int.from_bytes(file.read(2), "big") - 2))
            if name == "APP1" and body.startswith(b"Exif\0\0"):
                size += len(body)
            if size > 2 * LONGEST_EXIF:
                raise EndlessError(f"{size:,} bytes of EXIF")
        marker = _next_marker(file)


def _next_marker(file: Bounded) -> bytes:
    """Return the two bytes of a JPEG's next marker, found as Pillow finds it; empty at the end."""
    byte = file.read(1)
    while byte and byte != b"\xff":
        byte = file.read(1)
    while byte == b"\xff":
        byte = file.read(1)
    return b"\xff" + byte if byte else b""


def _check_scans(file: Bounded, pixels: int) -> None:
    """Refuse a JPEG that goes over its pixels too often: a kilobyte can take a minute to decode."""
    file.seek(0)
    scans, last = 0, b""
    while block := file.read(1 << 20):
        scans += (last + block).count(b"\xff\xda")
        last = block[-1:]
    if scans * pixels > SCANS * SAFE_PIXELS:
        raise Image.DecompressionBombError(f"{scans:,} scans of {pixels:,} pixels")
    file.seek(0)
