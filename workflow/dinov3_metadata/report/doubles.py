"""Doubles: show the images that a split has twice, and those that are in two splits."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..documents import NONE, Count, first_lines, parse
from ..formats import read_duplicates_summary
from ..paths import StrPath, file_name, path_of
from .data import EACH, Published
from .html import Section, code, link, more_of, pages, table, text
from .tiles import below, tile

TITLE = "Doubles and leaks"
ALIKE = 6  # images of a group that are shown at most


@dataclass
class Member:
    """An image of a group: its path below root; its split, if that is not that of the group; in a
    view, the file that the link leads to."""

    image: str
    split: str = ""
    file: str = ""


@dataclass
class Group:
    """Images that look the same. There are ``count`` of them, of which some are named; the distance
    is that of their perceptual hashes."""

    images: list[Member]
    split: str = ""
    distance: Count = NONE
    count: Count = NONE


@dataclass
class Kind:
    """A kind of group.

    Attributes:
        title: Its title.
        meaning: What it means for training.
        groups, images: How many there are.
        shown: The first ``EACH`` groups.
    """

    title: str
    meaning: str
    groups: int
    images: int
    shown: list[Group]


@dataclass
class Duplicates:
    """What the last search for duplicates found: when, and each kind by the anchor of its section,
    the worst first."""

    audited: str
    kinds: dict[str, Kind]


def read_duplicates(extra: StrPath) -> Duplicates | None:
    """Return what the last search found; None if its file is missing or damaged."""
    summary = read_duplicates_summary(extra)
    if not summary:
        return None
    try:
        shown = first_lines(path_of(extra, "duplicates"), ("exact", "near", "leaks"), EACH)
        first = {name: [parse(Group, line) for line in lines] for name, lines in shown.items()}
    except (OSError, ValueError, RecursionError):
        return None
    leak = "What training learns is tested on the same image: the score is too high."
    exact = "The same file counts twice. If the classes differ, one label is wrong."
    near = "Probably one picture at two sizes or qualities; or two that only look alike."
    splits, pairs = summary.splits.values(), summary.pairs.values()
    leaks = sum(both.exact + both.near for both in pairs)
    kinds = {
        "leaks": Kind("In two splits (leaks)", leak, leaks, 2 * leaks, first["leaks"]),
        "exact": Kind(
            "The same file in one split",
            exact,
            sum(one.exact_groups for one in splits),
            sum(one.exact_images for one in splits),
            first["exact"],
        ),
        "near": Kind(
            "Nearly the same image in one split",
            near,
            sum(one.near_groups for one in splits),
            sum(one.near_images for one in splits),
            first["near"],
        ),
    }
    return Duplicates(summary.audited, kinds)


def doubles_pages(published: Iterable[Published], found: Duplicates) -> list[tuple[str, bytes]]:
    """Show the groups of each kind, their images side by side."""
    roots = {one.split: one.about.root for one in published}
    sections = []
    for anchor, kind in found.kinds.items():
        pieces = [_group(group, roots) for group in kind.shown]
        pieces.append(
            more_of(kind.groups - len(kind.shown), "group", f"{file_name('duplicates')} has all.")
        )
        if kind.shown:
            sections.append(Section(anchor, kind.title, pieces))

    def top(where: dict[str, int]) -> str:
        rows = [
            [link(kind.title, anchor, where), kind.groups, kind.images, kind.meaning]
            for anchor, kind in found.kinds.items()
        ]
        return f"<p>As found on {text(found.audited)}.</p>" + table(
            ["kind", "groups", "images", "what it means"], rows
        )

    return pages(TITLE, top, sections)


def _group(group: Group, roots: dict[str, str]) -> str:
    figures = []
    for member in group.images[:ALIKE]:
        split = member.split or group.split
        path: Path | None = below(roots[split], member.image) if split in roots else None
        name = code(member.file or member.image)
        alt = f"{split} {member.image}"
        caption = f"<figcaption>{text(split)}<br>{name}</figcaption>"
        figures.append(f"<figure>{tile(path, alt, 'not decoded')}{caption}</figure>")
    head = f"distance {group.distance}" if group.distance else "the same"
    more = more_of(max(group.count, len(group.images)) - ALIKE, "image", "")
    return f"<div class=group><small>{head}</small><br>{''.join(figures)}{more}</div>"
