"""Read images: what DINOv3 and DINOv2 do differently under this program when they read an image.

Source: ``ImageNet`` in ``data/datasets/image_net.py`` and ``ExtendedVisionDataset.__getitem__`` in
``data/datasets/extended.py`` of facebookresearch/dinov3 and facebookresearch/dinov2.
"""

from __future__ import annotations  # DINOv2's own environment has Python 3.9

import os
import threading
from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from . import reads
from .addresses import unescaped
from .disk import check_whole
from .errors import MetadataError
from .path_table import PathTable

if TYPE_CHECKING:
    from weakref import WeakKeyDictionary

    Tables = WeakKeyDictionary[Any, "tuple[str, PathTable] | None"]

SHA256 = "_paths_sha256"
"""Where a pickled dataset notes the table that belongs to its entries."""


class _Reading(threading.local):
    """The image that a thread reads, or read last.

    Attributes:
        tabled: Its path below root by the table of paths, while it is read; None without a table.
        path: Its path below root; empty if it is not known.
        has_content: Whether its file was read.
    """

    tabled: str | None = None
    path = ""
    has_content = False


def read_images(
    dataset: Any,
    split: Any,
    table_of: Callable[[Any], tuple[str, PathTable] | None],
    tables: Tables,
    rebuilt: Callable[..., Any],
) -> None:
    """Let ``ImageNet`` read the images of a dataset by the table of their paths, if it has one; and
    read them again, or others in their place, see ``reads``.

    While an image is read, ``get_image_relpath`` of its split returns the path of its row.

    Args:
        dataset, split: ``ImageNet`` and the enum of its splits.
        table_of: Returns the sha256 and the content of the table of a dataset.
        tables: The tables that this process has opened.
        rebuilt: Makes an empty ``ImageNet`` in a process that was given a pickled one.
    """
    start, image_data, item, relpath = (
        getattr(known, "theirs", known)
        for known in (
            *(dataset.__init__, dataset.get_image_data, dataset.__getitem__),
            split.get_image_relpath,
        )
    )
    reading = _Reading()

    @wraps(start)
    def __init__(self: Any, *args: Any, **given: Any) -> None:  # noqa: N807
        for name in given.keys() & {"root", "extra"}:
            given[name] = unescaped(os.fspath(given[name]))
        start(self, *args, **given)

    @wraps(image_data)
    def get_image_data(self: Any, index: int) -> bytes:
        reading.path, reading.has_content = "", False
        table = table_of(self)

        def read() -> bytes:
            reading.tabled = table and table[1][index]
            try:
                content: bytes = image_data(self, index)
            finally:
                reading.tabled = None
            if path := path_of_last(self):
                check_whole(content, os.stat(path).st_size, path)
            return content

        content = reads.again(read, partial(path_of_last, self))
        reading.has_content = True
        return content

    @wraps(relpath)
    def get_image_relpath(self: Any, actual_index: int, class_id: str | None = None) -> str:
        reading.path = reading.tabled or relpath(self, actual_index, class_id)
        return reading.path

    def path_of_last(self: Any, row: int = -1) -> str:
        return os.path.join(self.root, reading.path) if reading.path else ""

    @wraps(item)
    def __getitem__(self: Any, index: int) -> Any:  # noqa: N807
        def read(row: int) -> Any:
            try:
                return item(self, row)
            except RuntimeError as error:
                if isinstance(error.__cause__, MetadataError):
                    raise error.__cause__ from None
                raise

        def images() -> reads.Images:
            return reads.Images(
                *(self.root, os.path.expanduser(self._extra_root), self.split.name),
                rows=len(self._get_entries()),
                class_of=lambda row: int(self._get_entries()[row]["class_index"]),
                path_of=partial(path_of_last, self),
                replaces=os.environ.get(reads.BAD_IMAGES) == "replace",
                otherwise="`--bad-images replace` before the -- reads others of its class instead.",
            )

        return reads.read_or_replace(images, index, read, fault)

    def fault(error: Exception) -> Exception | None:
        """Return what is wrong with an image, as ``ExtendedVisionDataset`` found it."""
        if not str(error).startswith("can not read image for sample"):
            return None
        cause = error.__cause__
        if isinstance(cause, OSError) or (reading.has_content and isinstance(cause, Exception)):
            return cause
        return None

    def __reduce_ex__(self: Any, protocol: int) -> Any:  # noqa: N807
        made: tuple[Any, ...] = object.__reduce_ex__(self, protocol)  # type: ignore[assignment]
        _, arguments, state, *rest = made
        if table := tables.get(self):
            state = vars(self) | {SHA256: table[0]}
        return (rebuilt, arguments, state, *rest)

    for patched, theirs in (
        (__init__, start),
        (get_image_data, image_data),
        (__getitem__, item),
        (get_image_relpath, relpath),
    ):
        vars(patched)["theirs"] = theirs
    dataset.__init__, dataset.get_image_data = __init__, get_image_data
    dataset.__getitem__, dataset.__reduce_ex__ = __getitem__, __reduce_ex__
    split.get_image_relpath = get_image_relpath
