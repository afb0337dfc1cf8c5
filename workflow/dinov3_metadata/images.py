"""Images: which formats of Pillow are opened at all, by the audit, the report and for training."""

from functools import cache

from PIL import Image

from .disk import open_regular

RASTER = (
    *("JPEG", "PNG", "BMP", "GIF", "WEBP", "AVIF", "TIFF", "JPEG2000"),
    *("PPM", "DIB", "ICO", "PSD", "PCX", "TGA"),
)
"""The formats of Pillow by which an image is opened, whatever its suffix: those that cameras,
scanners, browsers and painting programs write. What begins as a JPEG may turn out to be an MPO.

Of the others, EPS starts Ghostscript, WMF, BUFR, GRIB and HDF5 call a plugin that must be installed
for them, FITS unpacks gzip without a limit, and BLP, QOI, MSP and DDS are decoded by loops in
Python, which take minutes for one large image. The rest does not occur in datasets of images."""


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
