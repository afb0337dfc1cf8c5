"""Image paths: the paths of a split's images, one after another in one buffer of bytes.

A dataset in another layout than DINOv3's needs no links if its images are found by their paths. The
table of these paths is published as ``paths-SPLIT.npy``, see ``path_table``. numpy is imported only
where it is used, as in ``artefacts``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from .addresses import LABELLED, image_path
from .artefacts import Scan, check_members
from .disk import link_target, open_regular
from .errors import MetadataError
from .files import open_array, reading_back, sha256, write_atomically
from .formats import Description, npy_header, read_description
from .paths import StrPath, file_name, path_of

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ImagePaths:
    """The paths below the dataset of the images of a scan, and of others that cannot be opened.

    Attributes:
        text: (bytes,), ``u1``: the paths of the scan's images in its order, and then those of the
            others, class by class.
        ends: (paths,), ``<i8``: where each path ends.
        class_ids: (others,), ``<U``: the class of each of the others.
        numbers: (others,), ``<u4``: its number.
    """

    text: np.ndarray
    ends: np.ndarray
    class_ids: np.ndarray
    numbers: np.ndarray

    def save(self, path: StrPath) -> None:
        """Write the paths to ``path``, an uncompressed ``.npz``."""
        import numpy as np

        with write_atomically(path, self.text.nbytes + self.ends.nbytes) as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: StrPath, scan: Scan) -> ImagePaths:
        """Read what ``save`` wrote.

        Raises:
            DamagedError: The file is damaged, or does not fit the scan.
        """
        import numpy as np

        with reading_back(path), open_regular(path) as file:
            check_members(file)
            with np.load(file, allow_pickle=False) as arrays:
                found = cls(**arrays)
            kinds = [f"{array.dtype.str[1:]}{array.ndim}" for array in vars(found).values()]
            sizes = np.diff(found.ends, prepend=0)
            if not (
                kinds[:2] + kinds[3:] == ["u11", "i81", "u41"]
                and found.class_ids.dtype.kind == "U"
                and len(found.ends) == len(scan.actual_index) + len(found.numbers)
                and len(found.class_ids) == len(found.numbers)
                and sizes.min(initial=1) > 0
                and sizes.sum() == len(found.text)
            ):
                raise ValueError("its arrays do not fit together")
            return found

    def path(self, i: int) -> str:
        """Return one path."""
        start = self.ends[i - 1] if i else 0
        return os.fsdecode(self.text[start : self.ends[i]].tobytes())

    def unopened(self) -> Iterator[tuple[str, str, int]]:
        """Yield the path, the class and the number of each image that cannot be opened."""
        first = len(self.ends) - len(self.numbers)
        for i in range(len(self.numbers)):
            folder, _, name = self.path(first + i).rpartition("./")  # see ``stages.table``
            yield folder + name, str(self.class_ids[i]), int(self.numbers[i])

    def chosen(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the text of the paths at some ascending positions, and the bytes of each."""
        import numpy as np

        size = np.diff(self.ends, prepend=0)
        if len(at) == len(size) - len(self.numbers):  # all images: nothing is copied
            return self.text[: size[: len(at)].sum()], size[: len(at)]
        kept = np.zeros(len(size), bool)
        kept[at] = True
        return self.text[np.repeat(kept, size)], size[at]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return some paths as (paths,) ``S``."""
        import numpy as np

        first = self.ends[start - 1] if start else 0
        size = np.diff(self.ends[start:stop], prepend=first)
        width = int(size.max(initial=1))
        rows = np.zeros((len(size), width), "u1")
        rows[np.arange(width) < size[:, None]] = self.text[first : first + size.sum()]
        return rows.view(f"S{width}")[:, 0]


def read_published(extra: StrPath, split: str) -> tuple[Scan, ImagePaths] | None:
    """Read the images of a split and their paths from the published files; None if they are
    missing, damaged, or do not belong together."""
    import numpy as np

    about, scan = read_description(extra, split), read_entries(extra, split)
    table = _read_array(extra, about, about.table) if about and about.table else None
    if scan is None or table is None:
        return None
    many = len(scan.actual_index) + 1
    width = int(table[:4].view("<u4")[0]) // many
    places = table[: width * many].view(f"<u{width}").astype("<i8")
    none = np.array([], "<U1"), np.array([], "<u4")
    return scan, ImagePaths(table[places[0] :], places[1:] - places[0], *none)


def read_entries(extra: StrPath, split: str) -> Scan | None:
    """Read the images of a split from the published entries; None if they are missing, damaged, or
    not those that are described."""
    import numpy as np

    about = read_description(extra, split)
    entries = _read_array(extra, about, file_name("entries", split=split)) if about else None
    if entries is None:
        return None
    index = entries["class_index"]
    starts = np.flatnonzero(np.diff(index, prepend=index[:1] - 1))
    ids = entries["class_id"][starts] if split in LABELLED else np.array([""])
    counts = np.diff(starts, append=len(index))
    return Scan(ids, counts, entries["actual_index"].copy(), np.array([""]), np.zeros(1, "<i8"))


def _read_array(extra: StrPath, about: Description, name: str) -> np.memmap | None:
    """Map a published array; None if it is missing or not the one that is described."""
    path = os.path.join(extra, name)
    with suppress(MetadataError, OSError):
        if sha256(path) == about.files[name].sha256:
            return open_array(path)
    return None


def read_view(extra: StrPath, split: str, published: str) -> tuple[Scan, ImagePaths] | None:
    """Read the images of a split that was published last by a view, and the paths of the files that
    its links lead to; None if there was no view, or if they cannot be read.

    Args:
        extra, split: The folder for the metadata, and the split.
        published: The name of the scan that was published last; may be empty.
    """
    import numpy as np

    from .readdir import behind

    about = read_description(extra, split)
    if not (about and published) or about.table or about.root == about.dataset:
        return None
    try:
        scan = Scan.load(path_of(extra, "scan", split=split, tree=published))
    except MetadataError:
        return None
    real_path = lru_cache(maxsize=None)(os.path.realpath)
    start, real = f"{about.dataset}/", f"{os.path.realpath(about.dataset)}/"
    links = (behind(about.root, one, real_path) for one in scan.paths(split))
    names = [os.fsencode(one.removeprefix(start).removeprefix(real)) for one in links]
    text, ends = np.frombuffer(b"".join(names), "u1"), np.cumsum([*map(len, names)], dtype="<i8")
    none = np.array([], "<U1"), np.array([], "<u4")
    return scan, ImagePaths(text, ends, *none)


def table_of(text: np.ndarray, size: np.ndarray) -> list[np.ndarray]:
    """Return the bytes of a published table, see ``path_table``: header, places and text.

    Args:
        text: (bytes,), ``u1``: the paths, one after another.
        size: (paths,), ``<i8``: the bytes of each.
    """
    import numpy as np

    places = np.concatenate([[0], np.cumsum(size)])
    width = 4 if len(text) + 4 * len(places) < 2**32 else 8
    places = (places + width * len(places)).astype(f"<u{width}")
    header = npy_header(np.dtype("u1"), places.nbytes + len(text))
    return [np.frombuffer(header, "u1"), places.view("u1"), text]


class Places(Sequence[str]):
    """The path below root of each image of a scan.

    Args:
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        scan: The images.
        table: The file with their paths, see ``ImagePaths``; empty if DINOv3 rebuilds them from the
            numbers.
    """

    def __init__(self, split: str, scan: Scan, table: StrPath = "") -> None:
        self.split, self.scan, self._known = split, scan, None
        self._ids, self._index = scan.class_ids.tolist(), scan.class_index()
        if table:
            self._known, self._at = ImagePaths.load(table, scan), scan.positions_of(scan)

    def some(self, selected: Scan) -> Places:
        """Return the paths of a selection from these images, which are all of the split."""
        chosen = Places(self.split, selected)
        if self._known:
            chosen._known, chosen._at = self._known, self.scan.positions_of(selected)
        return chosen

    @classmethod
    def load(cls, split: str, scan: StrPath, selected: StrPath = "", table: StrPath = "") -> Places:
        """Read the files with all images of a split and, if not all are taken, with those that are.

        Raises:
            DamagedError: A file is damaged.
        """
        places = cls(split, Scan.load(scan), table)
        return places.some(Scan.load(selected)) if selected else places

    def __len__(self) -> int:
        return len(self._index)

    @property
    def tabled(self) -> bool:
        """Whether there is a table."""
        return self._known is not None

    def unopened(self) -> Iterator[tuple[str, str, int]]:
        """See ``ImagePaths.unopened``; nothing if there is no table."""
        return self._known.unopened() if self._known else iter(())

    @property
    def published(self) -> list[np.ndarray]:
        """The bytes of the published table; nothing if there is none."""
        return table_of(*self._known.chosen(self._at)) if self._known else []

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        if self._known:
            return self._known.path(self._at[i])
        class_id = self._ids[self._index[i]]
        return image_path(self.split, class_id, int(self.scan.actual_index[i]))


def name_image(root: StrPath, path: str, is_view: bool) -> dict[str, str]:
    """Return how a document names an image: ``image``, its path below root; and in a view ``file``,
    the file that the link leads to."""
    link = os.path.join(root, path)
    if not (is_view and os.path.islink(link)):
        return {"image": path}
    return {"image": path, "file": os.path.normpath(link_target(link))}
