"""Pages: draw the pages that ``snakemake --report report.html`` shows."""

import re
from collections.abc import Iterable

import numpy as np

from ..addresses import LABELLED
from ..disk import make_folder
from ..errors import MetadataError, count
from ..files import write_atomically
from ..formats import read_description
from ..paths import StrPath, folder_of, path_of
from .data import SHOWN, Published
from .doubles import doubles_pages, read_duplicates
from .html import Section, code, page, pages, table, text
from .overview import TITLE, overview_page, overview_rst
from .plots import classes_page, sizes_page
from .problems import audit_pages
from .tiles import below, tile

TILES = 120  # classes in the mosaic at most
TRIED = 5  # images of a class that are tried; if all are broken, its tile stays empty
FIRST = "overview.rst"
"""The file in the folder of the pages with the text that Snakemake's report shows first."""


def draw_report(extra: StrPath, splits: Iterable[str]) -> list[dict[str, str]]:
    """Draw all pages and plots of the report, and write them to ``<WORK>/report``.

    Args:
        extra: The folder that was published to.
        splits: The splits of the dataset; those that are not published are left out.

    Returns:
        For each file its ``path``, the ``category`` and ``title`` under which the report lists it,
        and the ``kind`` of page, which names its caption in ``workflow/report``.

    Raises:
        MetadataError: Nothing is published.
    """
    published = [
        Published(extra, split, about)
        for split in splits
        if (about := read_description(extra, split))
    ]
    if not published:
        raise MetadataError(
            f"Nothing is published in {extra} yet. Make the metadata first, with "
            "`snakemake --cores 4` or `dinov3-metadata make`."
        )
    make_folder(folder_of(extra, "page"))
    found = read_duplicates(extra, published)
    listed = [
        ("At a glance", "glance", TITLE, overview_page(published, found)),
        ("Dataset", "counts", "Counts per split", _counts(published)),
        ("Changes", "changes", "Since the last publication", _changes(published)),
        ("Checks", "verification", "Verification", _verification(published)),
        ("Provenance", "provenance", "Where it comes from", _provenance(published)),
    ]
    if found:
        listed += [("Checks", "doubles", *one) for one in doubles_pages(published, found)]
    for one in published:
        split = one.split
        if split in LABELLED:
            listed.append(("Dataset", "classes", f"Images per class, {split}", classes_page(one)))
            listed += [("Dataset", "mosaic", *part) for part in _mosaic(one)]
        if one.audit and len(one.table):
            listed.append(("Dataset", "sizes", f"Sizes, {split}", sizes_page(one)))
            listed += [("Checks", "audit", *part) for part in audit_pages(one, one.audit)]
    drawn, names = [], {}
    for category, kind, title, content in listed:
        names[title] = f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}.html"
        path = _write(extra, names[title], content)
        drawn.append({"path": path, "category": category, "title": title, "kind": kind})
    _write(extra, FIRST, overview_rst(published, found, names))
    return drawn


def _write(extra: StrPath, name: str, content: bytes) -> str:
    path = path_of(extra, "page", page=name)
    with write_atomically(path) as file:
        file.write(content)
    return path


def _counts(published: list[Published]) -> bytes:
    columns = []
    for one in published:
        size = sum(file.bytes for file in one.about.files.values())
        column: list[object] = [len(one.entries), len(one.names)]
        column += map(int, np.quantile(one.counts, (0, 0.5, 1))) if len(one.names) else [""] * 3
        columns.append([*column, one.about.skipped, size / 1e6])
    whats = ["images", "classes", "least per class", "median", "most", "images skipped", "MB"]
    rows = ([what, *cells] for what, *cells in zip(whats, *columns, strict=True))
    counts = table(["", *(one.split for one in published)], rows, sorts=False)
    notes = [f"<p>{text(note)}</p>" for one in published for note in one.about.notes]
    return page("Counts per split", counts, *notes)


def _changes(published: list[Published]) -> bytes:
    parts = []
    for one in published:
        what, changes = one.split, one.changes
        parts.append(f"<h2>{what}</h2>")
        if not changes:
            parts.append("<p>What it changed went with the work folder.</p>")
            continue
        if changes.first:
            images = count(len(one.entries), "image")
            parts.append(f"<p>This is the first publication: {images}.</p>")
            continue
        if not changes.classes:
            parts.append("<p>The same classes and images as before.</p>")
            continue
        names = dict(zip(one.ids.tolist(), one.names.tolist(), strict=False))
        kinds = dict.fromkeys(changes.new, "new class")
        kinds |= dict.fromkeys(changes.gone, "class removed")
        rows = [
            [code(class_id), names.get(class_id, ""), kinds.get(class_id, ""), added, removed]
            for class_id, (added, removed) in changes.classes.items()
        ]
        added, of = count(changes.added, "image"), count(len(rows), "class", "classes")
        parts.append(f"<p>{added} added, {changes.removed:,} removed, in {of}.</p>")
        head = ["class id", "class name", "", "images added", "images removed"]
        parts.append(table(head, rows[:SHOWN]) + _rest(len(rows)))
    return page("Changes since the last publication", *parts)


def _rest(rows: int) -> str:
    return f"<p><small>... and {rows - SHOWN:,} more</small></p>" if rows > SHOWN else ""


def _verification(published: list[Published]) -> bytes:
    rows = [
        [one.split, check, one.report.verified]
        for one in published
        if one.report
        for check in one.report.checks
    ]
    if not rows:
        note = "<p>The reports went with the work folder. Run snakemake again to have them.</p>"
        return page("Verification", note)
    return page("Verification", table(["split", "checked and found true", "at"], rows))


def _provenance(published: list[Published]) -> bytes:
    parts = []
    for one in published:
        about = one.about
        labels, numbering = about.labels, about.numbering
        rows = [
            ["dataset", code(about.dataset)],
            ["layout", about.layout],
            ["root for DINOv3", code(about.root)],
            ["classes numbered", " and ".join(numbering.splits) if numbering else "none"],
            ["class names", code(labels.file) if labels else "none"],
            ["read as", labels.form if labels else ""],
            *[[name, code(file.sha256)] for name, file in about.files.items()],
            *[[name, version] for name, version in about.versions.items()],
        ]
        parts.append(f"<h2>{one.split}</h2>{table(['', ''], rows)}")
    return page("Provenance", *parts)


def _mosaic(one: Published) -> list[tuple[str, bytes]]:
    """Show an image of each class or, if there are too many, of evenly spaced classes."""
    classes = len(one.names)
    chosen = np.unique(np.linspace(0, classes - 1, min(classes, TILES)).round().astype(int))
    starts = np.concatenate([[0], np.cumsum(one.counts)])
    figures = []
    for i in chosen.tolist():
        class_id, name = str(one.ids[i]), str(one.names[i])
        paths = [one.path(row) for row in range(starts[i], min(starts[i] + TRIED, starts[i + 1]))]
        tiles = (tile(below(one.about.root, path), f"an image of {name}") for path in paths)
        shown = next((found for found in tiles if found.startswith("<img")), tile(None, ""))
        caption = f"{text(name)}<br><small>{text(class_id)}</small>"
        figures.append(f"<figure>{shown}<figcaption>{caption}</figcaption></figure>")
    which = "each class" if len(chosen) == classes else f"{len(chosen)} of {classes:,} classes"
    note = f"<p>The first image of {which} that decodes, in the order of class_index.</p>"
    return pages(f"Mosaic, {one.split}", lambda _: note, [Section("", "", figures)])
