"""Report: the pages and pictures of ``snakemake --report report.html``, of what is published.

Pictures are SVG with text as text, so that the browser finds a font for class names in any script.
"""

import warnings
from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from .audit import ROW, first_not_ok, opened_image
from .chain import folders_of
from .disk import make_folder
from .entries import entries_dtype
from .errors import MetadataError, count, printable
from .files import open_array, reading, write_atomically
from .layout import LABELLED, WORK, StrPath, image_path
from .publish import (
    array_names,
    audit_names,
    metadata_name,
    published_state,
    read_changes,
    read_description,
    read_report,
    read_summary,
)
from .replace import is_torn, torn

BARS = 40  # classes that are told apart by a bar of their own
NAMED = 5  # classes named at each end, if there are more
TILES = 120  # classes of the mosaic
TRIED = 5  # images of a class that may be broken before its tile stays empty
TILE = 112  # px
SHOWN = 500  # rows of a table; the JSON beside the arrays has all

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
BLUE, GREY, RED = "#3b82f6", "#94a3b8", "#dc2626"


class Html(str):
    """Text that is HTML already."""


class Published:
    """What is published of a split.

    Attributes:
        split: ``TRAIN``, ``VAL`` or ``TEST``.
        about: ``metadata-SPLIT.json``.
        entries, ids, names: The arrays; for TEST ids and names are empty.
        counts: (classes,) ``<i8``: images of each class.
        report: Of ``verify``; empty if it was removed with the work folder.
        changes: Of ``changes.compare``.
        audit: The counts of the last audit; empty if there was none.
        table: ``audit-SPLIT.npy``; empty likewise.
        not_ok: The first images of ``audit-SPLIT.json`` that are not plain ok.
    """

    def __init__(self, extra: StrPath, split: str) -> None:
        if is_torn(extra, split):
            raise torn(extra, split)
        work = Path(extra, WORK)
        self.split = split
        self.about = read_description(extra, split)
        self.entries, *classes = self._open_arrays(extra)
        self.ids, self.names = classes or [np.empty(0, "<U1")] * 2
        self.counts = np.empty(0, int)
        if classes:
            with reading(Path(extra, array_names(split)[0]), published=True):
                self.counts = self._count_images()
        published = published_state(extra, split)
        self.report = (
            read_report(f"{folders_of(work, published['state'])[2]}/verify-{split}.json")
            if published
            else {}
        )
        self.changes = read_changes(work, split)
        self.audit = read_summary(extra, split)
        table = Path(extra, audit_names(split)[0])
        self.table: np.ndarray = np.empty(0, ROW)
        if self.audit and table.exists():
            with suppress(MetadataError):  # damaged: the next audit makes it anew
                found = open_array(table, published=True)
                self.table = found if (found.dtype, found.ndim) == (ROW, 1) else self.table
        self.not_ok = first_not_ok(extra, split, SHOWN) if len(self.table) else []

    def _open_arrays(self, extra: StrPath) -> list[np.ndarray]:
        """Map the arrays, and check that they are of the types and lengths that are described."""
        about = self.about
        dtype = entries_dtype(about["class_id_length"], about["class_name_length"])
        types = dtype, dtype["class_id"], dtype["class_name"]
        rows = about["images"], about["classes"], about["classes"]
        arrays = []
        for name, *due in zip(array_names(self.split), types, rows, strict=False):
            array = np.asarray(open_array(Path(extra, name), published=True))
            with reading(Path(extra, name), published=True):
                if [array.dtype, array.shape] != [due[0], (due[1],)]:
                    raise ValueError(f"it is not as {metadata_name(self.split)} says")
            arrays.append(array)
        return arrays

    def _count_images(self) -> np.ndarray:
        index = self.entries["class_index"]
        if len(index) and index.max() >= len(self.ids):
            raise ValueError("a row is of a class that there is not")
        return np.bincount(index, minlength=len(self.ids))


def draw_report(extra: StrPath, splits: Iterable[str]) -> list[dict[str, str]]:
    """Draw everything that the report shows, into ``<WORK>/report``.

    Args:
        extra: The folder that was published to.
        splits: Those of the dataset; one that is not published is left out.

    Returns:
        For each file its ``path``, the ``category`` and the ``title`` that it stands under, and the
        ``kind`` of page that it is.

    Raises:
        MetadataError: Nothing is published.
    """
    there = [split for split in splits if read_description(extra, split)]
    if not there:
        raise MetadataError(
            f"Nothing is published in {extra} yet. Run the same command without --report first."
        )
    published = [Published(extra, split) for split in there]
    folder = Path(extra, WORK, "report")
    make_folder(folder)
    pages = [
        ("Dataset", "Counts per split", "counts", _counts(published)),
        ("Changes", "Since the last publication", "changes", _changes(published)),
        ("Checks", "Verification", "verification", _verification(published)),
        ("Provenance", "Where it comes from", "provenance", _provenance(published)),
    ]
    for one in published:
        split = one.split
        if split in LABELLED:
            pages.append(("Dataset", f"Images per class, {split}", "classes", _bars(one)))
            pages.append(("Dataset", f"Mosaic, {split}", "mosaic", _mosaic(one)))
        if len(one.table):
            pages.append(("Dataset", f"Sizes, {split}", "sizes", _sizes(one)))
            pages.append(("Checks", f"Audit, {split}", "audit", _audit(one)))
    drawn = []
    for category, title, kind, content in pages:
        suffix = "svg" if content.startswith(b"<?xml") else "html"
        path = folder / f"{title.lower().replace(', ', '-').replace(' ', '-')}.{suffix}"
        with write_atomically(path) as file:
            file.write(content)
        drawn.append({"path": str(path), "category": category, "title": title, "kind": kind})
    return drawn


def _page(title: str, *parts: str) -> bytes:
    head = f'<!DOCTYPE html><meta charset="utf-8"><title>{escape(title)}</title>'
    text = f"{head}<style>{STYLE}</style><h1>{escape(title)}</h1>{''.join(parts)}"
    return text.encode(errors="backslashreplace")


def _table(head: Iterable[str], content: Iterable[Iterable[object]]) -> str:
    """A table; numbers go to the right."""

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


def _code(value: object) -> Html:
    return Html(f"<code>{escape(printable(str(value)))}</code>")


def _counts(published: list[Published]) -> bytes:
    most = max(len(one.entries) for one in published)
    rows = []
    for one in published:
        images, counts = len(one.entries), one.counts
        size = sum(file["bytes"] for file in one.about["files"].values())
        width = max(2, 300 * images // max(1, most))
        bar = Html(f'<div class="bar" style="width: {width}px"></div>')
        row: list[object] = [one.split, images, bar, len(one.names)]
        row += map(int, np.quantile(counts, (0, 0.5, 1))) if len(one.names) else [""] * 3
        rows.append([*row, one.about["skipped"], f"{size / 1e6:,.1f}"])
    head = ["split", "images", "", "classes", "least per class", "median", "most"]
    return _page("Counts per split", _table([*head, "images skipped", "MB"], rows))


def _changes(published: list[Published]) -> bytes:
    parts = []
    for one in published:
        what, changes = one.split, one.changes
        parts.append(f"<h2>{what}</h2>")
        if not changes:
            parts.append("<p>What it changed went with the work folder.</p>")
            continue
        if changes["first"]:
            images = count(len(one.entries), "image")
            parts.append(f"<p>This is the first publication: {images}.</p>")
            continue
        if not changes["classes"]:
            parts.append("<p>The same classes and images as before.</p>")
            continue
        names = dict(zip(one.ids.tolist(), one.names.tolist(), strict=False))
        kinds = dict.fromkeys(changes["new"], "new class")
        kinds |= dict.fromkeys(changes["gone"], "class removed")
        rows = [
            [_code(class_id), names.get(class_id, ""), kinds.get(class_id, ""), added, removed]
            for class_id, (added, removed) in changes["classes"].items()
        ]
        added, of = count(changes["added"], "image"), count(len(rows), "class", "classes")
        parts.append(f"<p>{added} added, {changes['removed']:,} removed, in {of}.</p>")
        head = ["class id", "class name", "", "images added", "images removed"]
        parts.append(_table(head, rows[:SHOWN]) + _rest(len(rows)))
    return _page("Changes since the last publication", *parts)


def _rest(rows: int) -> str:
    return f"<p><small>... and {rows - SHOWN:,} more</small></p>" if rows > SHOWN else ""


def _verification(published: list[Published]) -> bytes:
    rows = [
        [one.split, check, one.report["verified"]]
        for one in published
        for check in one.report.get("checks", ())
    ]
    if not rows:
        note = "<p>The reports went with the work folder. Run snakemake again to have them.</p>"
        return _page("Verification", note)
    return _page("Verification", _table(["split", "checked and found true", "at"], rows))


def _provenance(published: list[Published]) -> bytes:
    parts = []
    for one in published:
        about = one.about
        labels = about["labels"] or {}
        rows = [
            ["dataset", _code(about["dataset"])],
            ["layout", about["layout"]],
            ["root for DINOv3", _code(about["root"])],
            ["class names", _code(labels["file"]) if labels else "none"],
            ["read as", labels.get("form", "")],
            *[[name, _code(file["sha256"])] for name, file in about["files"].items()],
            *[[name, version] for name, version in about["versions"].items()],
        ]
        parts.append(f"<h2>{one.split}</h2>{_table(['', ''], rows)}")
    return _page("Provenance", *parts)


def _audit(one: Published) -> bytes:
    audit = one.audit
    problems = [[name, many] for name, many in audit["problems"].items()]
    summary = _table(["problem", "images"], [["plain ok", audit["ok"]], *problems])
    modes = _table(["mode", "images"], audit["modes"].items())
    about = f"{audit['images']:,} images, opened with Pillow {audit['pillow']}, {audit['audited']}."
    if audit["images"] != len(one.entries):
        about += f" Since then the split has changed: it has {len(one.entries):,} images now."
    parts = [f"<p>{about}</p>", summary, modes]
    images = [
        [_code(image.get("file", image["image"])), ", ".join(image["problems"]), image["mode"]]
        for image in one.not_ok
    ]
    if images:
        parts += ["<h2>Not plain ok</h2>", _table(["image", "problems", "mode"], images)]
    return _page(f"Audit, {one.split}", *parts, _rest(audit["images"] - audit["ok"]))


def _mosaic(one: Published) -> bytes:
    """An image of each class, or of classes at equal distances."""
    classes = len(one.names)
    chosen = np.unique(np.linspace(0, classes - 1, min(classes, TILES)).round().astype(int))
    starts = np.concatenate([[0], np.cumsum(one.counts)])
    figures = []
    for i in chosen.tolist():
        class_id, name = str(one.ids[i]), str(one.names[i])
        numbers = one.entries["actual_index"][starts[i] : min(starts[i] + TRIED, starts[i + 1])]
        paths = [image_path(one.split, class_id, int(number)) for number in numbers]
        tile = next(
            filter(None, (_tile(Path(one.about["root"], path)) for path in paths)), "<div></div>"
        )
        text = f"{escape(printable(name))}<br><small>{escape(printable(class_id))}</small>"
        figures.append(f"<figure>{tile}<figcaption>{text}</figcaption></figure>")
    which = "each class" if len(chosen) == classes else f"{len(chosen)} of {classes:,} classes"
    note = f"<p>The first image of {which} that decodes, in the order of class_index.</p>"
    return _page(f"Mosaic, {one.split}", note, *figures)


def _tile(path: Path) -> str:
    """An ``<img>`` with the picture in it; empty if it does not decode."""
    try:
        with warnings.catch_warnings(action="ignore"), opened_image(path) as image:
            image.draft("RGB", (2 * TILE, 2 * TILE))
            small = image.convert("RGB")
    except Exception:  # an audit says why
        return ""
    small.thumbnail((2 * TILE, 2 * TILE))
    file = BytesIO()
    small.save(file, "JPEG", quality=70)
    return f'<img src="data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}" alt="">'


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    """A figure of matplotlib, which needs no display, and its axes."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.fonttype"] = "none"
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots(1, columns)
    for one in np.atleast_1d(axes):
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings(action="ignore"):  # of glyphs that the browser will have
        figure.savefig(file, format="svg", dpi=150, metadata={"Date": None})
    return file.getvalue()


def _label(name: str, class_id: str) -> str:
    """A class for an axis: never longer than a line, and no formula."""
    name = name if len(name) <= 28 else f"{name[:27]}…"
    class_id = class_id if len(class_id) <= 16 else f"{class_id[:15]}…"
    both = name if name == class_id else f"{name}  {class_id}"
    return printable(both).replace("$", r"\$")


def _labels(one: Published, classes: np.ndarray) -> list[str]:
    return [_label(str(one.names[i]), str(one.ids[i])) for i in classes.tolist()]


def _bars(one: Published) -> bytes:
    """Images per class, from the most to the least, with the ends named."""
    counts = one.counts
    order = np.argsort(-counts, kind="stable")
    sizes = counts[order]
    title = f"{one.split}: {len(counts):,} classes, {sizes[-1]:,} to {sizes[0]:,} images"
    title += f", median {np.median(sizes):,.0f}"
    if len(counts) <= BARS:
        figure, axes = _figure(9, 1.4 + 0.26 * len(counts))
        bars = axes.barh(np.arange(len(counts)), sizes, color=BLUE)
        axes.bar_label(bars, [f" {size:,}" for size in sizes.tolist()], fontsize=9)
        axes.set_yticks(np.arange(len(counts)), _labels(one, order), fontsize=9)
        axes.invert_yaxis()
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("images")
    else:
        figure, (axes, ends) = _figure(13, 5.5, 2)
        axes.fill_between(
            np.arange(len(counts)), sizes, step="mid", color=BLUE, linewidth=0, rasterized=True
        )
        axes.axhline(np.median(sizes), color=GREY, linestyle="--", linewidth=1)
        axes.set_xlim(-0.5, len(counts) - 0.5)
        axes.set_ylim(0)
        axes.set_xlabel("classes, the largest first")
        axes.set_ylabel("images")
        some = [*range(NAMED), *range(len(counts) - NAMED, len(counts))]
        rows = [row + (row >= NAMED) for row in range(2 * NAMED)]
        bars = ends.barh(rows, sizes[some], color=[BLUE] * NAMED + [RED] * NAMED)
        ends.bar_label(bars, [f" {size:,}" for size in sizes[some].tolist()], fontsize=9)
        ends.set_yticks(rows, _labels(one, order[some]), fontsize=9)
        ends.invert_yaxis()
        ends.set_xlabel(f"images of the {NAMED} largest and the {NAMED} smallest classes")
    figure.suptitle(title)
    return _svg(figure)


def _sizes(one: Published) -> bytes:
    """Width against height, and the aspect ratios, of all images whose size an audit could read."""
    from matplotlib.ticker import LogLocator

    opened = one.table[(one.table["width"] > 0) & (one.table["height"] > 0)]
    width, height = opened["width"].astype(float), opened["height"].astype(float)
    figure, (plane, ratios) = _figure(13, 5.5, 2)
    if len(opened):
        sides = np.concatenate([width, height])
        edges = np.geomspace(sides.min() / 1.5, sides.max() * 1.5, 60)
        grid, _, _ = np.histogram2d(width, height, (edges, edges))
        cells = np.ma.masked_equal(grid.T, 0)
        shades = {"cmap": "viridis_r", "norm": "log", "vmin": 1, "vmax": max(10, cells.max())}
        mesh = plane.pcolormesh(edges, edges, cells, rasterized=True, **shades)
        figure.colorbar(mesh, ax=plane, label="images", format="{x:,.0f}")
        ratio = np.log2(width / height).clip(-3, 3)
        ratios.hist(ratio, np.linspace(-3, 3, 61), color=BLUE)
        ratios.set_xticks(range(-3, 4), ["≤ 1:8", "1:4", "1:2", "1:1", "2:1", "4:1", "≥ 8:1"])
    plane.set(xscale="log", yscale="log", xlabel="width in pixels", ylabel="height in pixels")
    for axis in (plane.xaxis, plane.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:,.0f}")
        axis.set_minor_formatter("")
    ratios.yaxis.set_major_formatter("{x:,.0f}")
    ratios.set(xlabel="width : height", ylabel="images")
    median = f"{np.median(width):,.0f} × {np.median(height):,.0f}" if len(opened) else "none"
    figure.suptitle(f"{one.split}: {len(opened):,} images, median {median} pixels")
    return _svg(figure)
