"""Stand-ins: recognise what is in the place of an image, from the beginning of the file.

Sources: the specification of Git LFS, docs/spec.md in git-lfs/git-lfs, with the older addresses
that Git LFS accepts; git-annex' page on its pointer files; the WHATWG's MIME Sniffing standard,
which lists the tags that begin an HTML page.
"""

from __future__ import annotations

import codecs
import re

from .addresses import ANNEX

MOST = 1 << 16  # bytes of the beginning that are looked at

GIT_LFS = re.compile(
    rb"version (?:https://(?:git-lfs|hawser)\.github\.com/spec/|http://git-media\.io/v/)"
)
"""The first line of a pointer of Git LFS."""

GIT_ANNEX = re.compile(rf"[^<>\n]*/{ANNEX}\S".encode())
"""The first line of a pointer of git-annex, or of a link that was checked out as a text."""

PROLOG = re.compile(rb"\s+|<!--.*?-->|<\?.*?\?>", re.DOTALL)
"""What may come before the first tag: blanks, comments and instructions such as ``<?xml ...?>``."""

HTML = re.compile(
    rb"<(?:!doctype\s+html|html|head|title|meta|link|script|style|base|body|iframe|h[1-6]|div|span"
    rb"|font|center|table|form|img|a|b|p|br|hr)[\s/>]",
    re.IGNORECASE,
)
"""The first tag of an HTML page."""

CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""Bytes that no text contains in any encoding but UTF-16; blanks and escape codes do not count."""

DOCUMENTS = (b"%!", b"%PDF")  # PostScript and PDF, which may consist of text


def stand_in(start: bytes) -> str:
    """Return what a file that is not an image is, as one of ``formats.PROBLEMS``.

    Args:
        start: The first ``MOST`` bytes of the file.

    Returns:
        ``git-lfs-pointer``, ``annex-link``, ``html-page`` or ``text``; empty if it is none of them.

    Example:
        >>> stand_in(b"404: Not Found")
        'text'
    """
    text = _without_marks(start)
    if GIT_LFS.match(text):
        return "git-lfs-pointer"
    if GIT_ANNEX.match(text.replace(b"\\", b"/")):
        return "annex-link"
    at = 0
    while found := PROLOG.match(text, at):
        at = found.end()
    if HTML.match(text, at):
        return "html-page"
    return "" if CONTROL.search(text) or text.startswith(DOCUMENTS) else "text"


def _without_marks(start: bytes) -> bytes:
    """Return a text in UTF-16 as UTF-8, and any text without its byte order mark."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return start.decode("utf-16", "replace").encode(errors="replace")
    return start.removeprefix(codecs.BOM_UTF8)
