"""Doubles: show the images that a split has twice, and those that are in two splits."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..documents import NONE, Count, first_lines, parse
from ..formats import read_duplicates_summary
from ..paths import StrPath, file_name, path_of
from .data import EACH, Published
from .html import Html, Section, code, link, more_of, pages, table, text
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
    is that of their perceptual hashes, or the files are the same, if they are ``exact``."""

    images: list[Member]
    split: str = ""
    distance: Count = NONE
    exact: bool = False
    count: Count = NONE


@dataclass
class Kind:
    """A kind of group.

    Attributes:
        title: Its title.
        meaning: What it means for training.
        groups: How many there are.
        shown: The first ``EACH`` groups.
    """

    title: str
    meaning: str
    groups: int
    shown: list[Group]


@dataclass
class Duplicates:
    """What the last search for duplicates found.

    Attributes:
        audited: When.
        kinds: Each kind by the anchor of its section, the worst first.
        unseen: The published splits that it has not compared as they are now.
    """

    audited: str
    kinds: dict[str, Kind]
    unseen: list[str]

    @property
    def says(self) -> Html:
        """How far this can be relied upon, as a paragraph."""
        unseen = ""
        if self.unseen:
            names = " and ".join(self.unseen)
            unseen = f" <span class=bad>{names}: not compared as it is now.</span> Run "
            unseen += "<code>snakemake audit</code>."
        return Html(f"<p>As found on {text(self.audited)}.{unseen}</p>")

    def count(self, many: int) -> int | str:
        """Return a number that was found, if it means anything."""
        return "unknown" if self.unseen and not many else many


def read_duplicates(extra: StrPath, published: Iterable[Published]) -> Duplicates | None:
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
        "leaks": Kind("In two splits (leaks)", leak, leaks, first["leaks"]),
        "exact": Kind(
            "The same file in one split",
            exact,
            sum(one.exact_groups for one in splits),
            first["exact"],
        ),
        "near": Kind(
            "Nearly the same image in one split",
            near,
            sum(one.near_groups for one in splits),
            first["near"],
        ),
    }
    unseen = [
        one.split
        for one in published
        if one.split not in summary.splits or one.outdated or not one.audit
    ]
    return Duplicates(summary.audited, kinds, unseen)


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
            [link(kind.title, anchor, where), found.count(kind.groups), kind.meaning]
            for anchor, kind in found.kinds.items()
        ]
        return found.says + table(["kind", "groups", "what it means"], rows)

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
    head = "the same file" if group.exact else f"distance {group.distance}"
    more = more_of(max(group.count, len(group.images)) - ALIKE, "image", "")
    return f"<div class=group><small>{head}</small><br>{''.join(figures)}{more}</div>"
