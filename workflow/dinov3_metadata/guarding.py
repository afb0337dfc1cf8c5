"""Guarding: check or make the metadata of some splits before a training starts, see ``launcher``.

A check must take less than a tenth of a second at any size, so it imports no numpy.
"""

import logging
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from .access import check_readable
from .addresses import SPLITS, split_folder
from .errors import MetadataError, count
from .formats import read_description
from .look import finds, finds_folder
from .named import Split
from .paths import folder_of, path_of, published_paths, work_folder
from .preflight import is_same, through_view, view_of
from .published import patiently, published_state, receipts
from .since import changed_since_published

FIX = "Start with --make in place of --check to bring it up to date."
RECORD = "Start once with --make in place of --check, which makes the files and such a record."


def published_splits(extra: str) -> list[str]:
    """Return the splits that have metadata in ``extra``."""
    return [split for split in SPLITS if finds(path_of(extra, "metadata", split=split))]


def check(splits: Iterable[Split]) -> None:
    """Check that the metadata of some splits is in place, and is that of the dataset as it is now.

    The published files are compared with the receipt, and the folders of the dataset with the
    records, by their timestamps and inodes, as ``ImageNetMetadata(check="stat")`` does. But their
    bytes are not read.

    Raises:
        MetadataError: It is not.
    """
    for split in splits:
        files = published_paths(split.extra, split.split)
        check_readable([split.root, *files, folder_of(split.extra, "receipt")])
        patiently(split.extra, split.split, partial(_check_split, split))


def _check_split(at: Split) -> None:
    split, root, extra = at
    about = read_description(extra, split)
    if not about or about.split != split:
        raise MetadataError(f"There is no metadata of {split} in {extra}, or it is damaged. {FIX}")
    root = view_of(root, about) or root
    if not about.table and not finds_folder(os.path.join(root, split_folder(split))):
        raise MetadataError(f"There is no folder {split_folder(split)}/ in {root}.")
    if not published_state(extra, split):
        if not any(noted and split in noted.splits for noted in receipts(extra).values()):
            raise MetadataError(
                f"The files of {split} in {extra} were adopted (`check --adopt`) or made "
                f"elsewhere, or {work_folder(extra)} was deleted: there is no record of the "
                f"dataset that they could be checked against. {RECORD}"
            )
        raise MetadataError(
            f"The files of {split} in {extra} are not those that were published: another program "
            f"wrote or copied them. {FIX}"
        )
    changed = changed_since_published(root, extra, split, about)
    check_readable(changed)  # what cannot be looked at seems to have changed
    if changed:
        raise MetadataError(
            f"{split}: {count(len(changed), 'folder or file has', 'folders and files have')} "
            f"changed since the metadata in {extra} was made, for instance {changed[0]}. {FIX}"
        )


def check_roots(splits: Iterable[Split]) -> None:
    """Check that no split names the dataset's own folder as root where DINOv3 needs a view of it.

    Raises:
        MetadataError: One does.
    """
    for split, root, extra in splits:
        about = read_description(extra, split)
        view = view_of(root, about) if about else ""
        if about and view and not is_same(root, view):
            raise MetadataError(through_view(root, view, about.layout))


def make(splits: Iterable[Split]) -> None:
    """Make or update the metadata of some splits; those of a dataset as one set.

    Its messages appear on stderr.

    Raises:
        MetadataError: See ``run.dump_extra``.
    """
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise MetadataError(
            f"--make needs numpy, which {sys.executable} cannot import ({error}). Start the "
            "launcher with a Python that has it; the command may use another one."
        ) from None
    from .log import INTERRUPTED
    from .loop import known_settings
    from .progress import progress_logger
    from .run import dump_extra
    from .summary import summarise

    logging.basicConfig(level="INFO", format="%(levelname)s: %(message)s")
    progress_logger.setLevel("WARNING")  # the terminal shows a bar instead
    datasets: dict[tuple[str, str], list[str]] = {}
    for split, root, extra in splits:
        datasets.setdefault((root, extra), []).append(split)
    for (root, extra), chosen in datasets.items():
        settings = known_settings(root, extra)
        try:
            chain = dump_extra(extra=extra, splits=chosen, **settings)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        with suppress(OSError):  # a full disk must not keep the command from starting
            print(summarise(chain), file=sys.stderr)
