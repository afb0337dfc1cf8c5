"""Overview: say on one page whether a dataset is right for training, and where to read more.

Snakemake shows a text of its own first. It gets the same overview as the page, but its links work:
a page of the report is in a frame of its own, and can only name the others.
"""

from collections.abc import Callable, Iterable, Sequence
from html import escape

import numpy as np

from ..errors import count
from ..formats import PROBLEMS
from ..images import SAFE_PIXELS
from .data import Published
from .doubles import Duplicates
from .html import Html, code, page, table, text
from .plots import small_images

STOP = ("zero-bytes", "not-an-image", "truncated", "unreadable")
"""Problems with which training stops when it reads the image. An image has one of them at most."""

HARM = ("clipped", "transparent", "damaged")
"""Problems with which training gets another picture than the one that was meant."""

TITLE = "Is this dataset right for training?"
Show = Callable[[str], Html]
"""Show the title of another page, as a link to it where that works."""

FRAME = """
<style>
.overview { overflow-wrap: anywhere; } .overview a { color: #1d4ed8; }
.overview td, .overview th { padding: 3px 10px 3px 0; text-align: left; vertical-align: top;
min-width: 6ch; } .overview th { overflow-wrap: normal; }
.overview .n { text-align: right; white-space: nowrap; }
.overview .bad { color: #b91c1c; font-weight: 600; }
.overview .good { color: #15803d; font-weight: 600; }
.overview code::before, .overview code::after { content: none; }
@media (prefers-color-scheme: dark) { body, #app, #app .bg-white { background: #111827; }
.overview, .overview code, .overview h1, .overview h2, .overview th { color: #e5e7eb; }
.overview a { color: #93c5fd; } .overview .bad { color: #fca5a5; }
.overview .good { color: #86efac; } #rulegraph text { fill: #e5e7eb !important; } }
#app .grow.h-screen { align-items: flex-start; }
@media (max-width: 700px) { #app > div { flex-direction: column; }
#app nav { order: 1; width: 100%; height: auto; flex: none; }
#app .grow.h-screen { height: auto; width: 100%; overflow: visible; }
#app .grow.flex { flex-direction: column; max-width: 100%; }
#rulegraph { max-width: 100%; overflow: auto; } }
</style>
"""
"""How the overview looks in the document of Snakemake, which fits a phone only with this."""

OPEN = (
    "javascript:app.setView({content:'html',hideNavbar:innerWidth<700,"
    "contentPath:Object.values(results).find(one=>one.name==='%s').data_uri})"
)
"""A link of that document which opens a page by the name of its file."""


def overview_page(published: Sequence[Published], found: Duplicates | None) -> bytes:
    """Return the overview as a page of the report, which names the other pages."""
    note = "<p><small>Names in bold are pages in the menu of this report.</small></p>"
    return page(TITLE, *_parts(published, found, _named), note)


def overview_rst(
    published: Sequence[Published], found: Duplicates | None, names: dict[str, str]
) -> bytes:
    """Return the overview as the text that Snakemake's report shows first.

    Args:
        published: The splits.
        found: The doubles; None if nobody looked for them.
        names: Title of each page -> name of its file.
    """

    def linked(title: str) -> Html:
        return Html(f'<a href="{escape(OPEN % names[title])}">{text(title)}</a>')

    parts = "".join(_parts(published, found, linked)).replace("\n", " ")
    # Snakemake takes the text for a template of Jinja, and a name of the user may look like one.
    parts = parts.replace("{", "&#123;")
    html = f"{FRAME}<div class=overview><h1>{TITLE}</h1>{parts}</div>"
    lines = "\n".join(f"   {line}" for line in html.strip().splitlines())
    return f".. raw:: html\n\n{lines}\n".encode(errors="backslashreplace")


def _named(title: str) -> Html:
    return Html(f"<b>{text(title)}</b>")


def _parts(published: Sequence[Published], found: Duplicates | None, show: Show) -> list[str]:
    """Return the overview as parts of a page."""
    rows = [
        [one.split, len(one.entries), len(one.ids) or "none", _when(one), _state(one)]
        for one in published
    ]
    return [
        f"<p>{_verdict(published, found)}</p>",
        table(["split", "images", "classes", "verified", "images looked at"], rows, sorts=False),
        *_selected(published),
        *_problems(published, show),
        *_doubles(found, show),
        *_balance(published, show),
        *_sizes(published, show),
        *_changes(published, show),
        *_verified(published, show),
    ]


def _verdict(published: Sequence[Published], found: Duplicates | None) -> str:
    stop = sum(map(_stops, published))
    harm = sum(_total(one, HARM) for one in published)
    left_out = any("leak" in one.about.select.get("audit", []) for one in published)
    leaks = found.kinds["leaks"].groups if found and not left_out else 0
    if stop:
        return f"<span class=bad>No:</span> training stops at {count(stop, 'image')}."
    against = [f"{count(harm, 'time')} an image is not what training should see"] * (harm > 0)
    against += [f"{count(leaks, 'image')} in two splits"] * (leaks > 0)
    if _numbered_differently(published):
        against.append("TRAIN and VAL number their classes differently")
    if against:
        return f"<span class=bad>Look at this first:</span> {'; '.join(against)}."
    blind = [one.split for one in published if not one.audit or one.outdated]
    if blind:
        return (
            f"The metadata is right. Nobody has looked at the images of {', '.join(blind)} as they "
            "are now: run <code>snakemake audit</code>."
        )
    return "<span class=good>Yes:</span> nothing is known against it."


def _numbered_differently(published: Sequence[Published]) -> bool:
    """Return whether a class has another number in one split than in another."""
    numbers: dict[str, int] = {}
    return any(
        numbers.setdefault(class_id, index) != index
        for one in published
        if one.about.numbering
        for index, class_id in enumerate(one.ids.tolist())
    )


def _total(one: Published, problems: Iterable[str]) -> int:
    """Return how often images have some problems, except images that were left out."""
    if not one.audit:
        return 0
    if not one.about.select.get("audit"):
        return sum(one.audit.problems.get(problem, 0) for problem in problems)
    return sum(int((_taken(one) & _bits([problem]) > 0).sum()) for problem in problems)


def _taken(one: Published) -> np.ndarray:
    """Return the problems of the images that were not left out for any, as bits."""
    found = one.table["problems"]
    return found[found & _bits(one.about.select.get("audit", [])) == 0]


def _bits(problems: Iterable[str]) -> np.uint16:
    wanted = {*problems}
    return np.uint16(sum(1 << place for place, name in enumerate(PROBLEMS) if name in wanted))


def _stops(one: Published) -> int:
    """Return the number of images at which training stops. Pillow opens none that has more than
    twice the pixels at which it warns, and none of endless headers, whose size is not known."""
    pixels = one.table["width"].astype("<u8") * one.table["height"]
    found = one.table["problems"]
    bombs = found & _bits(["decompression-bomb"]) > 0
    bombs &= found & _bits(one.about.select.get("audit", [])) == 0
    too_large = (pixels > 2 * SAFE_PIXELS) | (pixels == 0)
    return _total(one, STOP) + int((bombs & too_large).sum())


def _when(one: Published) -> str:
    return _short(one.report.verified) if one.report else "unknown"


def _state(one: Published) -> Html:
    if not one.audit:
        return Html("no")
    stop, harm = _stops(one), _total(one, HARM)
    words = [count(stop, "stops training", "stop training")] * (stop > 0)
    words += [count(harm, "is wrong", "are wrong")] * (harm > 0)
    state = f"<span class={'bad' if words else 'good'}>{', '.join(words) or 'good'}</span>"
    since = ", changed since" if one.outdated else ""
    return Html(f"{state} <small>{text(_short(one.audit.audited))}{since}</small>")


def _short(time: str) -> str:
    """Return a time without seconds and zone, which is UTC."""
    return time[:16].replace("T", " ")


def _verified(published: Sequence[Published], show: Show) -> list[str]:
    lines = [
        f"<li>{one.split}: {text('; '.join(one.report.checks))}</li>"
        for one in published
        if one.report
    ]
    where = show("Verification")
    return [f"<h2>What was verified</h2><ul>{''.join(lines)}</ul><p>{where}</p>"]


def _selected(published: Sequence[Published]) -> list[str]:
    lines = [
        f"<li>{one.split}: {text(said)}</li>"
        for one in published
        if one.about.selection
        for said in one.about.selection.says()
    ]
    note = "<p><code>left-out-SPLIT.json</code> names each image.</p>"
    return [f"<h2>What was left out</h2><ul>{''.join(lines)}</ul>{note}"] if lines else []


def _problems(published: Sequence[Published], show: Show) -> list[str]:
    audited = [(one, one.audit) for one in published if one.audit]
    names = [name for name in PROBLEMS if any(name in audit.problems for _, audit in audited)]
    rows = [
        [code(name), *(audit.problems.get(name, 0) for _, audit in audited), PROBLEMS[name]]
        for name in names
    ]
    head = ["problem", *(one.split for one, _ in audited), "what it means"]
    pages = ", ".join(show(f"Audit, {one.split}") for one, _ in audited if len(one.table))
    title = "<h2>Problems of images</h2>"
    if not audited:
        return [f"{title}<p>Unknown. <code>snakemake audit</code> opens every image.</p>"]
    said = table(head, rows, sorts=False) if rows else "<p>None.</p>"
    return [title, said, f"<p>{pages}</p>"]


def _doubles(found: Duplicates | None, show: Show) -> list[str]:
    title = "<h2>Doubles and leaks</h2>"
    if not found:
        return [f"{title}<p>Unknown. <code>snakemake audit</code> looks for them.</p>"]
    rows = [[kind.title, found.count(kind.groups), kind.meaning] for kind in found.kinds.values()]
    where = show("Doubles and leaks")
    head = ["kind", "groups", "what it means"]
    return [title, found.says, table(head, rows, sorts=False), f"<p>{where}</p>"]


def _balance(published: Sequence[Published], show: Show) -> list[str]:
    lines = []
    for one in published:
        if not len(one.ids):
            continue
        least, most = int(one.counts.argmin()), int(one.counts.argmax())
        few, many = int(one.counts[least]), int(one.counts[most])
        said = f"{few:,} to {many:,} images in a class; {one.names[least]} has none"
        if few:
            said = f"{few:,} to {many:,} images in a class; {one.names[most]} has "
            said += f"{many / few:,.1f} times as many as {one.names[least]}"
        if few == many:
            said = f"{count(few, 'image')} in each class"
        title = f"Images per class, {one.split}"
        lines.append(f"<li>{one.split}: {text(said)}. {show(title)}</li>")
    return [f"<h2>Balance of the classes</h2><ul>{''.join(lines)}</ul>"] if lines else []


def _sizes(published: Sequence[Published], show: Show) -> list[str]:
    lines = []
    for one in published:
        if one.audit and len(one.table):
            small = small_images(one).items()
            said = ", ".join(f"{many:,} below {side}" for side, many in small)
            title = f"Sizes, {one.split}"
            lines.append(f"<li>{one.split}: {said} pixels. {show(title)}</li>")
    return [f"<h2>Shorter sides of the images</h2><ul>{''.join(lines)}</ul>"] if lines else []


def _changes(published: Sequence[Published], show: Show) -> list[str]:
    lines = []
    for one in published:
        changes = one.changes
        if not changes:
            said = "unknown"
        elif changes.first:
            said = "the first publication"
        else:
            said = f"{count(changes.added, 'image')} added, {changes.removed:,} removed; "
            said += f"{count(len(changes.new), 'new class', 'new classes')}, "
            said += f"{len(changes.gone):,} removed"
        lines.append(f"<li>{one.split}: {said}</li>")
    where = show("Since the last publication")
    return [f"<h2>What the last publication changed</h2><ul>{''.join(lines)}</ul><p>{where}</p>"]
