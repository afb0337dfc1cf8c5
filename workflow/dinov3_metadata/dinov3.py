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
import struct
import sys
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import reads, resume, workers
from .access import check_readable, refused
from .addresses import SPLITS
from .disk import read_file
from .errors import MetadataError, logger
from .hooks import after_import, is_hooked
from .path_table import PathTable
from .paths import StrPath, absolute, file_name, path_of, published_paths
from .read_images import SHA256, read_images

MODULES = ("dinov3.data.datasets.image_net", "dinov2.data.datasets.image_net")

PATIENCE = 2  # seconds; a publication takes a few milliseconds
if TYPE_CHECKING:
    from .read_images import Tables

SMALL = 1 << 20  # bytes of metadata-SPLIT.json; it has a few kilobytes


def use_metadata_lengths(
    extra: StrPath | None = None,
    output_dir: StrPath | None = None,
    *,
    bad_images: str | None = None,
    keep_gc_off: bool = False,
) -> None:
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
        output_dir: The output folder of the training, if the launcher does not know it. A training
            that resumes then stops if the metadata has changed since it began, see ``resume``.
        bad_images: ``stop``, or ``replace`` to read another image of the class in place of one that
            cannot be read or decoded, see ``reads``; None for what the launcher was told.
        keep_gc_off: Whether the workers of a DataLoader leave garbage collection as the training
            sets it, see ``workers``.

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
    if output_dir is not None:
        os.environ[resume.OUTPUT] = absolute(output_dir)
    if bad_images is not None:
        os.environ[reads.BAD_IMAGES] = bad_images
    if keep_gc_off:
        os.environ[workers.KEEP_GC_OFF] = "1"
    patch = partial(_or_warn, partial(_patch, lengths=lengths))
    collect = partial(_or_warn, workers.collect_in_workers)
    after_import({**dict.fromkeys(MODULES, patch), workers.MODULE: collect})
    for name in MODULES:
        if name in sys.modules:
            _patch(sys.modules[name], lengths)
    if workers.MODULE in sys.modules:
        collect(sys.modules[workers.MODULE])


def _length(extra: StrPath, split: str) -> int:
    """Return the number of images of a split."""
    return _described(extra, split).images


def _described(extra: StrPath, split: str) -> resume.Rows:
    """Return what ``metadata-SPLIT.json`` says about the rows of a split.

    Raises:
        FileNotFoundError: There is no metadata.
        MetadataError: It is damaged.
    """
    path = path_of(os.path.expanduser(extra), "metadata", split=split)
    images, files = None, {}
    try:
        about = json.loads(read_file(path, SMALL))
        files = {name: one["sha256"] for name, one in about.get("files", {}).items()}
        images, classes = about["images"], about.get("classes", 0)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(error, reads=True) from None
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError, MemoryError):
        pass  # the error is raised below
    if type(images) is not int or images < 0 or not {*map(type, files.values())} <= {str}:
        raise MetadataError(
            f"{path} is incomplete or damaged. Run snakemake or dinov3_metadata.dump_extra again."
        )
    return resume.Rows(images, classes, files)


def _or_warn(change: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Change a module, or leave it unchanged and warn: perhaps nobody uses it."""
    try:
        change(module)
    except MetadataError as error:
        warnings.warn(str(error), stacklevel=2)


def _patch(module: ModuleType, lengths: dict[str, int]) -> None:
    """Replace ``__len__`` and ``dump_extra`` of ``ImageNet``, and ``length`` of its splits; and
    change how it reads images, see ``read_images``."""
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
    tables: Tables = weakref.WeakKeyDictionary()

    def entries_of(self: Any) -> Any:
        """Return the mapped array, and map the table of paths that belongs to it.

        Each array is checked only once: a training continues with the files that it has mapped,
        even if a later publication replaces them.
        """
        end = time.monotonic() + PATIENCE
        before = getattr(self, "_entries", None)
        while True:
            new = None  # what is mapped here and now
            if getattr(self, "_entries", None) is None:
                folder, split = os.path.expanduser(self._extra_root), self.split.name
                with suppress(OSError):  # opening it makes an NFS client ask for the current files
                    os.scandir(folder).close()
                with suppress(OSError, MetadataError):
                    new = _described(folder, split)
                check_readable(published_paths(folder, split))
            entries = self._get_entries()
            known = checked.get(id(entries))
            if known and known() is entries:
                break
            pinned = SHA256 in vars(self)  # the array came from another process
            error, table = _check(self, len(entries), new)
            if error is None and table and before is not None and not pinned:
                if before is not entries and not _same(before, entries):
                    raise _replaced(self)
                if before is entries:  # mapped at an unknown time: map it with the table
                    self._entries = None
                    continue
            if error is None:
                if new:
                    self._entries = None  # if these are other rows, the next call says so, too
                    resume.check(folder, split, new)
                    self._entries = entries
                vars(self).pop(SHA256, None)
                tables[self] = table
                checked[id(entries)] = weakref.ref(entries, partial(_forget, checked, id(entries)))
                break
            if time.monotonic() > end:
                raise error
            if not pinned:
                self._entries = None  # map it again: the files may just be being replaced
            time.sleep(0.02)
        return entries

    vars(length)["known"] = known
    split.length = property(length)
    dataset.__len__ = lambda self: len(entries_of(self))
    lacks = [name for name in ("get_image_data", "__getitem__") if not hasattr(dataset, name)]
    lacks += [] if hasattr(split, "get_image_relpath") else ["Split.get_image_relpath"]

    def table_of(self: Any) -> tuple[str, PathTable] | None:
        if self not in tables:
            entries_of(self)
        return tables[self]

    if not lacks:
        read_images(dataset, split, table_of, tables, _rebuilt)
    else:
        logger.warning(
            "%s.ImageNet is not the version that this program knows: it has no %s. So it reads "
            "images as it does by itself, and ends at the first that it cannot read.",
            *(module.__name__, " and no ".join(lacks)),
        )
    if hasattr(dataset, "dump_extra"):  # a fork for training alone may have removed it
        theirs = getattr(dataset.dump_extra, "theirs", dataset.dump_extra)
        dataset.dump_extra = _make_dump_extra(theirs, module.__name__.partition(".")[0])


def _rebuilt(kind: type, *_: Any) -> Any:
    """Make an ``ImageNet`` in a process that was given a pickled one, and patch its class there, as
    a worker that was spawned may not have been started by the launcher."""
    if not is_hooked():
        use_metadata_lengths()
    return object.__new__(kind)


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


def _check(
    dataset: Any, rows: int, before: resume.Rows | None
) -> tuple[MetadataError | None, tuple[str, PathTable] | None]:
    """Return an error if an array with so many rows does not match the metadata, otherwise None;
    and the table of their paths, if there is one.

    Args:
        dataset, rows: The dataset, and the number of rows of its array.
        before: What was described before the array was mapped, if it was mapped just now.
    """
    try:
        described = _described(dataset._extra_root, dataset.split.name)
    except FileNotFoundError:
        described = resume.Rows(int(dataset.split.length), 0, {})
    except MetadataError as error:
        return error, None
    try:
        if before and before != described:
            from .replace import torn  # few processes need it, but all import this module

            raise torn(dataset._extra_root, dataset.split.name)
        return None, _table(dataset, rows, described)
    except MetadataError as error:
        return error, None


def _table(dataset: Any, rows: int, described: resume.Rows) -> tuple[str, PathTable] | None:
    """Return the sha256 and the table of the paths of a dataset; None if DINOv3 rebuilds them.

    Raises:
        MetadataError: The metadata does not have so many rows, or does not belong together.
    """
    from .replace import is_torn, torn

    extra, split = dataset._extra_root, dataset.split.name
    expected, sha256 = described.images, _sha256_of_table(described, split)
    if vars(dataset).get(SHA256, sha256) != sha256:
        raise _replaced(dataset)
    if rows != expected:
        raise MetadataError(
            f"entries-{split}.npy in {extra} has {rows:,} rows, but {expected:,} are expected from "
            f"metadata-{split}.json (or, without it, for ImageNet-1k). Run snakemake or "
            "dinov3_metadata.dump_extra again."
        )
    table = None
    if sha256:
        path = path_of(os.path.expanduser(extra), "paths", split=split)
        try:
            table = sha256, PathTable(path, rows)
        except (OSError, ValueError, struct.error) as error:
            raise MetadataError(
                f"{path} is missing or damaged ({error}). Run snakemake or "
                "dinov3_metadata.dump_extra again."
            ) from None
        if _sha256_of_table(_described(extra, split), split) != sha256:
            raise torn(extra, split)
    if is_torn(os.path.expanduser(extra), split):
        raise torn(extra, split)
    return table


def _sha256_of_table(described: resume.Rows, split: str) -> str:
    return described.files.get(file_name("paths", split=split), "")


def _replaced(dataset: Any) -> MetadataError:
    return MetadataError(
        f"The metadata of {dataset.split.name} in {dataset._extra_root} was replaced since the "
        "dataset was opened. Open it again."
    )


def _same(one: Any, other: Any) -> bool:
    """Return whether two arrays of entries name the same images in the same order."""
    if len(one) != len(other):
        return False
    return all((one[name] == other[name]).all() for name in ("actual_index", "class_index"))


def _forget(checked: dict[int, weakref.ref[Any]], number: int, gone: weakref.ref[Any]) -> None:
    """Forget an array that was freed, because another array may get its id."""
    if checked.get(number) is gone:
        del checked[number]


if __name__ == "__main__":
    from .launcher import main

    main(sys.argv[1:])
