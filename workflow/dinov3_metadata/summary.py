"""The last lines of a run: what was published where."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from .errors import count, printable
from .publish import metadata_name


def summarise(
    extra: str | os.PathLike, splits: Iterable[str], layout: str, root: str | os.PathLike
) -> str:
    """A few lines for the terminal: each split from its ``metadata-SPLIT.json``, how the dataset
    lies, and what to give to DINOv3."""
    lines = [f"DINOv3 metadata, verified, in {extra}:"]
    for split in splits:
        try:
            described = json.loads(Path(extra, metadata_name(split)).read_text())
        except (OSError, ValueError):
            continue  # a run up to an earlier stage does not mend what is missing or damaged
        counts = count(described["images"], "image")
        if described["classes"]:
            counts += f" in {count(described['classes'], 'class', 'classes')}"
        if described["skipped"]:
            counts += f", {described['skipped']:,} skipped"
        size = sum(file["bytes"] for file in described["files"].values())
        lines.append(
            f"  {split:<5}  {counts}, {size / 1e6:,.1f} MB: {', '.join(described['files'])}"
        )
    lines += [f"  layout: {layout}", f"  root for DINOv3: {root}"]
    strings = (f"  dataset_path for DINOv3: {dataset_path(split, root, extra)}" for split in splits)
    try:
        lines += strings
    except ValueError as error:
        lines.append(f"  dataset_path for DINOv3: none, as {error}")
    return "\n".join(lines)


def dataset_path(split: str, root: str | os.PathLike, extra: str | os.PathLike) -> str:
    """The string by which DINOv3 and DINOv2 know a split.

    Source: ``_parse_dataset_str`` in facebookresearch/dinov3, ``dinov3/data/loaders.py``, which
    parts it at each ``:`` and ``=``, and OmegaConf, which reads it as YAML from the command line.

    Raises:
        ValueError: There is none; the message says why.
    """
    for path in map(os.fspath, (root, extra)):
        if re.search(r"[:=]|\s#|\$\{|[\0-\x1f]", path):
            raise ValueError(
                "it can have no ':', '=', ' #', '${' or control character in a folder: "
                f"{printable(path)}. Make a link to it elsewhere, and take that for root or extra."
            )
    return f"ImageNet:split={split}:root={os.fspath(root)}:extra={os.fspath(extra)}"
