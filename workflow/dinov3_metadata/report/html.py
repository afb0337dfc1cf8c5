"""HTML: make pages and tables for the report.

A page is whole: it loads nothing, and its only script sorts its tables. The frame in which
Snakemake shows it may be as narrow as a phone, and the user's system may ask for dark colours.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

from ..errors import count, printable

STYLE = """
:root { color-scheme: light dark; --text: #1e293b; --quiet: #55637a; --line: #e2e8f0;
--back: #ffffff; --bar: #3b82f6; --bad: #b91c1c; --good: #15803d; --link: #1d4ed8; }
@media (prefers-color-scheme: dark) { :root { --text: #e2e8f0; --quiet: #a3b1c6; --line: #334155;
--back: #0f172a; --bar: #60a5fa; --bad: #fca5a5; --good: #86efac; --link: #93c5fd; }
img.plot { filter: invert(1) hue-rotate(180deg); } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
margin: 24px; overflow-wrap: anywhere; }
h1 { font-size: 22px; line-height: 1.3; } h2 { font-size: 17px; margin-top: 28px; }
a { color: var(--link); } small { color: var(--quiet); } code { font-size: 13px; }
.bad { color: var(--bad); font-weight: 600; } .good { color: var(--good); font-weight: 600; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
td, th { padding: 4px 14px 4px 0; text-align: left; vertical-align: top; min-width: 6ch;
border-bottom: 1px solid var(--line); } th { color: var(--quiet); font-weight: 500;
overflow-wrap: normal; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.n { white-space: nowrap; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; margin: 0;
text-align: inherit; cursor: pointer; } th[aria-sort] button::after { content: " \\2195"; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
figure { display: inline-block; margin: 4px; width: 116px; vertical-align: top; }
figure img, figure .none { width: 112px; height: 112px; object-fit: contain; border-radius: 4px;
box-sizing: border-box; border: 1px solid var(--line);
background: var(--line); } figure .none { display: flex; align-items: center; font-size: 12px;
justify-content: center; text-align: center; color: var(--quiet); }
figcaption { font-size: 12px; line-height: 1.3; } .pair { width: 236px; }
.group { border-bottom: 1px solid var(--line); padding: 8px 0; }
img.plot { width: 100%; max-width: 440px; height: auto; }
.bar { background: var(--bar); height: 12px; min-width: 2px; }
@media (max-width: 500px) { body { margin: 40px 12px 12px; font-size: 14px; }
h1 { font-size: 19px; } td, th { padding-right: 8px; font-size: 13px; } code { font-size: 12px; } }
"""

SORT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.parentNode, table = head.closest("table"), body = table.tBodies[0];
  const up = head.ariaSort !== "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) other.ariaSort = "none";
  head.ariaSort = up ? "ascending" : "descending";
  const key = row => row.cells[head.cellIndex].textContent;
  const number = row => parseFloat(key(row).replaceAll(",", ""));
  const numeric = head.classList.contains("n");
  const order = (a, b) => numeric ? (number(a) || 0) - (number(b) || 0)
    : key(a).localeCompare(key(b), undefined, {numeric: true});
  body.append(...[...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)));
};
"""
"""Sort a table by the column whose title was pressed; pressed again, the other way round."""


LIMIT = 1_500_000
"""Most bytes of a page. Snakemake puts a page into the URL of a frame, in base64, and Chromium
leaves a frame empty whose URL has more than 2 MiB."""

ROOM = 100_000  # bytes of a page for its style, its script and what is above its sections


class Html(str):
    """Text that is already HTML, so ``table`` does not escape it."""


def page(title: str, *parts: str) -> bytes:
    """Return a whole page with a title and some parts, which must be HTML."""
    head = '<!DOCTYPE html><html lang="en"><meta charset="utf-8">'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{STYLE}</style>"
    script = f"<script>{SORT}</script>" if any("<th" in part for part in parts) else ""
    text = f"{head}<main><h1>{escape(title)}</h1>{''.join(parts)}</main>{script}"
    return text.encode(errors="backslashreplace")


@dataclass
class Section:
    """A part of a page that may go over several pages.

    Attributes:
        anchor: Its id, for ``link``.
        head: What is above it, on each page.
        pieces: What may be on one page or on another.
    """

    anchor: str
    head: str
    pieces: list[str]


def pages(
    title: str, top: Callable[[dict[str, int]], str], sections: Iterable[Section]
) -> list[tuple[str, bytes]]:
    """Return as many pages as some sections need, none of which is above ``LIMIT``.

    Args:
        title: The title of the first page; the others have a number, too.
        top: Returns what is above the sections on the first page. It gets the number of the page on
            which each section begins, by its anchor.
        sections: The sections.

    Returns:
        The title and the content of each page.
    """
    texts, size, where = [""], ROOM, {}
    for section in sections:
        head = f'<h2 id="{section.anchor}">{section.head}</h2>' if section.head else ""
        for number, piece in enumerate(section.pieces):
            new = piece if number else head + piece
            if size + len(new.encode(errors="replace")) > LIMIT:
                new = head + piece
                texts.append("")
                size = ROOM
            if number == 0:
                where[section.anchor] = len(texts)
            texts[-1] += new
            size += len(new.encode(errors="replace"))
    texts[0] = top(where) + texts[0]
    titles = [title, *(f"{title}, page {number}" for number in range(2, len(texts) + 1))]
    return [(one, page(one, text)) for one, text in zip(titles, texts, strict=True)]


def table(head: Iterable[str], content: Iterable[Iterable[object]], sorts: bool = True) -> str:
    """Return a table as HTML.

    Args:
        head: The title of each column, as plain text. A column with a title can be sorted.
        content: The cells of each row. Numbers are aligned to the right; text is escaped unless it
            is ``Html``.
        sorts: Whether a table with several rows can be sorted.
    """
    rows = [list(row) for row in content]
    lines = ["".join(map(_cell, row)) for row in rows]
    titles = []
    for i, title in enumerate(head):
        number = " class=n" if any(isinstance(row[i], int | float) for row in rows) else ""
        text = escape(title)
        if title and sorts and len(rows) > 1:
            titles.append(
                f'<th scope=col aria-sort="none"{number}><button type=button>{text}</button></th>'
            )
        else:
            titles.append(f"<th scope=col{number}>{text}</th>" if title else "<td></td>")
    body = f"<tbody><tr>{'</tr><tr>'.join(lines)}</tr></tbody>"
    return f"<div class=wide><table><thead><tr>{''.join(titles)}</tr></thead>{body}</table></div>"


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        shown = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
        return f"<td class=n>{shown}</td>"
    return f"<td>{value if isinstance(value, Html) else text(value)}</td>"


def text(value: object) -> Html:
    """Return any text as HTML that shows it."""
    return Html(escape(printable(str(value))))


def code(value: object) -> Html:
    """Show a value in a fixed-width font, for paths and ids."""
    return Html(f"<code>{text(value)}</code>")


def bar(number: int, most: int) -> Html:
    """Show a number as a bar, whose longest is as wide as the column."""
    width = 100 * number // max(1, most)
    return Html(f'<div style="width: 96px"><div class=bar style="width: {width}%"></div></div>')


def embedded(content: bytes, kind: str) -> str:
    """Return the URL of a picture that contains it; ``kind`` is such as ``image/jpeg``."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def link(title: str, anchor: str, where: dict[str, int]) -> Html:
    """Return a link to a section of the first page, or the number of the page that has it.

    Args:
        title: What is shown.
        anchor: That of the section. If no page has it, there is no link.
        where: See ``pages``.
    """
    number = where.get(anchor)
    if number == 1:
        return Html(f'<a href="#{escape(anchor)}">{text(title)}</a>')
    return Html(f"{text(title)} <small>(page {number})</small>") if number else text(title)


def more_of(number: int, one: str, where: str) -> Html:
    """Say how many more there are than are shown, and where; nothing if there are no more."""
    if number <= 0:
        return Html("")
    return Html(f"<p><small>... and {count(number, f'more {one}')}. {where}</small></p>")
