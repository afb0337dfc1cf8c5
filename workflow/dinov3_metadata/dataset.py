"""Dataset: a torchvision dataset that takes its images and classes from the published metadata.

It does not look at the images when it is opened.
"""

import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from . import resume
from .access import check_readable
from .addresses import LABELLED, SPLITS, image_path, split_folder
from .disk import read_file
from .errors import MetadataError, count, listing
from .files import sha256
from .formats import Description, entries_dtype, npy_header, read_description
from .images import load_image
from .look import finds_folder
from .path_table import PathTable
from .paths import StrPath, absolute, array_names, file_name, path_of, published_paths
from .preflight import view_of
from .published import patiently
from .reads import Images, again, read_or_replace
from .selection import select_of
from .settings import Settings, flatten
from .since import changed_since_published

try:
    from torchvision.datasets import VisionDataset
except ImportError:  # the paths, targets and images need no torchvision

    class VisionDataset:  # type: ignore[no-redef]
        """What ``ImageNetMetadata`` uses of torchvision's class."""

        def __init__(
            self, root: str, transforms: Any, transform: Any, target_transform: Any
        ) -> None:
            if transforms is not None and not transform is target_transform is None:
                raise ValueError("transforms excludes transform and target_transform")
            self.root, self.transforms = root, transforms
            self.transform, self.target_transform = transform, target_transform


PROBES = 16  # rows that are checked against the class arrays when the dataset is opened


class Samples(Sequence[Any]):
    """A sequence of (path, class_index) for all images, like ``ImageFolder.samples``.

    Each pair is made only when it is asked for.
    """

    def __init__(self, dataset: "ImageNetMetadata") -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._dataset.get_path(index), self._dataset.get_target(index)


class ImageNetMetadata(VisionDataset):  # type: ignore[misc]
    """The images of a split, with the same items as ``torchvision.datasets.ImageFolder``.

    Paths and classes come from the metadata in ``extra``. Therefore it takes the same time to open
    ten thousand images and ten million images.

    An item is (image, class_index). For TEST, which has no labels, it is the image alone.

    Each process maps the arrays read-only when it first uses them. Therefore the workers of a
    DataLoader share their memory.

    Args:
        root: The folder that DINOv3 takes as root. If the metadata was made for a view, you can
            also pass the dataset's own folder. With `view: none`, the two are the same.
        extra: The folder with the metadata files.
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        transform, target_transform, transforms: As in torchvision's datasets.
        loader: Takes a path and returns an image. The default is ``images.load_image``.
        select, holdout: The same settings as in config.yaml, which the metadata must have been made
            with; None to take any. They are for a script that must not train on another part.
        check: With ``stat``, check that no folder of the dataset and no file with class names has
            changed since the metadata was made, and read all of the metadata to verify it. With
            None, only compare some rows with the class arrays.
        on_error: What to do with an image that cannot be read or decoded: ``raise``, or ``replace``
            to read the next image of its class, see ``reads``. In any case, an image is read again
            if that failed for a moment.

    Raises:
        MetadataError: The files are missing or do not belong together, were made with another
            ``select`` or ``holdout``, or ``check`` found changes. The message names them.
        ValueError: ``check`` is neither ``stat`` nor None, or ``on_error`` is not one of the two.

    Example:
        >>> dataset = ImageNetMetadata("/data/imagenet", "/data/extra", split="VAL")
        >>> image, class_index = dataset[0]
    """

    def __init__(
        self,
        root: StrPath,
        extra: StrPath,
        split: str = "TRAIN",
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        loader: Callable[[str], Any] = load_image,
        *,
        transforms: Callable[..., Any] | None = None,
        check: str | None = None,
        on_error: str = "raise",
        select: Mapping[str, Any] | None = None,
        holdout: float | None = None,
    ) -> None:
        if split not in SPLITS:
            raise MetadataError(f"split is {split!r}, not one of {', '.join(SPLITS)}.")
        if check not in ("stat", None):
            raise ValueError(f"check is {check!r}, not 'stat' or None")
        if on_error not in ("raise", "replace"):
            raise ValueError(f"on_error is {on_error!r}, not 'raise' or 'replace'")
        self.extra = absolute(extra)
        self.split = split
        check_readable(published_paths(self.extra, split))
        patiently(self.extra, split, partial(self._open, first=0 if check == "stat" else 1))
        if select is not None or holdout is not None:
            self._check_part(select, holdout)
        resume.check(self.extra, split, self._rows())
        root = os.path.expanduser(os.fspath(root)).rstrip("/") or "/"
        root = view_of(root, self._about) or root
        check_readable([root])
        super().__init__(root, transforms, transform, target_transform)
        if self._about.table and not finds_folder(root):
            raise MetadataError(f"There is no folder {root}.")
        inside = os.path.join(root, split_folder(split))
        if not self._about.table and not finds_folder(inside):
            raise MetadataError(f"There is no folder {split_folder(split)}/ in {root}.")
        self.loader, self._joint = loader, transforms is not None
        self._replaces = on_error == "replace"
        changed = check and changed_since_published(self.root, self.extra, split, self._about)
        if changed:
            check_readable(changed)  # what cannot be looked at seems to have changed
            raise MetadataError(
                f"{split}: {count(len(changed), 'folder or file has', 'folders and files have')} "
                f"changed since the metadata in {self.extra} was made:",
                listing(changed, len(changed)),
                "Run snakemake or dinov3_metadata.dump_extra again.",
            )

    def __len__(self) -> int:
        return self._about.images

    def __getitem__(self, index: int) -> Any:
        target = self.get_target(index)  # which is also that of an image in its place
        image = read_or_replace(self._images, index, self._load, lambda error: error)
        if self._joint:
            image, target = self.transforms(image, target)
        else:
            if self.transform is not None:
                image = self.transform(image)
            if self.target_transform is not None and self.split in LABELLED:
                target = self.target_transform(target)
        return (image, target) if self.split in LABELLED else image

    def _load(self, index: int) -> Any:
        path = self.get_path(index)
        return again(partial(self.loader, path), lambda: path)

    def _images(self) -> Images:
        return Images(
            *(self.root, self.extra, self.split, len(self)),
            class_of=lambda row: int(self.entries["class_index"][row]),
            path_of=self.get_path,
            replaces=self._replaces,
            otherwise='`on_error="replace"` reads others of its class instead.',
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": None, "_table": None}  # each worker maps them itself

    @property
    def description(self) -> dict[str, Any]:
        """The content of ``metadata-SPLIT.json``."""
        return asdict(self._about)

    @property
    def digest(self) -> str:
        """A digest of the metadata. It is the same for the same images in the same order, with the
        same classes and names. Save it with a checkpoint, and compare when the training resumes."""
        return resume.digest_of(self._rows())

    @property
    def entries(self) -> np.ndarray:
        """The entries: (images,), ``formats.entries_dtype``, read-only."""
        return self._mapped()[0]

    @property
    def targets(self) -> np.ndarray | None:
        """The class_index of each image: (images,), ``<u4``, in the mapped file; None for TEST."""
        return self.entries["class_index"] if self.split in LABELLED else None

    @property
    def samples(self) -> Samples:
        """(path, class_index) of each image; class_index is None for TEST."""
        return Samples(self)

    imgs = samples

    @property
    def classes(self) -> list[str]:
        """The class ids, in the order of class_index; empty for TEST."""
        return self._mapped()[1].tolist() if self.split in LABELLED else []

    @property
    def class_names(self) -> list[str]:
        """The class names, in the order of class_index; empty for TEST."""
        return self._mapped()[2].tolist() if self.split in LABELLED else []

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class id -> class_index."""
        return {class_id: index for index, class_id in enumerate(self.classes)}

    def get_path(self, index: int) -> str:
        """Return the path of an image."""
        if self._about.table:
            return os.path.join(self.root, self._mapped_table()[index])
        row = self.entries[index]
        path = image_path(self.split, row["class_id"], row["actual_index"])
        return os.path.join(self.root, path)

    def get_target(self, index: int) -> int | None:
        """Return the class_index of an image; None for TEST."""
        return int(self.entries["class_index"][index]) if self.split in LABELLED else None

    def get_class_id(self, index: int) -> str | None:
        """Return the class id of an image; None for TEST."""
        return str(self.entries["class_id"][index]) if self.split in LABELLED else None

    def get_class_name(self, index: int) -> str | None:
        """Return the class name of an image; None for TEST."""
        return str(self.entries["class_name"][index]) if self.split in LABELLED else None

    def extra_repr(self) -> str:
        """Return what ``repr`` shows besides root and length; torchvision calls this."""
        return f"Split: {self.split}\nMetadata: {self.extra}"

    def _rows(self) -> resume.Rows:
        files = {name: one.sha256 for name, one in self._about.files.items()}
        return resume.Rows(self._about.images, self._about.classes, files)

    def _check_part(self, select: Mapping[str, Any] | None, holdout: float | None) -> None:
        about, given = self._about, {"root": self._about.dataset, "extra": self.extra}
        seed = {"select": select} if select is not None else {}
        used = Settings(**flatten({**given, **seed, "holdout": holdout}))
        made: dict[str, Any] = {}
        asked: dict[str, Any] = {}
        if select is not None:
            made, asked = {**about.select}, select_of(used, self.split)
        if holdout is not None:
            made["holdout"] = about.holdout.share if about.holdout else None
            asked["holdout"] = holdout
        made, asked = json.loads(json.dumps([made, asked]))
        if made != asked:
            differing = sorted(
                name for name in {*made, *asked} if made.get(name) != asked.get(name)
            )
            shown = (f"{one}: {made.get(one)}, not {asked.get(one)}" for one in differing)
            raise MetadataError(
                f"{self.split} in {self.extra} was made of another part of the dataset:",
                listing(shown, len(differing)),
                "Run dinov3_metadata.dump_extra, or snakemake, with the same `select` and "
                "`holdout`, or name the folder of that part.",
            )

    def _open(self, first: int) -> None:
        """Read the description and check the arrays; for ``first`` see ``_check``."""
        self._about = describe_split(self.extra, self.split)
        self._paths = [os.path.join(self.extra, name) for name in self._about.files]
        self._arrays: list[np.ndarray] | None = None
        self._table: PathTable | None = None
        self._states = list(map(_state, self._paths))
        self._check(first)

    def _mapped(self) -> list[np.ndarray]:
        """Return the mapped arrays: entries, class ids, class names."""
        if self._arrays is None:
            self._check_states()  # before, because a shorter file cannot be mapped, and after
            arrays = [
                np.asarray(np.memmap(path, dtype, "r", len(npy_header(dtype, rows)), (rows,)))
                for path, dtype, rows in self._expected()
            ]
            self._check_states()
            self._arrays = arrays
        return self._arrays

    def _mapped_table(self) -> PathTable:
        """Return the mapped table of paths."""
        if self._table is None:
            self._check_states()
            table = PathTable(self._paths[-1], len(self))
            self._check_states()
            self._table = table
        return self._table

    def _check_states(self) -> None:
        if list(map(_state, self._paths)) != self._states:
            raise MetadataError(
                f"The metadata of {self.split} in {self.extra} was replaced since the dataset was "
                "opened. Open it again."
            )

    def _expected(self) -> list[tuple[str, np.dtype, int]]:
        """Return the path of each file, and the dtype and the number of its rows as described."""
        about = self._about
        dtype = entries_dtype(about.class_id_length, about.class_name_length)
        types = dtype, dtype["class_id"], dtype["class_name"]
        rows = about.images, about.classes, about.classes
        paths = self._paths[: len(array_names(self.split))]
        return list(zip(paths, types, rows, strict=False))

    def _check(self, first: int) -> None:
        """Check the files against their description, and some entries against the class arrays.

        Args:
            first: The position of the first file whose digest is compared, too.

        Raises:
            MetadataError: The files do not belong together.
        """
        files, expected = list(self._about.files.values()), self._expected()
        last = len(expected) if first else None  # the table is as large as the entries
        try:
            good = (
                all(_starts_with(path, npy_header(dtype, rows)) for path, dtype, rows in expected)
                and [*map(os.path.getsize, self._paths)] == [one.bytes for one in files]
                and [*map(sha256, self._paths[first:last])]
                == [one.sha256 for one in files[first:last]]
            )
            if good and self._about.table:
                self._mapped_table()
            if good:
                entries, *named = self._mapped()
                rows = entries[:: len(entries) // PROBES + 1]
                good = all(
                    np.array_equal(array[rows["class_index"]], rows[column])
                    for column, array in zip(("class_id", "class_name"), named, strict=False)
                )
        except (OSError, ValueError, struct.error, IndexError, TypeError, MemoryError):
            good = False
        if not good:
            described = file_name("metadata", split=self.split)
            raise MetadataError(
                f"The files of {self.split} in {self.extra} do not belong together: "
                f"{', '.join(map(os.path.basename, self._paths))} and {described}. "
                "Run snakemake or dinov3_metadata.dump_extra again."
            )


def describe_split(extra: StrPath, split: str) -> Description:
    """Return the content of ``metadata-SPLIT.json``.

    Raises:
        MetadataError: It is missing or damaged.
    """
    about = read_description(extra, split)
    if about and about.split == split:
        return about
    path = path_of(extra, "metadata", split=split)
    why = f"describes {about.split}" if about else "is incomplete or damaged"
    try:
        read_file(path)
    except FileNotFoundError:
        why = "does not exist"
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    raise MetadataError(
        f"{path} {why}. It is made together with the arrays. Run snakemake or "
        "dinov3_metadata.dump_extra again."
    )


def _state(path: str) -> tuple[int, ...]:
    """Return what distinguishes a file from one that replaces it; zeros if there is no file."""
    try:
        state = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return state.st_ino, state.st_size, state.st_mtime_ns


def _starts_with(path: str, header: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(header)) == header
