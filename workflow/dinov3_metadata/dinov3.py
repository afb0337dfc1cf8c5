"""DINOv3: let unmodified DINOv3 and DINOv2 make our metadata, and train on datasets of any size.

Their ``ImageNet`` only knows the lengths of ImageNet-1k's splits. For any other dataset, ``len()``
raises a bare ``AssertionError``. ``use_metadata_lengths`` makes it use the lengths in the metadata,
in the current process, and makes its ``dump_extra()`` run this program's chain. The launcher does
so in every process that a command starts, see ``launcher``:

    python -m dinov3_metadata.dinov3 -- torchrun dinov3/train/train.py ...

Source: ``ImageNet.__len__``, ``ImageNet.dump_extra`` and ``ImageNet.Split[...].length`` in
``data/datasets/image_net.py`` of facebookresearch/dinov3 and facebookresearch/dinov2. This module
uses the standard library alone.
"""

from __future__ import annotations  # DINOv2's own environment has Python 3.9

import json
import logging
import os
import sys
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from .addresses import SPLITS
from .disk import read_file
from .errors import MetadataError
from .paths import StrPath, path_of
from .replace import is_torn, torn

MODULES = ("dinov3.data.datasets.image_net", "dinov2.data.datasets.image_net")

PATIENCE = 2  # seconds; a publication takes a few milliseconds
SMALL = 1 << 20  # bytes of metadata-SPLIT.json; it has a few kilobytes


def use_metadata_lengths(extra: StrPath | None = None) -> None:
    """Make ``ImageNet`` of DINOv3 and DINOv2 take its lengths from the metadata, and make ours.

    ``len(dataset)`` then returns the number of images in the ``metadata-SPLIT.json`` of the
    dataset's own ``extra``. Call this before training, in each process that asks for lengths: in
    each rank, but not in the workers of a DataLoader. DINOv3's modules may be imported before or
    after the call.

    ``dataset.dump_extra()`` then makes or updates the metadata of the dataset's split as
    ``dinov3_metadata.dump_extra`` does, see ``loop.dump_split``. That needs Python 3.10. On an
    older Python, DINOv3's own ``dump_extra()`` runs, and a warning says so.

    Args:
        extra: A folder with metadata. ``ImageNet.Split[...].length`` then returns its lengths, too.
            Without it, and for splits that it does not contain, that stays ImageNet-1k's length.

    Raises:
        MetadataError: There is no ``metadata-SPLIT.json`` in ``extra``, or DINOv3's module is not a
            known version. If that module is imported later, a warning is given at its import
            instead.

    Example:
        >>> use_metadata_lengths()
        >>> from dinov3.data.datasets import ImageNet
    """
    lengths = {}
    if extra is not None:
        for split in SPLITS:
            with suppress(FileNotFoundError):
                lengths[split] = _length(extra, split)
        if not lengths:
            raise MetadataError(
                f"There is no metadata-SPLIT.json in {extra}. Make the metadata first, with "
                "snakemake or dinov3_metadata.dump_extra."
            )
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    sys.meta_path.insert(0, _Finder(lambda module: _try_to_patch(module, lengths)))
    for name in MODULES:
        if name in sys.modules:
            _patch(sys.modules[name], lengths)


def _length(extra: StrPath, split: str) -> int:
    path = Path(path_of(os.path.expanduser(extra), "metadata", split=split))
    images = None
    try:
        about = json.loads(read_file(path, SMALL))
        images = about.get("images") if isinstance(about, dict) else None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise MetadataError(f"{path}: {error.strerror}.") from None
    except (ValueError, RecursionError, MemoryError):
        pass  # the error is raised below
    if type(images) is not int or images < 0:
        raise MetadataError(
            f"{path} is incomplete or damaged. Run snakemake or dinov3_metadata.dump_extra again."
        )
    return images


def _try_to_patch(module: ModuleType, lengths: dict[str, int]) -> None:
    """Patch a module, or leave it unchanged and warn: perhaps nobody asks for its lengths."""
    try:
        _patch(module, lengths)
    except MetadataError as error:
        warnings.warn(str(error), stacklevel=2)


def _patch(module: ModuleType, lengths: dict[str, int]) -> None:
    """Replace ``__len__`` and ``dump_extra`` of ``ImageNet``, and ``length`` of its splits."""
    try:
        dataset, split = module.ImageNet, module.ImageNet.Split
        known = getattr(vars(split)["length"].fget, "known", vars(split)["length"].fget)
    except (AttributeError, KeyError) as error:
        raise MetadataError(
            f"{module.__name__} is not the version that this program knows: {error}. Set the "
            "lengths in its code."
        ) from None

    def length(self: Any) -> int:
        return lengths.get(self.name) or known(self)

    checked: dict[int, weakref.ref[Any]] = {}  # id of each checked array -> the array

    def length_of(self: Any) -> int:
        """Return the number of rows of the mapped array.

        Each array is checked only once: a training continues with the files that it has mapped,
        even if a later publication replaces them.
        """
        end = time.monotonic() + PATIENCE
        while True:
            if getattr(self, "_entries", None) is None:
                with suppress(OSError):  # opening it makes an NFS client ask for the current files
                    os.scandir(os.path.expanduser(self._extra_root)).close()
            entries = self._get_entries()
            known = checked.get(id(entries))
            if known and known() is entries:
                break
            error = _why_not(self, len(entries))
            if error is None:
                checked[id(entries)] = weakref.ref(entries, partial(_forget, checked, id(entries)))
                break
            if time.monotonic() > end:
                raise error
            self._entries = None  # map it again: the files may just be being replaced
            time.sleep(0.02)
        return len(entries)

    vars(length)["known"] = known
    split.length = property(length)
    dataset.__len__ = length_of
    if hasattr(dataset, "dump_extra"):  # a fork for training alone may have removed it
        theirs = getattr(dataset.dump_extra, "theirs", dataset.dump_extra)
        dataset.dump_extra = _make_dump_extra(theirs, module.__name__.partition(".")[0])


def _make_dump_extra(theirs: Callable[[Any], None], package: str) -> Callable[[Any], None]:
    """Return the function that replaces ``ImageNet.dump_extra``.

    Args:
        theirs: The original function, for a Python that cannot run ours.
        package: The name of DINOv3's or DINOv2's package, which is also that of its logger.
    """

    def dump_extra(self: Any) -> None:
        try:
            if sys.version_info < (3, 10):  # noqa: UP036
                raise ImportError("it needs Python 3.10 or newer")
            from .loop import dump_split
        except ImportError as error:
            warnings.warn(
                f"{package}'s own dump_extra runs, because that of dinov3_metadata cannot: {error}",
                stacklevel=2,
            )
            theirs(self)
        else:
            dump_split(self, logging.getLogger(package))

    vars(dump_extra)["theirs"] = theirs
    return dump_extra


def _why_not(dataset: Any, rows: int) -> MetadataError | None:
    """Return an error if an array with so many rows does not match the metadata; otherwise None."""
    extra, split = dataset._extra_root, dataset.split.name
    try:
        expected = _length(extra, split)
    except FileNotFoundError:
        expected = dataset.split.length
    except MetadataError as error:
        return error
    if rows != expected:
        return MetadataError(
            f"entries-{split}.npy in {extra} has {rows:,} rows, but {expected:,} are expected from "
            f"metadata-{split}.json (or, without it, for ImageNet-1k). Run snakemake or "
            "dinov3_metadata.dump_extra again."
        )
    if is_torn(os.path.expanduser(extra), split):
        return torn(extra, split)
    return None


def _forget(checked: dict[int, weakref.ref[Any]], number: int, gone: weakref.ref[Any]) -> None:
    """Forget an array that was freed, because another array may get its id."""
    if checked.get(number) is gone:
        del checked[number]


class _Finder(MetaPathFinder):
    """An import hook that calls a function with each of ``MODULES`` after its import."""

    def __init__(self, then: Callable[[ModuleType], None]) -> None:
        self.then = then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in MODULES:
            return None
        others = [
            finder
            for finder in sys.meta_path
            if finder is not self and hasattr(finder, "find_spec")
        ]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, specs), None)
        if spec and spec.loader:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                if module.__name__ in MODULES:  # all modules of a zip file share one loader
                    self.then(module)

            vars(spec.loader)["exec_module"] = exec_module
        return spec


if __name__ == "__main__":
    from .launcher import main

    main(sys.argv[1:])
