"""Trees: build datasets of any size in DINOv3's layout, from hard links to a few files,
or of tars."""

import os
import shutil
import tarfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random

from dinov3_metadata.addresses import image_name
from PIL import Image

LINKS = 60_000  # to one file; ext4 allows 65,000
WORDS = "a name as long as many are"


def class_id(i: int) -> str:
    """Return a class id in the form of WordNet's."""
    return f"n{1_440_764 + 97 * i:08d}"


def class_name(i: int) -> str:
    """Return a class name of 8 to 31 characters."""
    return f"{WORDS[: 2 + i % 24]} {i:05d}"


def build(root: Path, classes: int, images: dict[str, int]) -> None:
    """Build a tree.

    Args:
        root: The dataset's folder. If it is complete already, it is not changed.
        classes: The number of classes.
        images: Split -> total number of images, which are spread evenly over the classes.
    """
    if (root / "labels.txt").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    (root / "pixels").mkdir(parents=True)
    for split, total in images.items():
        with ProcessPoolExecutor() as pool:
            parts = [""] if split == "TEST" else [class_id(i) for i in range(classes)]
            starts = [total * i // len(parts) for i in range(len(parts) + 1)]
            list(pool.map(partial(_fill, root, split), parts, starts, starts[1:], chunksize=50))
    rows = (f"{class_id(i)},{class_name(i)}\n" for i in range(classes))
    (root / "labels.txt").write_text("".join(rows))


def build_tars(root: Path, classes: int, images: int) -> None:
    """Build a tar for each class, with small images: from 0.8 to 2.6 kB.

    Args:
        root: The folder of the tars. If it is complete already, it is not changed.
        classes: The number of classes.
        images: The total number of images, which are spread evenly over the classes.
    """
    if (root / "complete").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    random = Random(0)
    pixels = b"\xff\xd8\xff" + random.randbytes(4096)
    for i in range(classes):
        with tarfile.open(root / f"{class_id(i)}.tar", "w", format=tarfile.GNU_FORMAT) as tar:
            for number in range(images * i // classes, images * (i + 1) // classes):
                member = tarfile.TarInfo(f"{class_id(i)}_{number}.JPEG")
                member.size, member.mtime = random.randrange(800, 2600), 1300000000
                tar.addfile(member, BytesIO(pixels))
    (root / "complete").touch()


def _fill(root: Path, split: str, part: str, start: int, end: int) -> None:
    """Link the images ``start`` to ``end`` of a split into the folder of a class, or into test/."""
    folder = root / split.lower() / part
    folder.mkdir(parents=True)
    at = os.open(folder, os.O_RDONLY)
    for i in range(start, end):
        if (i - start) % LINKS == 0:
            pixels = _pixels(root, end - start)
        number = 23 * (i - start) + 1 if split == "TRAIN" else i + 1
        os.link(pixels, image_name(split, part, number), dst_dir_fd=at)
    os.close(at)


def _pixels(root: Path, links: int) -> str:
    """Return an image file of this process that can have that many more hard links."""
    path = root / "pixels" / f"{os.getpid()}.JPEG"
    if path.exists() and path.stat().st_nlink + min(links, LINKS) > LINKS:
        path.unlink()
    if not path.exists():
        Image.new("L", (64, 64)).save(path)
    return str(path)
