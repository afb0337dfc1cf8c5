"""Tar images: read one image from a tar, at the place that its row tells.

Nothing stays open or mapped from one image to the next: of thousands of tars, a training that
shuffles would seldom find one that is.
"""

from __future__ import annotations

import os
import struct
import zlib
from gzip import BadGzipFile, GzipFile
from io import BytesIO

from .disk import open_regular
from .errors import MetadataError
from .paths import StrPath
from .tar_headers import BLOCK, HeaderError, quoted, read_header

GZIP = b"\x1f\x8b"
LARGEST = 1 << 30  # most bytes of an image, unpacked
IN_HEADER = 99  # bytes; a longer name is in a block before the header


def read_image(tar: StrPath, start: int, end: int, name: str) -> bytes:
    """Return the bytes of an image in a tar. If it is compressed by gzip, it is unpacked.

    Args:
        tar: The tar.
        start, end: Where its header begins and where the next member does, in bytes, see
            ``tars.Members``.
        name: Its path in the tar, as its row has it.

    Raises:
        MetadataError: The image is not there: the tar was replaced since its metadata was made.
        OSError: It cannot be read, or unpacked.
    """
    with open_regular(tar) as file:
        block = os.pread(file.fileno(), end - start, start)
    data = data_of(block, name)
    if data is None:
        raise MetadataError(
            f"{tar}: {name} is not at byte {start:,}, so the tar has changed since the metadata "
            "was made. Run snakemake or dinov3_metadata.dump_extra again."
        )
    if data[:2] != GZIP:
        return data
    try:
        unpacked = GzipFile(fileobj=BytesIO(data)).read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadGzipFile(f"{tar}: {name} cannot be unpacked: {error}") from None
    if len(unpacked) > LARGEST:
        raise BadGzipFile(f"{tar}: {name} has more than {LARGEST:,} bytes when it is unpacked")
    return unpacked


def data_of(block: bytes, name: str) -> bytes | None:
    """Return the data of a member; None if this is another one, or a part of one.

    Args:
        block: The bytes from its header on.
        name: Its path in the tar, see ``read_image``.
    """
    try:
        header = read_header(block[:BLOCK])
    except (HeaderError, struct.error):
        return None
    is_short = len(name) <= IN_HEADER and name.isascii()
    if BLOCK + header.size > len(block) or (is_short and quoted(header.name) != name):
        return None
    return block[BLOCK : BLOCK + header.size]
