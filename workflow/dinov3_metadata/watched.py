"""Watched: find out at a start whether a selection by audits still counts.

What an audit finds does not show in the state of any folder. So a selection notes what the audits
had found for it, and how the images that it left out were. It counts until the last audits found
something else, or one of these images was repaired or replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .documents import load
from .fingerprint import digest
from .look import ask, in_threads
from .paths import StrPath, existing

MOST = 10_000  # images that are watched; to look at so many takes less than 0.1 s

ImageState = tuple[int, int, int]
"""Size in bytes, mtime in ns, and inode of an image; zeros if there is none."""


@dataclass
class Watched:
    """What a selection by audits was made from.

    Attributes:
        made_for: The fingerprint of everything else that it depends on.
        findings: Split -> ``AuditSummary.findings`` of its audit.
        images: Path -> state, for the first ``MOST`` images that were left out.
    """

    made_for: str
    findings: dict[str, str]
    images: dict[str, ImageState]


class Sound(NamedTuple):
    """A selection by audits.

    Attributes:
        name: Its name in paths.
        repaired: The fingerprint of the images that it watches, if they have changed since. Then
            the split must be audited again. Otherwise empty.
    """

    name: str
    repaired: str


def image_state(path: StrPath) -> ImageState:
    """Return the state of an image, links followed."""
    try:
        found = ask(path)
    except (OSError, ValueError):
        return 0, 0, 0
    return found.size, found.mtime, found.inode


def image_states(paths: Iterable[str]) -> dict[str, ImageState]:
    """Return the states of some images by their paths."""
    images = [*paths]
    return dict(zip(images, in_threads(image_state, images), strict=True))


def find_sound(
    extra: StrPath,
    place: Mapping[str, str],
    made_for: str,
    findings: Mapping[str, str],
    repaired: str = "",
) -> Sound:
    """Return the selection that counts now, or the one to make.

    Args:
        extra: The folder for the metadata.
        place: The wildcards of its path but its own name.
        made_for: See ``Watched``.
        findings: Split -> ``AuditSummary.findings`` of the last audit of its current state; empty
            if there was none.
        repaired: What ``Sound.repaired`` is for other splits on whose audits it depends.
    """
    again = ""
    for path, state in existing(extra, "watched", **place):
        watched = load(Watched, path)
        if not watched or watched.made_for != made_for:
            continue
        if any(now and watched.findings.get(split) != now for split, now in findings.items()):
            continue
        now = image_states(watched.images)
        if now == watched.images and not repaired:
            return Sound(state["sound"], "")
        again = digest(sorted(now.items())) if now != watched.images else ""
        break
    name = digest(made_for, sorted(findings.items()), again, repaired)
    return Sound(f"sound-{name}", again)
