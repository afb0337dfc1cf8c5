"""Pages: draw the pages that ``snakemake --report report.html`` shows."""

import warnings
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np

from ..addresses import LABELLED, image_path
from ..disk import make_folder
from ..errors import MetadataError, count, printable
from ..files import write_atomically
from ..formats import AuditSummary, read_description
from ..images import opened_image
from ..paths import StrPath, folder_of, path_of
from .data import SHOWN, Published
from .html import Html, code, page, table
from .plots import bars, sizes

TILES = 120  # classes in the mosaic at most
TRIED = 5  # images of a class that are tried; if all are broken, its tile stays empty
TILE = 112  # px


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
    pages = [
        ("Dataset", "Counts per split", "counts", _counts(published)),
        ("Changes", "Since the last publication", "changes", _changes(published)),
        ("Checks", "Verification", "verification", _verification(published)),
        ("Provenance", "Where it comes from", "provenance", _provenance(published)),
    ]
    for one in published:
        split = one.split
        if split in LABELLED:
            pages.append(("Dataset", f"Images per class, {split}", "classes", bars(one)))
            pages.append(("Dataset", f"Mosaic, {split}", "mosaic", _mosaic(one)))
        if one.audit and len(one.table):
            pages.append(("Dataset", f"Sizes, {split}", "sizes", sizes(one)))
            pages.append(("Checks", f"Audit, {split}", "audit", _audit(one, one.audit)))
    drawn = []
    for category, title, kind, content in pages:
        suffix = "svg" if content.startswith(b"<?xml") else "html"
        name = f"{title.lower().replace(', ', '-').replace(' ', '-')}.{suffix}"
        path = path_of(extra, "page", page=name)
        with write_atomically(path) as file:
            file.write(content)
        drawn.append({"path": path, "category": category, "title": title, "kind": kind})
    return drawn


def _counts(published: list[Published]) -> bytes:
    most = max(len(one.entries) for one in published)
    rows = []
    for one in published:
        images, counts = len(one.entries), one.counts
        size = sum(file.bytes for file in one.about.files.values())
        width = max(2, 300 * images // max(1, most))
        bar = Html(f'<div class="bar" style="width: {width}px"></div>')
        row: list[object] = [one.split, images, bar, len(one.names)]
        row += map(int, np.quantile(counts, (0, 0.5, 1))) if len(one.names) else [""] * 3
        rows.append([*row, one.about.skipped, f"{size / 1e6:,.1f}"])
    head = ["split", "images", "", "classes", "least per class", "median", "most"]
    notes = [f"<p>{escape(printable(note))}</p>" for one in published for note in one.about.notes]
    return page("Counts per split", table([*head, "images skipped", "MB"], rows), *notes)


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


def _audit(one: Published, audit: AuditSummary) -> bytes:
    problems = [[name, many] for name, many in audit.problems.items()]
    summary = table(["problem", "images"], [["plain ok", audit.ok], *problems])
    modes = table(["mode", "images"], audit.modes.items())
    about = f"{audit.images:,} images, opened with Pillow {audit.pillow}, {audit.audited}."
    if audit.images != len(one.entries):
        about += f" Since then the split has changed: it has {len(one.entries):,} images now."
    parts = [f"<p>{about}</p>", summary, modes]
    images = [
        [code(image.file or image.image), ", ".join(image.problems), image.mode]
        for image in one.not_ok
    ]
    if images:
        parts += ["<h2>Not plain ok</h2>", table(["image", "problems", "mode"], images)]
    return page(f"Audit, {one.split}", *parts, _rest(audit.images - audit.ok))


def _mosaic(one: Published) -> bytes:
    """Show an image of each class or, if there are too many, of evenly spaced classes."""
    classes = len(one.names)
    chosen = np.unique(np.linspace(0, classes - 1, min(classes, TILES)).round().astype(int))
    starts = np.concatenate([[0], np.cumsum(one.counts)])
    figures = []
    for i in chosen.tolist():
        class_id, name = str(one.ids[i]), str(one.names[i])
        numbers = one.entries["actual_index"][starts[i] : min(starts[i] + TRIED, starts[i + 1])]
        paths = [image_path(one.split, class_id, int(number)) for number in numbers]
        tile = next(
            filter(None, (_tile(Path(one.about.root, path)) for path in paths)), "<div></div>"
        )
        text = f"{escape(printable(name))}<br><small>{escape(printable(class_id))}</small>"
        figures.append(f"<figure>{tile}<figcaption>{text}</figcaption></figure>")
    which = "each class" if len(chosen) == classes else f"{len(chosen)} of {classes:,} classes"
    note = f"<p>The first image of {which} that decodes, in the order of class_index.</p>"
    return page(f"Mosaic, {one.split}", note, *figures)


def _tile(path: Path) -> str:
    """Return an ``<img>`` that contains a small copy of an image; empty if it does not decode."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with opened_image(path) as image:
                image.draft("RGB", (2 * TILE, 2 * TILE))
                small = image.convert("RGB")
    except Exception:  # to find out why is the task of an audit
        return ""
    small.thumbnail((2 * TILE, 2 * TILE))
    file = BytesIO()
    small.save(file, "JPEG", quality=70)
    return f'<img src="data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}" alt="">'
