"""The last lines of a run: what was published where."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from .errors import count, printable
from .layout import WORK, StrPath
from .lock import RUN
from .publish import changes_file, read_changes, read_description, read_summary
from .replace import kept_size

COLUMNS = ("split", "images", "new", "removed", "classes", "new", "removed", "bytes", "seconds")


def summarise(extra: StrPath, splits: Iterable[str], layout: str, root: StrPath) -> str:
    """The end of a run for the terminal: each split from its ``metadata-SPLIT.json`` and what this
    run changed of it, how the dataset lies, and what to give to DINOv3.

    The seconds are those from the start of the run until the split was published.
    """
    rows: list[tuple[str, ...]] = [COLUMNS]
    notes = []
    for split in splits:
        if audited := read_summary(extra, split):
            found = ", ".join(f"{many:,} {what}" for what, many in audited["problems"].items())
            what = f"{count(audited['images'], 'image')}, {found or 'all ok'}"
            notes.append(f"  {split}, audited {audited['audited']}: {what}")
        described = read_description(extra, split)
        if not described:
            continue  # a run up to an earlier stage does not mend what is missing or damaged
        classes = described["classes"]
        size = sum(file["bytes"] for file in described["files"].values())
        images, of_classes, seconds = _changes(f"{extra}/{WORK}", split)
        row: tuple[str, ...] = (split, f"{described['images']:,}", *images)
        row += (f"{classes:,}", *of_classes) if classes else ("", "", "")
        rows.append((*row, f"{size:,}", seconds))
        if described["skipped"]:
            notes.append(f"  {split}: {count(described['skipped'], 'image')} skipped")
    if len(rows) == 1:
        lines = [f"Nothing is published in {extra} yet.", *notes]
        return "\n".join(map(printable, lines))
    files = "{entries,class-ids,class-names}-SPLIT.npy, metadata-SPLIT.json"
    kept, size = kept_size(extra)
    if kept:
        what = f"{count(kept, 'replaced file')}, {size:,} bytes"
        notes.append(f"  kept for readers on other hosts, see `keep`: {what}")
    lines = [f"DINOv3 metadata, verified, in {extra}:", *_table(rows), *notes, f"  files: {files}"]
    lines += [f"  layout: {layout}", f"  root for DINOv3: {root}"]
    strings = (f"  dataset_path for DINOv3: {dataset_path(split, root, extra)}" for split in splits)
    try:
        lines += strings
    except ValueError as error:
        lines.append(f"  dataset_path for DINOv3: none, as {error}")
    return "\n".join(map(printable, lines))


def _changes(work: str, split: str) -> tuple[tuple[str, str], tuple[str, str], str]:
    """New and removed images and classes, and seconds; dashes if this run published nothing."""
    noted, run = changes_file(work, split), Path(work, RUN)
    changes = read_changes(work, split)
    if not changes or not run.exists() or noted.stat().st_mtime < run.stat().st_mtime:
        return ("-", "-"), ("-", "-"), "-"
    seconds = noted.stat().st_mtime - run.stat().st_mtime
    counts = (changes["added"], -changes["removed"], len(changes["new"]), -len(changes["gone"]))
    added, removed, new, gone = (f"{one:+,}" if one else "0" for one in counts)
    return (added, removed), (new, gone), f"{seconds:,.1f}"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines with the columns under each other, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in rows
    ]


def dataset_path(split: str, root: StrPath, extra: StrPath) -> str:
    """The string by which DINOv3 and DINOv2 know a split.

    Source: ``_parse_dataset_str`` in facebookresearch/dinov3, ``dinov3/data/loaders.py``, which
    parts it at each ``:`` and ``=``, and OmegaConf, which reads it as YAML from the command line.

    Raises:
        ValueError: There is none; the message says why.
    """
    for path in (os.fspath(root), os.fspath(extra)):
        if re.search(r"[:=]|\s#|\$\{|[\0-\x1f]", path):
            raise ValueError(
                "it can have no ':', '=', ' #', '${' or control character in a folder: "
                f"{path}. Make a link to it elsewhere, and take that for root or extra."
            )
    return f"ImageNet:split={split}:root={os.fspath(root)}:extra={os.fspath(extra)}"
