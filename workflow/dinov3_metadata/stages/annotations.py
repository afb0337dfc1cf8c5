"""Annotations: a file with the classes of a split's images, where their folders do not tell."""

import re
from collections.abc import Callable

from ..disk import read_file
from ..errors import MetadataError
from ..fingerprint import check_content, digest


def read_annotations(
    path: str, fingerprint: str, read: Callable[[str], tuple[str, str]]
) -> dict[str, str]:
    """Read such a file.

    Args:
        path: The file, with an image a line.
        fingerprint: The one that the file must still have; empty if it does not matter.
        read: Reads an image and its class id from a line, see ``layouts.Part``.

    Returns:
        Image -> class id.

    Raises:
        DatasetChangedError: The file has changed.
        MetadataError: It cannot be read, or a line is not of the expected form.
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
