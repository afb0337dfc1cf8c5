"""Annotations: a file that gives each image of a split its class, for layouts without class
folders."""

import re
from collections.abc import Callable

from ..disk import read_file
from ..errors import MetadataError
from ..fingerprint import check_content, digest


def read_annotations(
    path: str, fingerprint: str, read: Callable[[str], tuple[str, str]]
) -> dict[str, str]:
    """Read the class of each image from an annotations file.

    Args:
        path: The file, with one image per line.
        fingerprint: The fingerprint that the file must still have; empty to accept any.
        read: Returns the image and its class id from a line, see ``layouts.Part``.

    Returns:
        Image -> class id.

    Raises:
        DatasetChangedError: The file no longer has this fingerprint.
        MetadataError: The file cannot be read, a line does not have the expected form, or two lines
            give an image different classes.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise MetadataError(
            f"{path}, the file with the classes of the images, cannot be read: {error.strerror}."
        ) from None
    check_content(path, digest(content), fingerprint)
    text = content.decode("utf-8-sig", "surrogateescape")
    class_of: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line:
            continue
        try:
            image, class_id = read(line)
        except (ValueError, IndexError):
            image = class_id = ""
        if not class_id or class_id.startswith(".") or re.search(r"[/\0]", class_id):
            raise MetadataError(
                f"{path}, line {number}: {line[:80]!r} does not name an image and its class."
            )
        if class_of.setdefault(image, class_id) != class_id:
            raise MetadataError(
                f"{path}, line {number}: an earlier line gives {image} another class. Remove one "
                "of the two."
            )
    return class_of
