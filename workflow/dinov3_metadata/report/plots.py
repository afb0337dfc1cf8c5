"""Plots: draw SVG whose texts stay text, so that the browser can choose a font for any script."""

import warnings
from io import BytesIO
from typing import Any

import numpy as np

from ..errors import printable
from .data import Published

BARS = 40  # if there are at most this many classes, each has its own bar
NAMED = 5  # otherwise, this many of the largest and of the smallest classes are named
BLUE, GREY, RED = "#3b82f6", "#94a3b8", "#dc2626"


def bars(one: Published) -> bytes:
    """Plot the number of images in each class, the largest class first, as SVG."""
    counts = one.counts
    order = np.argsort(-counts, kind="stable")
    heights = counts[order]
    title = f"{one.split}: {len(counts):,} classes, {heights[-1]:,} to {heights[0]:,} images"
    title += f", median {np.median(heights):,.0f}"
    if len(counts) <= BARS:
        figure, axes = _figure(9, 1.4 + 0.26 * len(counts))
        drawn = axes.barh(np.arange(len(counts)), heights, color=BLUE)
        axes.bar_label(drawn, [f" {size:,}" for size in heights.tolist()], fontsize=9)
        axes.set_yticks(np.arange(len(counts)), _labels(one, order), fontsize=9)
        axes.invert_yaxis()
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("images")
    else:
        figure, (axes, ends) = _figure(13, 5.5, 2)
        axes.fill_between(
            np.arange(len(counts)), heights, step="mid", color=BLUE, linewidth=0, rasterized=True
        )
        axes.axhline(np.median(heights), color=GREY, linestyle="--", linewidth=1)
        axes.set_xlim(-0.5, len(counts) - 0.5)
        axes.set_ylim(0)
        axes.set_xlabel("classes, the largest first")
        axes.set_ylabel("images")
        some = [*range(NAMED), *range(len(counts) - NAMED, len(counts))]
        rows = [row + (row >= NAMED) for row in range(2 * NAMED)]
        drawn = ends.barh(rows, heights[some], color=[BLUE] * NAMED + [RED] * NAMED)
        ends.bar_label(drawn, [f" {size:,}" for size in heights[some].tolist()], fontsize=9)
        ends.set_yticks(rows, _labels(one, order[some]), fontsize=9)
        ends.invert_yaxis()
        ends.set_xlabel(f"images of the {NAMED} largest and the {NAMED} smallest classes")
    figure.suptitle(title)
    return _svg(figure)


def sizes(one: Published) -> bytes:
    """Plot width against height, and the aspect ratios, as SVG.

    Images whose size the audit could not read are left out.
    """
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


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    """Return a matplotlib figure, which needs no display, and its axes; sizes are in inches."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.fonttype"] = "none"
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots(1, columns)
    for panel in np.atleast_1d(axes):
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs that the browser will have
        figure.savefig(file, format="svg", dpi=150, metadata={"Date": None})
    return file.getvalue()


def _label(name: str, class_id: str) -> str:
    """Return a short label for a class, with ``$`` escaped, which would start a formula."""
    name = name if len(name) <= 28 else f"{name[:27]}…"
    class_id = class_id if len(class_id) <= 16 else f"{class_id[:15]}…"
    both = name if name == class_id else f"{name}  {class_id}"
    return printable(both).replace("$", r"\$")


def _labels(one: Published, classes: np.ndarray) -> list[str]:
    return [_label(str(one.names[i]), str(one.ids[i])) for i in classes.tolist()]
