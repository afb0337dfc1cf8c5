"""The last lines of a run: what was published where."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from .errors import count
from .publish import metadata_name


def summarise(
    extra: str | os.PathLike, splits: Iterable[str], layout: str, root: str | os.PathLike
) -> str:
    """A few lines for the terminal: each split from its ``metadata-SPLIT.json``, how the dataset
    lies, and the root to give to DINOv3."""
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
    return "\n".join([*lines, f"  layout: {layout}", f"  root for DINOv3: {root}"])
