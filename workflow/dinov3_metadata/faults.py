"""Faults: plant one example of each problem of images into the demo dataset, to see the report.

Each example takes the place of a drawn image. None keeps the metadata from being made: these are
the problems that only an audit finds.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from .addresses import ANNEX
from .examine import ORIENTATION

HUGE = (20_000, 10_000)  # pixels; so many that Pillow refuses them


def plant_faults(dataset: Path) -> None:
    """Replace images of a dataset in DINOv3's layout by faulty ones.

    The first image of each class stays as it is. If there are too few others in ``train/``, they
    get as many faults as they can.

    Args:
        dataset: The dataset, whose images are all good.
    """
    others = [
        path
        for folder in sorted((dataset / "train").iterdir())
        for path in sorted(folder.iterdir())[1:]
    ]
    for path, problem in zip(_spread(others, len(FAULTS)), FAULTS, strict=False):
        _replace(path, problem)
    left = [path for path in others if path not in _spread(others, len(FAULTS))]
    tests = sorted((dataset / "val").rglob("*.JPEG"))
    if len(left) > 4 and tests:
        left[1].write_bytes(left[0].read_bytes())
        with Image.open(left[2]) as image:
            small = image.resize((image.width * 3 // 4, image.height * 3 // 4))
        small.save(left[3], "JPEG", quality=60)
        tests[-1].write_bytes(left[4].read_bytes())


def _spread(paths: list[Path], many: int) -> list[Path]:
    return paths[:: max(1, len(paths) // many)][:many]


def _replace(path: Path, problem: str) -> None:
    with Image.open(path) as image:
        image.load()
    content = FAULTS[problem]
    path.write_bytes(content if isinstance(content, bytes) else content(image))
    if problem == "unreadable":
        path.chmod(0)  # which only root can read


def _encode(image: Image.Image, form: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _oriented(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return _encode(image.rotate(90), "JPEG", exif=exif)


def _cut(image: Image.Image) -> bytes:
    """Half of a JPEG, to which a program has added the end marker again."""
    content = _encode(image, "JPEG", quality=95)
    return content[: len(content) // 2] + b"\xff\xd9"


def _deep(image: Image.Image) -> bytes:
    """Sixteen bits a pixel, all of them above what eight can hold."""
    grey = np.asarray(image.convert("L"), "u2")
    return _encode(Image.fromarray(256 + 100 * grey), "PNG")


def _holed(image: Image.Image) -> bytes:
    """A disc on a transparent ground, which hides another colour."""
    y, x = np.mgrid[0 : image.height, 0 : image.width]
    inside = (x - image.width / 2) ** 2 + (y - image.height / 2) ** 2 < (image.width / 3) ** 2
    layer = image.convert("RGB")
    layer.paste((200, 0, 200), mask=Image.fromarray(~inside))
    layer.putalpha(Image.fromarray(inside.astype("u1") * 255))
    return _encode(layer, "PNG")


FAULTS: dict[str, bytes | Callable[[Image.Image], bytes]] = {
    "zero-bytes": b"",
    "not-an-image": bytes(range(256)),
    "truncated": lambda image: _encode(image, "JPEG")[:-400],
    "wrong-suffix": lambda image: _encode(image, "PNG"),
    "other-mode": lambda image: _encode(image.convert("CMYK"), "JPEG"),
    "broken-exif": lambda image: _encode(image, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0"),
    "decompression-bomb": lambda image: _encode(Image.new("1", HUGE), "PNG"),
    "unreadable": lambda image: _encode(image, "JPEG"),
    "git-lfs-pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "annex-link": f"/{ANNEX}SHA256E-s9--0.JPEG\n".encode(),
    "html-page": b"<!DOCTYPE html><title>404 Not Found</title>",
    "text": b"404: Not Found\n",
    "clipped": _deep,
    "transparent": _holed,
    "damaged": _cut,
    "rotated": _oriented,
}
"""Problem -> the content of an example, or the function that makes it from an image."""
