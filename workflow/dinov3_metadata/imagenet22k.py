"""ImageNet-22k: let unmodified DINOv3 and DINOv2 train from the tars, see ``dinov3``.

Their ``ImageNet22k`` cannot make its own files, and that of DINOv3 cannot read an image, because it
passes its arguments on in another order than its base class takes them. Both know by heart which
images are compressed by gzip, in one version of the dataset.

Source: ``data/datasets/image_net_22k.py`` and ``extended.py`` of facebookresearch/dinov3 and
facebookresearch/dinov2. This module uses the standard library alone, and runs on Python 3.9.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from . import resume
from .addresses import TARS, unescaped
from .errors import MetadataError
from .paths import StrPath
from .replace import is_torn, torn

PATIENCE = 2  # seconds; a publication takes a few milliseconds

DECODERS = ("image_decoder", "target_decoder")


class AllRows:
    """Contains every row: what begins as gzip's data does is unpacked, whatever its row."""

    def __contains__(self, row: object) -> bool:
        return True


def patch(module: ModuleType, described: Callable[[StrPath, str], resume.Rows]) -> None:
    """Mend ``ImageNet22k``, and let its ``dump_extra()`` run this program's chain.

    Args:
        module: The module of the class.
        described: Returns what the description in a folder says about its rows.

    Raises:
        MetadataError: It is not a version that this program knows.
    """
    try:
        dataset, base = module.ImageNet22k, module.ExtendedVisionDataset
        start, start_base, load = dataset.__init__, base.__init__, dataset._load_extra
        length, image_data = dataset.__len__, dataset.get_image_data
    except AttributeError as error:
        raise MetadataError(
            f"{module.__name__} is not the version that this program knows: {error}. Its "
            "ImageNet22k stays as it is."
        ) from None
    if hasattr(start, "theirs"):
        return
    if start_base.__code__.co_varnames[1:3] == DECODERS and not hasattr(start_base, "theirs"):

        @wraps(start_base)
        def init_base(self: Any, *args: Any, **given: Any) -> None:
            if args and isinstance(
                args[0], (str, os.PathLike)
            ):  # a root, where decoders come first
                args = (*start_base.__defaults__[:2], *args)
            start_base(self, *args, **given)

        vars(init_base)["theirs"] = start_base
        base.__init__ = init_base

    @wraps(start)
    def init(self: Any, *, root: StrPath, extra: StrPath, **given: Any) -> None:
        root, extra = (unescaped(os.fspath(path)) for path in (root, extra))
        rows, end = _rows(described, extra), time.monotonic() + PATIENCE
        while True:
            start(self, root=root, extra=extra, **given)
            before, rows = rows, _rows(described, extra)
            if before == rows and not is_torn(os.path.expanduser(extra), TARS):
                break
            if time.monotonic() > end:
                raise torn(extra, TARS)
        self._gzipped_indices = AllRows()
        if rows and self._entries is not None:
            if len(self._entries) != rows.images:
                raise torn(extra, TARS)
            resume.check(os.path.expanduser(extra), TARS, rows)

    @wraps(load)
    def load_extra(self: Any, name: str) -> Any:
        try:
            return load(self, name)
        except FileNotFoundError:  # dump_extra() needs an object before there are files
            return None

    def needing(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def checked(self: Any, *args: Any) -> Any:
            if self._entries is None or self._class_ids is None:
                raise MetadataError(
                    f"There is no metadata of the tars in {self._extra_root}. Make it first, with "
                    "snakemake, dinov3_metadata.dump_extra, or dump_extra() of this dataset."
                )
            return function(self, *args)

        return checked

    def dump_extra(self: Any, root: str | None = None) -> None:
        if sys.version_info < (3, 10):  # noqa: UP036
            raise MetadataError(
                "dump_extra() of ImageNet22k needs Python 3.10 or newer. Make the metadata with "
                "`python -m dinov3_metadata` in such a Python."
            )
        from .run import dump_extra as make

        make(root or self.root, self._extra_root)
        self._entries, self._class_ids = load(self, "entries.npy"), load(self, "class-ids.npy")

    vars(init)["theirs"] = start
    dataset.__init__, dataset._load_extra, dataset.dump_extra = init, load_extra, dump_extra
    dataset.__len__, dataset.get_image_data = needing(length), needing(image_data)
    dataset.get_root = lambda self, root=None: root or self.root


def _rows(described: Callable[[StrPath, str], resume.Rows], extra: str) -> resume.Rows | None:
    """Return what is described; None if the files were made by another program."""
    try:
        return described(extra, TARS)
    except FileNotFoundError:
        return None
