"""Doubles: show the images that a split has twice, and those that are in two splits."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..documents import NONE, Count, load
from ..errors import count
from ..paths import StrPath, path_of
from .data import EACH, Published
from .html import Section, code, link, pages, table, text
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
    """Images that look the same; the distance is that of their perceptual hashes."""

    images: list[Member]
    split: str = ""
    distance: Count = NONE


@dataclass
class Duplicates:
    """The content of ``duplicates.json``, see ``stages.duplicates``.

    Attributes:
        audited: When it was made, in UTC.
        exact, near: Groups of images of one split.
        leaks: Groups of images of several splits.
    """

    exact: list[Group]
    near: list[Group]
    leaks: list[Group]
    audited: str = ""


@dataclass
class Kind:
    """A kind of group: its title, what it means for training, and the groups of that kind."""

    title: str
    meaning: str
    groups: list[Group] = field(default_factory=list)


def read_duplicates(extra: StrPath) -> Duplicates | None:
    """Return what the last audit found; None if its file is missing or damaged."""
    return load(Duplicates, path_of(extra, "duplicates"))


def kinds_of(found: Duplicates) -> dict[str, Kind]:
    """Return the kinds of groups by the anchor of their section, the worst first."""
    leak = "What training learns is tested on the same image: the score is too high."
    exact = "The same file counts twice. If the classes differ, one label is wrong."
    near = "Probably one picture at two sizes or qualities; or two that only look alike."
    return {
        "leaks": Kind("In two splits (leaks)", leak, found.leaks),
        "exact": Kind("The same file in one split", exact, found.exact),
        "near": Kind("Nearly the same image in one split", near, found.near),
    }


def doubles_pages(published: Iterable[Published], found: Duplicates) -> list[tuple[str, bytes]]:
    """Show the groups of each kind, their images side by side."""
    roots = {one.split: one.about.root for one in published}
    kinds = kinds_of(found)
    sections = []
    for anchor, kind in kinds.items():
        pieces = [_group(group, roots) for group in kind.groups[:EACH]]
        pieces.append(_more(len(kind.groups) - EACH, "group", "duplicates.json has all."))
        if kind.groups:
            sections.append(Section(anchor, kind.title, pieces))

    def top(where: dict[str, int]) -> str:
        rows = [
            [link(kind.title, anchor, where), len(kind.groups), _images(kind), kind.meaning]
            for anchor, kind in kinds.items()
        ]
        when = f"<p>As found by the audit of {text(found.audited)}.</p>" if found.audited else ""
        return when + table(["kind", "groups", "images", "what it means"], rows)

    return pages(TITLE, top, sections)


def _images(kind: Kind) -> int:
    return sum(len(group.images) for group in kind.groups)


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
    more = _more(len(group.images) - ALIKE, "image", "")
    return f"<div class=group><small>{head}</small><br>{''.join(figures)}{more}</div>"


def _more(number: int, one: str, where: str) -> str:
    if number <= 0:
        return ""
    return f"<p><small>... and {count(number, f'more {one}')}. {where}</small></p>"
