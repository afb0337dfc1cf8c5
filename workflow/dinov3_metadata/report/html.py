"""HTML: make pages and tables for the report."""

from collections.abc import Iterable
from html import escape

from ..errors import printable

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1e293b; margin: 24px; }
h1 { font-size: 22px; } h2 { font-size: 17px; margin-top: 28px; }
table { border-collapse: collapse; } td, th { padding: 4px 14px 4px 0; text-align: left;
border-bottom: 1px solid #e2e8f0; vertical-align: top; } th { color: #64748b; font-weight: 500; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } code { font-size: 13px;
overflow-wrap: anywhere; } figure { display: inline-block; margin: 4px; width: 116px;
vertical-align: top; } figure img, figure div { width: 112px; height: 112px; object-fit: cover;
border-radius: 4px; background: #e2e8f0; } figcaption { font-size: 12px; line-height: 1.3;
overflow-wrap: anywhere; } small { color: #64748b; } .bar { background: #3b82f6; height: 12px; }
"""


class Html(str):
    """Text that is already HTML, so ``table`` does not escape it."""


def page(title: str, *parts: str) -> bytes:
    """Return a whole page with a title and some parts, which must be HTML."""
    head = f'<!DOCTYPE html><meta charset="utf-8"><title>{escape(title)}</title>'
    text = f"{head}<style>{STYLE}</style><h1>{escape(title)}</h1>{''.join(parts)}"
    return text.encode(errors="backslashreplace")


def table(head: Iterable[str], content: Iterable[Iterable[object]]) -> str:
    """Return a table as HTML.

    Args:
        head: The title of each column, as plain text.
        content: The cells of each row. Numbers are aligned to the right; text is escaped unless it
            is ``Html``.
    """

    def cell(value: object, tag: str) -> str:
        number = isinstance(value, int)
        text = f"{value:,}" if number else str(value)
        text = text if isinstance(value, Html) else escape(printable(text))
        return f"<{tag}{' class=n' if number else ''}>{text}</{tag}>"

    rows = [list(row) for row in content]
    lines = ["".join(cell(value, "td") for value in row) for row in rows]
    titles = [
        f"<th{' class=n' if rows and isinstance(rows[0][i], int) else ''}>{escape(title)}</th>"
        for i, title in enumerate(head)
    ]
    return f"<table><tr>{''.join(titles)}</tr><tr>{'</tr><tr>'.join(lines)}</tr></table>"


def code(value: object) -> Html:
    """Show a value in a fixed-width font, for paths and ids."""
    return Html(f"<code>{escape(printable(str(value)))}</code>")
