"""Addresses: convert a row of the metadata to the path that DINOv3 opens, and back.

Source: ``get_image_relpath`` in facebookresearch/dinov3, ``dinov3/data/datasets/image_net.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection

SPLITS = ("TRAIN", "VAL", "TEST")
LABELLED = ("TRAIN", "VAL")  # splits with one folder per class; TEST is one flat folder
TARS = "TARS"  # takes the place of the splits in a dataset of tars, which has none

MAX_INDEX = 2**32 - 1  # actual_index is stored as <u4

# Equal to torchvision.datasets.folder.IMG_EXTENSIONS, which takes too long to import. A test
# compares the two.
IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

ANNEX = "annex/objects/"  # in the target of a link that git-annex made, and in its pointer files


OTHER_IMAGES = (  # compiled by the few runs that need it
    r"(?i).+([.](?:jfif|jpe|jif|jfi|jpeg_large|jpg_large|png_large|jp2|j2k|jpf|jpx|jpm|jpeg2000"
    r"|jxl|jxr|wdp|gif|apng|heic|heif|heics|hif|avif|avifs|bpg|qoi|dib|tga|ico|pcx|pbm|pnm|pam|pfm|psd|xcf|svg"
    r"|exr|hdr|dds|cr2|cr3|nef|arw|dng|orf|rw2|raf|pef|srw)"
    r"|[.](?:jpe?g|png|bmp|tiff?|webp|gif)[^a-z0-9.].*)"
)
"""Matches names of images that torchvision passes over. The last line is for downloads such as
``1.jpg:large`` and ``1.jpeg_large``."""


def split_folder(split: str) -> str:
    """Return the name of a split's folder in root: ``train``, ``val`` or ``test``. Tars are in root
    itself."""
    return "" if split == TARS else split.lower()


def is_image(name: str) -> bool:
    """Return whether torchvision treats a file as an image, judging by its name."""
    return name.lower().endswith(IMG_EXTENSIONS)


def other_suffix(name: str) -> str:
    """Return the suffix of a file that looks like an image but is none to torchvision.

    The result is empty for all other files.

    Example:
        >>> other_suffix("cat/1.JFIF"), other_suffix("1.jpg_large"), other_suffix("1.jpg")
        ('.jfif', '.jpg_large', '')
    """
    if name.startswith(".") or is_image(name):
        return ""
    found = re.fullmatch(OTHER_IMAGES, name)
    return found[1].lower() if found else ""


def name_parts(split: str, class_id: str) -> tuple[str, int]:
    """Return the text before the number in an image's name, and the minimum number of digits."""
    return (f"{class_id}_", 1) if split == "TRAIN" else (f"ILSVRC2012_{split.lower()}_", 8)


def image_name(split: str, class_id: str, actual_index: int) -> str:
    """Return the file name that DINOv3 opens in the class folder (for TEST, in ``test/``)."""
    prefix, digits = name_parts(split, class_id)
    return f"{prefix}{actual_index:0{digits}d}.JPEG"


def image_path(split: str, class_id: str, actual_index: int) -> str:
    """Return the path below root that DINOv3 opens. For TEST, ``class_id`` is empty."""
    folder = f"{split_folder(split)}/{class_id}" if class_id else split_folder(split)
    return f"{folder}/{image_name(split, class_id, actual_index)}"


def escaped(path: str) -> str:
    """Return a path as it can be in the string that names a dataset for DINOv3.

    DINOv3 splits that string at each ``:`` and ``=``, and OmegaConf reads it as YAML. What they
    would take for something else is written as in a URL. The launcher understands this.

    Example:
        >>> escaped("/data/a=b: c"), escaped("/data/100%")
        ('/data/a%3Db%3A c', '/data/100%')
    """
    special = r"[:=]|(?<=\s)#|\$(?=\{)|[\0-\x1f]"
    if not re.search(special, path):
        return path
    return re.sub(f"{special}|%", lambda found: f"%{ord(found[0]):02X}", path)


def unescaped(path: str) -> str:
    """Return the path that ``escaped`` was given. A path that exists as it is written is meant so.

    Example:
        >>> unescaped("/data/a%3Db")
        '/data/a=b'
    """
    if "%" not in path or os.path.lexists(os.path.expanduser(path)):
        return path
    return re.sub("%([01237][0-9A-F])", lambda found: chr(int(found[1], 16)), path)


def trailing_number(image: str) -> int | None:
    """Return the number at the end of an image's name, before the suffix.

    The result is None if there is no number, or if it is too large for ``actual_index``.

    Example:
        >>> trailing_number("holiday/IMG_0012.jpg")
        12
    """
    stem, _, suffix = image.rpartition(".")
    digits = "" if "/" in suffix else stem[len(stem.rstrip("0123456789")) :]
    number = digits.lstrip("0") or digits[:1]
    short = 0 < len(number) <= len(str(MAX_INDEX))
    return int(number) if short and int(number) <= MAX_INDEX else None


def index_of(split: str, class_id: str, name: str) -> int | None:
    """Return the ``actual_index`` for which ``image_name`` gives ``name``; None if there is none.

    An image that has such a name and is in the folder of its class is called addressable.

    Example:
        >>> index_of("VAL", "n01440764", "ILSVRC2012_val_00000293.JPEG")
        293
    """
    number = trailing_number(name)
    good = number is not None and image_name(split, class_id, number) == name
    return number if good else None


def owner_of_number(split: str, class_id: str, images: Collection[str]) -> str:
    """Return which of several images of a class has the number at the end of all their names: the
    one with the name that DINOv3 uses for it, or the highest of these in the folders.

    The result is empty if there is no such image, or if several are equally high.

    Example:
        >>> owner_of_number("TRAIN", "cat", ["a/cat_1.jpg", "a/cat_1.JPEG", "a/b/cat_1.JPEG"])
        'a/cat_1.JPEG'
    """
    named = [one for one in images if index_of(split, class_id, os.path.basename(one)) is not None]
    depth = min((one.count("/") for one in named), default=0)
    highest = [one for one in named if one.count("/") == depth]
    return highest[0] if len(highest) == 1 else ""


def why_not_addressable(name: str, split: str, class_id: str, known: Collection[int]) -> str:
    """Return the reason why DINOv3 cannot open an image, as a phrase for a message.

    Args:
        name: The image's path below the folder of its class.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        class_id: The image's class; empty for TEST.
        known: The numbers of the addressable images in the same folder. If DINOv3 would open one of
            these instead, the phrase says so.
    """
    try:
        number = int(os.path.splitext(name)[0].split("_")[-1])  # as DINOv3 parses the name
    except ValueError:
        return "no number before the suffix"
    if number > MAX_INDEX:
        return f"its number is above {MAX_INDEX}"
    if number < 0:
        return "its number is below 0"
    rebuilt = image_name(split, class_id, number)
    where = f"{class_id}/{rebuilt}" if class_id else rebuilt
    return f"DINOv3 would open {where}" + (", another image" if number in known else "")
