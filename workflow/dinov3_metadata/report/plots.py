"""Plots: draw SVG whose texts stay text, so that the browser can choose a font for any script.

Each plot has one panel, so that it can be read on a phone; several of them stand side by side where
there is room.
"""

import warnings
from html import escape
from io import BytesIO
from typing import Any

import numpy as np

from ..errors import count
from .data import Published
from .html import Html, bar, code, embedded, page, table

BARS = 40  # if there are more classes than this, a curve shows all of them
EXTREMES = 100  # and the table only has this many of the largest, and of the smallest
SIDES = (224, 256, 512)  # pixels, to which DINOv2 and DINOv3 crop
BLUE, GREY = "#3b82f6", "#94a3b8"


def classes_page(one: Published) -> bytes:
    """Show the number of images in each class, the largest class first."""
    counts = one.counts
    order = np.argsort(-counts, kind="stable")
    heights = counts[order]
    about = f"{count(len(counts), 'class', 'classes')}, {heights[-1]:,} to {heights[0]:,} images, "
    about += f"median {np.median(heights):,.0f}"
    parts = [f"<p>{about}.</p>"]
    if len(counts) > BARS:
        parts.append(_curve(heights, f"Images per class of {one.split}: {about}"))
    shown = order.tolist()
    if len(shown) > 2 * EXTREMES:
        shown = shown[:EXTREMES] + shown[-EXTREMES:]
        parts.append(f"<p>The {EXTREMES} largest classes and the {EXTREMES} smallest:</p>")
    rows = (
        [code(one.ids[i]), one.names[i], int(counts[i]), bar(int(counts[i]), int(heights[0]))]
        for i in shown
    )
    parts.append(table(["class id", "class name", "images", ""], rows))
    return page(f"Images per class, {one.split}", *parts)


def sizes_page(one: Published) -> bytes:
    """Show how many images are small, width against height, and the aspect ratios.

    Images whose size the audit could not read are left out.
    """
    opened = one.table[(one.table["width"] > 0) & (one.table["height"] > 0)]
    title = f"Sizes, {one.split}"
    if not len(opened):
        return page(title, "<p>The audit could read the size of no image.</p>")
    width, height = opened["width"].astype(float), opened["height"].astype(float)
    median = f"{np.median(width):,.0f} × {np.median(height):,.0f}"
    about = f"{count(len(opened), 'image')}, median {median} pixels"
    rows = [[side, small, 100 * small / len(opened)] for side, small in small_images(one).items()]
    note = "A crop of this size enlarges them, so that training sees fewer details."
    parts = [
        f"<p>{about}.</p>",
        table(["shorter side below, in pixels", "images", "share, %"], rows),
        f"<p><small>{note}</small></p>",
        _plane(width, height, f"Width against height of {about}"),
        _ratios(width, height, f"Aspect ratios of {about}"),
    ]
    return page(title, *parts)


def small_images(one: Published) -> dict[int, int]:
    """Return how many images have a shorter side below each of ``SIDES``, in pixels."""
    shorter = np.minimum(one.table["width"], one.table["height"])
    return {side: int(((shorter > 0) & (shorter < side)).sum()) for side in SIDES}


def _curve(heights: np.ndarray, alt: str) -> Html:
    figure, axes = _figure()
    axes.fill_between(
        np.arange(len(heights)), heights, step="mid", color=BLUE, linewidth=0, rasterized=True
    )
    axes.axhline(np.median(heights), color=GREY, linestyle="--", linewidth=1)
    axes.set_xlim(-0.5, len(heights) - 0.5)
    axes.set_ylim(0)
    axes.set(xlabel="classes, the largest first", ylabel="images")
    return _img(figure, alt)


def _plane(width: np.ndarray, height: np.ndarray, alt: str) -> Html:
    from matplotlib.ticker import LogLocator

    figure, plane = _figure()
    sides = np.concatenate([width, height])
    edges = np.geomspace(sides.min() / 1.5, sides.max() * 1.5, 60)
    grid, _, _ = np.histogram2d(width, height, (edges, edges))
    cells = np.ma.masked_equal(grid.T, 0)
    shades = {"cmap": "viridis_r", "norm": "log", "vmin": 1, "vmax": max(10, cells.max())}
    mesh = plane.pcolormesh(edges, edges, cells, rasterized=True, **shades)
    figure.colorbar(mesh, ax=plane, label="images", format="{x:,.0f}")
    plane.set(xscale="log", yscale="log", xlabel="width in pixels", ylabel="height in pixels")
    steps = (1, 2, 5) if edges[-1] / edges[0] < 100 else (1,)  # as many as there is room for
    for axis in (plane.xaxis, plane.yaxis):
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter("{x:,.0f}")
        axis.set_minor_formatter("")
    return _img(figure, alt)


def _ratios(width: np.ndarray, height: np.ndarray, alt: str) -> Html:
    figure, axes = _figure()
    axes.hist(np.log2(width / height).clip(-3, 3), np.linspace(-3, 3, 61), color=BLUE)
    axes.set_xticks(range(-3, 4), ["≤ 1:8", "1:4", "1:2", "1:1", "2:1", "4:1", "≥ 8:1"])
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel="width : height", ylabel="images")
    return _img(figure, alt)


def _figure() -> tuple[Any, Any]:
    """Return a matplotlib figure, which needs no display, and its axes."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.fonttype"] = "none"
    figure = Figure((4.8, 4), layout="constrained")  # inches
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _img(figure: Any, alt: str) -> Html:
    source = embedded(_svg(figure), "image/svg+xml")
    return Html(f'<img class=plot alt="{escape(alt)}" src="{source}">')


def _svg(figure: Any) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs that the browser will have
        figure.savefig(file, format="svg", dpi=150, metadata={"Date": None}, transparent=True)
    return file.getvalue()
