"""Loop: make the metadata in the loop that DINOv3's README shows.

    for split in ImageNet.Split:
        ImageNet(split=split, root="<ROOT>", extra="<EXTRA>").dump_extra()

``dinov3`` lets ``dump_extra()`` of DINOv3 and DINOv2 call ``dump_split``. This module is imported
only then, because it needs Python 3.10.

Source: ``ImageNet.dump_extra`` in ``data/datasets/image_net.py`` of facebookresearch/dinov3 and
facebookresearch/dinov2.
"""

import logging
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .addresses import LABELLED, SPLITS
from .errors import MetadataError, printable
from .formats import Description, read_description
from .layouts import find_folders, part_of
from .look import finds_folder
from .paths import ARRAYS, LABEL_FILES, file_name
from .preflight import dataset_of, is_same, through_view
from .present import Chain
from .progress import watchers
from .run import dump_extra
from .settings import NO_VIEW, Settings

SAVED = dict(zip(ARRAYS, ("entries", "class IDs", "class names"), strict=True))
"""Name of an array in ``paths.FILES`` -> what DINOv3 calls it in its log."""


class SplitMissingError(MetadataError, FileNotFoundError):
    """The split has no folder. DINOv3's own ``dump_extra()`` raises FileNotFoundError, too, so a
    loop that skips such splits still does."""


def dump_split(dataset: Any, log: logging.Logger) -> None:
    """Make or update the metadata of the split of a dataset, as ``run.dump_extra`` does.

    DINOv3's lines appear in its log. If DINOv3 cannot read the layout, a view is made. Then the
    dataset continues with the view as its root, and a warning names the root for training.

    Args:
        dataset: The ``ImageNet`` of DINOv3 or DINOv2. Its ``root`` may also be a view, if its
            metadata is in ``extra``.
        log: The logger of DINOv3 or DINOv2.

    Raises:
        SplitMissingError: The split has no folder.
        MetadataError: See ``run.dump_extra``.
    """
    split, extra = dataset.split.name, os.path.abspath(dataset._extra_root)
    settings = known_settings(os.path.abspath(dataset.root), extra, [split])
    chain = Chain(Settings(extra=extra, splits=[split], **settings))
    source = chain.now[split].source
    if not finds_folder(source):
        raise SplitMissingError(
            f"The {split} split folder {source} does not exist. If you do not have this split, "
            "leave it out of the loop, for instance `for split in [ImageNet.Split.TRAIN]`."
        )
    if split in LABELLED and chain.labels:
        labels = chain.labels.removeprefix(f"{chain.dataset}/")
        log.info(f'loading labels from "{printable(labels)}"')
    with creating_entries(log, split) as show:
        try:
            dump_extra(extra=extra, splits=[split], **settings)
        except MetadataError as error:
            if any("`classes: union`" in line for line in error.args):
                command = make_command(extra, settings | {"classes": "union"})
                error.args += (f"The loop cannot set `classes`, so run once: {command}",)
            raise
        about = read_description(extra, split)
        images = about.images if about else 0
        show({100 * (i + 1) // images for i in range(images)} if images < 101 else range(101))
    for name in ARRAYS if split in LABELLED else ARRAYS[:1]:
        log.info(f'saving {SAVED[name]} to "{file_name(name, split=split)}"')
    if chain.is_view and not is_same(dataset.root, chain.root):
        log.warning(printable(through_view(chain.dataset, chain.root, chain.layout)))
        dataset.root = chain.root
    dataset._entries = dataset._class_ids = dataset._class_names = None  # map the new files


@contextmanager
def creating_entries(log: logging.Logger, split: str) -> Iterator[Callable[[Iterable[int]], None]]:
    """Log ``creating entries: 10%`` while a split is scanned in the block, as DINOv3 does.

    DINOv3 logs each percent of the images that it reaches. With more than a hundred class folders,
    that is each percent, so these lines follow the scan. The rest follows at the end.

    Yields:
        A function that logs the given percents, except those that were logged before.
    """
    following = 0

    def show(percents: Iterable[int]) -> None:
        nonlocal following
        for percent in sorted(percents):
            if percent >= following:
                log.info(f"creating entries: {percent}%")
                following = percent + 1

    def watch(what: str, done: int, total: int) -> None:
        if what == f"scan {split}" and total > 100:
            show(range(100 * done // total + 1))

    watchers.append(watch)
    try:
        yield show
    finally:
        watchers.remove(watch)


def known_settings(root: str, extra: str, splits: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings for a dataset whose metadata may have been made before.

    They are those that cannot be detected again, as the descriptions of its splits have them.

    Args:
        root: The dataset's folder, or its view.
        extra: The folder for the metadata.
        splits: Those to make. Where splits were made in different ways, these count.
    """
    settings: dict[str, Any] = {"root": root}
    for split in sorted(SPLITS, key=lambda split: split in splits):
        about = read_description(extra, split)
        moved = dataset_of(root, about) if about else ""
        known = about and (is_same(root, about.root) or is_same(root, about.dataset))
        if about and (known or moved or about.table):
            dataset = moved or (root if about.table else about.dataset)
            settings |= {"root": dataset, "layout": about.layout}
            settings.pop("view", "")
            if about.root != about.dataset:
                settings["view"] = root if moved else about.root
            if about.table:
                settings["view"] = NO_VIEW
            if about.numbering and (split == "VAL" or about.numbering.classes == "union"):
                settings["classes"] = about.numbering.classes
            if about.skipped:
                settings["unaddressable"] = "skip"
            if about.empty_classes:
                settings["empty_classes"] = "keep"
            folders = about.folders
            if about.holdout:
                settings["holdout"] = about.holdout.share
                if about.holdout.seed:
                    settings["select_seed"] = about.holdout.seed
                folders = {one: paths for one, paths in folders.items() if one != "VAL"}
            if folders != find_folders(dataset, {}, [*folders]):
                settings["folders"] = folders
            if about.labels and not _is_found(about, about.labels.file):
                settings["labels"] = about.labels.file or "folders"
            for name, value in about.select.items():
                if name == "images" and about.select.get("images_own"):
                    value = {**settings.get("select_images", {}), split: value}
                if not name.endswith("_own"):
                    settings[f"select_{name}"] = value
    return settings


def make_command(extra: str, settings: Mapping[str, Any], splits: Sequence[str] = ()) -> str:
    """Return the command that makes the metadata with some settings, as a user can paste it.

    Args:
        extra: The folder for the metadata.
        settings: Values by their names in ``settings.Settings``, with ``root``.
        splits: Which splits; by default those that the command makes by default.
    """
    words = ["python", "-m", "dinov3_metadata", "--root", settings["root"], "--extra", extra]
    words += ["--splits", *splits] if splits else []
    for name, value in settings.items():
        if name == "root":
            continue
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, Mapping):
            pairs = (
                (split, [paths] if isinstance(paths, str) else paths)
                for split, paths in value.items()
            )
            words += [f"{split}={path}" for split, paths in pairs for path in paths]
        else:
            words += map(str, value if isinstance(value, list | tuple) else [value])
    return shlex.join(words)


def _is_found(about: Description, labels: str) -> bool:
    """Return whether ``labels: auto`` may find this file (or, if it is empty, no file)."""
    own_names = part_of(about.dataset, about.layout, "TRAIN", about.folders).own_names
    files = [os.path.join(about.dataset, name) for name in LABEL_FILES]
    return labels in files if labels else own_names
