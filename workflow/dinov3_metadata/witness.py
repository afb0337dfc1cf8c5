"""Witness: read a split with torchvision's own ``ImageFolder``, imported only on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .addresses import LABELLED, image_path, index_of, is_image, split_folder
from .errors import MetadataError, count, listing
from .layouts import SYSTEM
from .paths import StrPath
from .readdir import behind, special_kind

if TYPE_CHECKING:
    from .artefacts import Scan


def image_folder(folder: Path) -> Any:
    """Return torchvision's ``ImageFolder`` of a split folder. Classes without images are allowed.

    Raises:
        MetadataError: It cannot read the folder.
    """
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(folder, allow_empty=True)
    except OSError as error:
        raise MetadataError(f"torchvision's ImageFolder cannot read {folder}: {error}") from None


def check_witness(
    root: StrPath, split: str, scan: Scan, retired: frozenset[str], is_view: bool
) -> str:
    """Compare the split with an independent listing by ImageFolder, or by ``os.walk`` for TEST.

    Args:
        root, split, retired, is_view: See ``check_files``.
        scan: All images of the split, before any selection.
    """
    folder = Path(root, split_folder(split))
    where = f"the view of {split}" if is_view else folder
    left_out = partial(_is_left_out, folder=folder, retired=retired, is_view=is_view)
    if split in LABELLED:
        witness = "torchvision.datasets.ImageFolder"
        dataset = image_folder(folder)
        classes = [class_id for class_id in dataset.classes if class_id not in retired]
        if classes != scan.class_ids.tolist():
            raise MetadataError(f"{split}: {witness} finds other classes in {where}.")
        found = [os.path.relpath(path, root) for path, _ in dataset.samples if not left_out(path)]
    else:
        witness = "os.walk"
        found = [
            os.path.relpath(os.path.join(above, name), root)
            for above, _, names in os.walk(folder, followlinks=True)
            for name in names
            if is_image(name) and not left_out(os.path.join(above, name))
        ]
        found.sort(key=lambda path: (len(path), path))  # numbers of 8 digits, then of 9
    ours = [*scan.paths(split)]
    known = set(ours)
    others = [path for path in found if path not in known]
    skipped = int(scan.skipped.sum())
    overlooked = [
        path
        for path in others
        if _is_addressable(path, split) and not special_kind(f"{os.fspath(root)}/{path}")
    ]
    shown = overlooked or others
    if overlooked or len(others) != skipped or [path for path in found if path in known] != ours:
        raise MetadataError(
            f"{split}: {witness} finds {count(len(found), 'image')} in {where}, "
            f"{len(others):,} of them not in the entries ({skipped:,} skipped):",
            listing((behind(root, one) if is_view else one for one in shown), len(shown)),
        )
    return f"the whole split against a fresh {witness}"


def check_listing(
    root: StrPath,
    split: str,
    scan: Scan,
    places: Sequence[str],
    *,
    folder: str,
    tops: Sequence[str],
    exact: bool,
) -> str:
    """Compare the images that are found by a table of paths with an independent listing.

    Args:
        root, split: See ``check_files``.
        scan: All images of the split, before any selection.
        places: Their paths.
        folder: The path below root of the folder that the scan's folders are in.
        tops: Those of the scan's folders whose own images belong to no class.
        exact: Whether each image in these folders belongs to the split.
    """
    known: dict[str, set[str]] = {}
    for path in places:
        above, _, name = path.rpartition("/")
        known.setdefault(above, set()).add(name)
    gone, others, found = list[str](), list[str](), 0
    for inside, skipped in zip(scan.folders.tolist(), scan.skipped.tolist(), strict=True):
        if inside in tops:
            continue
        path = "/".join(filter(None, [folder, inside]))
        own = known.pop(path, set())
        with os.scandir(os.path.join(root, path)) as entries:
            names = {one.name for one in entries if is_image(one.name) and not one.is_dir()}
        names = {name for name in names if name[0] != "."}
        found += len(names)
        gone += (os.path.join(path, name) for name in own - names)
        if exact and len(names - own) != skipped:
            others += (os.path.join(path, name) for name in sorted(names - own))
    gone += (f"{above}/{name}" for above, names in known.items() for name in names)
    if shown := [*gone, *others]:
        raise MetadataError(
            f"{split}: os.scandir finds {count(found, 'image')} in {root}, "
            f"{len(others):,} of them not in the entries ({int(scan.skipped.sum()):,} skipped):",
            listing(shown, len(shown)),
        )
    return "the whole split against a fresh os.scandir"


def _is_left_out(path: str, folder: Path, retired: frozenset[str], is_view: bool) -> bool:
    """Return whether the scan left out an image or a folder above it.

    A retired link may lead to a folder by now, so that there are images below it.

    Args:
        path: The path of the image.
        folder: The split folder.
        retired: The links and folders that the scan left out, by their path below ``folder``.
        is_view: Whether the folder is that of a view. Then folders of a system are left out, too.
    """
    if not retired and not is_view:
        return False
    parts = os.path.relpath(path, folder).split("/")
    if is_view and any(part.lower() in SYSTEM for part in parts[:-1]):
        return True
    return not retired.isdisjoint(accumulate(parts, "{}/{}".format))


def _is_addressable(path: str, split: str) -> bool:
    """Return whether DINOv3 can rebuild a path below root."""
    _, *class_ids, name = path.split("/")
    class_id = class_ids[0] if class_ids and split in LABELLED else ""
    index = index_of(split, class_id, name)
    return index is not None and path == image_path(split, class_id, index)
