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
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import resume
from .access import check_readable, refused
from .addresses import SPLITS, unescaped
from .disk import read_file
from .errors import MetadataError
from .path_table import PathTable
from .paths import StrPath, absolute, file_name, path_of, published_paths

MODULES = ("dinov3.data.datasets.image_net", "dinov2.data.datasets.image_net")

PATIENCE = 2  # seconds; a publication takes a few milliseconds
_SHA256 = "_paths_sha256"
"""Where a pickled dataset notes the table that belongs to its entries."""

if TYPE_CHECKING:
    Tables = weakref.WeakKeyDictionary[Any, "tuple[str, PathTable] | None"]

SMALL = 1 << 20  # bytes of metadata-SPLIT.json; it has a few kilobytes


def use_metadata_lengths(extra: StrPath | None = None, output_dir: StrPath | None = None) -> None:
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
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    sys.meta_path.insert(0, _Finder(lambda module: _try_to_patch(module, lengths)))
    for name in MODULES:
        if name in sys.modules:
            _patch(sys.modules[name], lengths)


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


def _try_to_patch(module: ModuleType, lengths: dict[str, int]) -> None:
    """Patch a module, or leave it unchanged and warn: perhaps nobody asks for its lengths."""
    try:
        _patch(module, lengths)
    except MetadataError as error:
        warnings.warn(str(error), stacklevel=2)


def _patch(module: ModuleType, lengths: dict[str, int]) -> None:
    """Replace ``__len__`` and ``dump_extra`` of ``ImageNet``, and ``length`` of its splits; and let
    it read images by the table of their paths, if there is one."""
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
            pinned = _SHA256 in vars(self)  # the array came from another process
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
                vars(self).pop(_SHA256, None)
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
    if hasattr(dataset, "get_image_data") and hasattr(split, "get_image_relpath"):

        def table_of(self: Any) -> tuple[str, PathTable] | None:
            if self not in tables:
                entries_of(self)
            return tables[self]

        _read_by_path(dataset, split, table_of, tables)
    if hasattr(dataset, "dump_extra"):  # a fork for training alone may have removed it
        theirs = getattr(dataset.dump_extra, "theirs", dataset.dump_extra)
        dataset.dump_extra = _make_dump_extra(theirs, module.__name__.partition(".")[0])


def _read_by_path(
    dataset: Any,
    split: Any,
    table_of: Callable[[Any], tuple[str, PathTable] | None],
    tables: Tables,
) -> None:
    """Let ``ImageNet`` read the images of a dataset by the table of their paths, if it has one.

    While an image is read, ``get_image_relpath`` of its split returns the path of its row.

    Args:
        dataset, split: ``ImageNet`` and the enum of its splits.
        table_of: Returns the sha256 and the content of the table of a dataset.
        tables: The tables that this process has opened.
    """
    start, image_data, relpath = (
        getattr(known, "theirs", known)
        for known in (dataset.__init__, dataset.get_image_data, split.get_image_relpath)
    )
    reading = threading.local()

    @wraps(start)
    def __init__(self: Any, *args: Any, **given: Any) -> None:  # noqa: N807
        for name in given.keys() & {"root", "extra"}:
            given[name] = unescaped(os.fspath(given[name]))
        start(self, *args, **given)

    @wraps(image_data)
    def get_image_data(self: Any, index: int) -> bytes:
        table = table_of(self)
        reading.path = table and table[1][index]
        try:
            return image_data(self, index)
        finally:
            reading.path = None

    @wraps(relpath)
    def get_image_relpath(self: Any, actual_index: int, class_id: str | None = None) -> str:
        return getattr(reading, "path", None) or relpath(self, actual_index, class_id)

    def __reduce_ex__(self: Any, protocol: int) -> Any:  # noqa: N807
        made: tuple[Any, ...] = object.__reduce_ex__(self, protocol)  # type: ignore[assignment]
        function, arguments, state, *rest = made
        if table := tables.get(self):
            function, state = _rebuilt, vars(self) | {_SHA256: table[0]}
        return (function, arguments, state, *rest)

    for patched, theirs in (
        (__init__, start),
        (get_image_data, image_data),
        (get_image_relpath, relpath),
    ):
        vars(patched)["theirs"] = theirs
    dataset.__init__, dataset.get_image_data = __init__, get_image_data
    dataset.__reduce_ex__, split.get_image_relpath = __reduce_ex__, get_image_relpath


def _rebuilt(kind: type, *_: Any) -> Any:
    """Make an ``ImageNet`` in a process that was given a pickled one, and patch its class there, as
    a worker that was spawned may not have been started by the launcher."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
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
    if vars(dataset).get(_SHA256, sha256) != sha256:
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


class _Finder:
    """An import hook that calls a function with each of ``MODULES`` after its import.

    ``MetaPathFinder`` is no base of it, as to import that takes longer than all else here.
    """

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
