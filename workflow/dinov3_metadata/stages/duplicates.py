"""Duplicates: find the images that a split has twice, and those that are in two splits.

Only the tables of the audits are read, and no image is opened. Two images are the same if their
files have the same sha256, and near if their perceptual hashes differ in at most ``MOST`` of 64
bits.

Why 4: of 3,000 drawn scenes, of which 9 % are too flat to have a perceptual hash, it found 97 % of
the copies of half the size, 97 % of those with JPEG quality 40, 99 % of those in grey, and 43 % of
those that lost 5 % at the edges; 93 % of the pairs that it found were copies. 6 would find 99, 99,
100 and 65 %, of which 89 % were copies, and by chance alone some 20 pairs of different images among
a million, where 4 finds none. No number of bits tells a small crop from another frame of the scene
(26 % found by 4, 46 % by 6), or plain backgrounds with different small objects from each other. So
look at a pair before you remove an image.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from itertools import chain, combinations, islice
from typing import Any

from ..addresses import SPLITS
from ..disk import remove_file, remove_folders
from ..documents import Count, write_lists
from ..doubles import (
    LISTED,
    MOST,
    Groups,
    Pairs,
    exact_groups,
    leaks_of,
    near_groups,
    number_files,
    open_table,
)
from ..errors import DamagedError, MetadataError, count, listing, logger
from ..files import write_atomically
from ..formats import (
    Doubles,
    DuplicatesSummary,
    Leaks,
    read_audit_summary,
    read_description,
)
from ..paths import StrPath, file_name, folder_of, path_of
from ..replace import Writer, replaced_files

DESCRIBED = 256  # approximate bytes per image there


def find_duplicates(
    *,
    compared: StrPath,
    search: str,
    extra: StrPath,
    root: str,
    states: dict[str, dict[str, str]],
    files: dict[str, dict[str, str]],
    splits: Collection[str],
    is_view: bool,
    audit: str,
    standing: str,
    fail_on: Collection[str],
    keep: float = 14,
) -> None:
    """Write ``duplicates.json`` from the tables of the audits.

    Args:
        compared: Where to record that there is nothing that ``fail_on`` names.
        search: The name of this search; if an audit was requested explicitly, with its time.
        extra: The folder with the tables.
        root: The folder that DINOv3 uses as root.
        states: Split -> its current state, for the splits to compare.
        files: Split -> the paths of its ``scan``, of those of its images that are ``selected``,
            and of its ``numbering``, as far as there are such files.
        splits: The splits whose tables must be those of their current states. Each other one is
            left out if its table is another.
        is_view: Whether root is a view.
        audit: The name of the audit with the current settings.
        standing: The name of the search that was not requested explicitly. Its record is kept,
            unless there is something that ``fail_on`` names.
        fail_on: Which of ``formats.GROUPS`` there may not be.
        keep: How many days replaced files are kept for readers on other hosts.

    Raises:
        DamagedError: The table of a split is missing, or is not that of its current state.
        MetadataError: There is what ``fail_on`` names. The file has been written anyway.
    """
    audits = (audit, audit + search[len(standing) :])
    tables = {}
    for split, state in states.items():
        if table := open_table(extra, split, root=root, **files[split]):
            tables[split] = table
        elif split in splits:
            path = path_of(extra, "audit_table", split=split)
            audited = path_of(extra, "audited", audit=audits[1], **state)
            raise DamagedError(audited, f"does not match {path}")
    left_out = [
        split
        for split in SPLITS
        if split not in tables
        and (read_audit_summary(extra, split) or read_description(extra, split))
    ]
    found = number_files(tables, root, is_view)
    exact = [exact_groups(images) for images in found]
    near = [near_groups(images) for images in found]
    leaks = [leaks_of(one, other) for one, other in combinations(found, 2)]
    summary = DuplicatesSummary(
        root=root,
        audited=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        images=Count(sum(len(images.at) for images in found)),
        threshold=Count(MOST),
        left_out=left_out,
        splits={
            same.images.split: Doubles(
                images=Count(len(same.images.at)),
                exact_groups=Count(len(same.starts)),
                exact_images=Count(len(same.members)),
                near_groups=Count(len(alike.starts)),
                near_images=Count(len(alike.members)),
            )
            for same, alike in zip(exact, near, strict=True)
        },
        pairs={
            f"{pairs.one.split}-{pairs.other.split}": Leaks(
                exact=Count(int(pairs.same.sum())), near=Count(int((~pairs.same).sum()))
            )
            for pairs in leaks
        },
    )
    text = json.dumps(asdict(summary), indent=1).encode()
    kinds: dict[str, list[Any]] = {"exact": exact, "near": near, "leaks": leaks}
    lists = {
        name: chain.from_iterable(one.described() for one in several)
        for name, several in kinds.items()
    }
    listed = sum(2 * len(pairs.ones) for pairs in leaks)
    listed += sum(int(one.sizes.clip(max=LISTED).sum()) for one in (*exact, *near))
    refused = [*_refused(fail_on, exact, near, leaks)]
    if left_out and "leak" in fail_on and not refused:
        raise MetadataError(
            f"{' and '.join(left_out)} cannot be compared, as `audit: fail_on` lists `leak`: no "
            "audit has seen what is there now. Add it to `splits`, or remove `leak` from "
            "`fail_on`."
        )
    writers: dict[str, Writer] = {file_name("duplicates"): partial(write_lists, text, lists)}
    with replaced_files(extra, writers, DESCRIBED * (listed + 16), keep):
        if not refused:
            with write_atomically(compared) as file:
                file.write(text)
    remove_folders(
        folder_of(extra, "compared", "search"), {search} if refused else {search, standing}
    )
    logger.info("%s compared", count(summary.images, "image"))
    if refused:
        # Another run audits these splits again, because an image may be repaired in place.
        for split in splits:
            for name in audits:
                remove_file(path_of(extra, "audited", audit=name, **states[split]))
        raise MetadataError(
            *refused,
            f"{extra}/{file_name('duplicates')} lists them. Keep one image of each group or "
            "pair, and run the same command again.",
        )


def _refused(
    fail_on: Collection[str], exact: list[Groups], near: list[Groups], leaks: list[Pairs]
) -> Iterator[str | list[str]]:
    """Yield the lines of a message about what ``fail_on`` names."""
    several = sum(len(one.starts) for one in (*exact, *near))
    if "duplicate" in fail_on and several:
        yield (
            f"{count(several, 'group')} of images that are equal or nearly equal within a split "
            "(`audit: fail_on` lists `duplicate`):"
        )
        yield _listing((*exact, *near), several)
    several = sum(len(pairs.ones) for pairs in leaks)
    if "leak" in fail_on and several:
        yield (
            f"{count(several, 'image that is', 'images that are')} equal or nearly equal to one of "
            "another split (`audit: fail_on` lists `leak`):"
        )
        yield _listing(leaks, several)


def _listing(several: Collection[Groups | Pairs], total: int) -> list[str]:
    """Return lines that name the first two images of each group or pair."""
    lines = chain.from_iterable(one.described() for one in several)
    shown = (
        " and ".join(image.get("file", image["image"]) for image in islice(line["images"], 2))
        + (f" and {line['count'] - 2:,} more" if line.get("count", 2) > 2 else "")
        + ("" if line["exact"] else f" (distance {line['distance']})")
        for line in lines
    )
    return listing(shown, total)
