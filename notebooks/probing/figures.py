"""Figures of the losses: value and gradient along error paths, and who gets the gradient.

Losses keep their colour and their mark: one of each a base loss, dashed for its log-cosh form.
"""

import textwrap
from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kitsnb.drawing import COLOURS, PAGE, PALE, PALETTE, canvas
from kitsnb.losses.registry import LOG_COSH
from kitsnb.study.figures import NAMES, legend_below

from probing.probes import PATHS, STAGES, Geometry

#: A mark to each base loss, so that no reader needs the colours.
MARKS = "osD^vPX*<>"


def line_styles(rows: Sequence[Mapping]) -> dict[str, dict]:
    """Colour, mark and dashes of each row of Table 1 (``name``, ``loss``, ``parameters``), by its name.

    The base of a row is its loss without log-cosh, with the parameters that shape it.
    """
    bases, styles = [], {}
    for row in rows:
        parameters = {key: value for key, value in (row.get("parameters") or {}).items() if key != "batch"}
        base = (row["loss"].removeprefix(LOG_COSH), str(sorted(parameters.items())))
        bases += [] if base in bases else [base]
        number = bases.index(base)
        styles[row["name"]] = {
            "color": (*PALETTE, *sns.color_palette("dark").as_hex())[number % 20], "marker": MARKS[number % len(MARKS)],
            "markersize": 3, "markevery": 0.2, "linestyle": "--" if row["loss"].startswith(LOG_COSH) else "-"}
    return styles


def error_paths(table: pd.DataFrame, rows: Sequence[Mapping], geometry: Geometry) -> Figure:
    """Value (top, over that of finding nothing) and size of the gradient (bottom, logarithmic) along each error path.

    ``table`` is that of ``probes.along_paths``; a line a loss of ``rows``.
    """
    styles, titles = line_styles(rows), [row.get("title", row["name"]) for row in rows]
    heading = f"Losses along controlled errors ({geometry})"
    figure, grid = canvas(heading, (PAGE, 4.1), 2, len(PATHS), sharey="row", sharex="col")
    for (top, bottom), (name, path) in zip(grid.T, PATHS.items(), strict=True):
        part = table[table.path == name]
        for loss, style in styles.items():
            line = part[part.loss == loss]
            top.plot(line.amount, line.relative, linewidth=1.1, **style)
            bottom.plot(line.amount, line.gradient, linewidth=1.1, **style)
        top.set_title(name, fontsize="medium")
        bottom.set(xlabel=f"error ({path.unit})", yscale="log")
    grid[0, 0].set_ylabel("loss over that of\nfinding nothing")
    grid[1, 0].set_ylabel("size of the gradient")
    handles = [Line2D([], [], label=title, **style) for title, style in zip(titles, styles.values())]
    legend_below(figure, handles, columns=3 if max(map(len, titles)) < 32 else 2)
    return figure


def gradient_shares(table: pd.DataFrame, rows: Sequence[Mapping], shares: Sequence[float]) -> Figure:
    """The part of the gradient that falls on kidney and tumour voxels, by loss and stage of training (logarithmic).

    ``table`` is that of ``probes.gradient_shares``; dotted lines are the classes' own ``shares`` of the voxels.
    """
    titles = {row["name"]: textwrap.shorten(row.get("title", row["name"]), 40) for row in rows}
    markers = {"kidney": "o", "tumour": "D"}
    heading = "Who gets the gradient at KiTS19's imbalance (random logits)"
    figure, panels = canvas(heading, (PAGE, 0.95 + 0.21 * len(rows)), 1, len(STAGES), sharey=True, sharex=True)
    lowest = table[[*markers]].to_numpy()
    for axes, stage in zip(panels, STAGES, strict=True):
        part = table[table.stage == stage].set_index("loss").loc[list(titles)].rename(titles)
        axes.hlines(part.index, part[[*markers]].min(axis=1), part[[*markers]].max(axis=1), color=PALE, zorder=0)
        for (name, marker), share in zip(markers.items(), shares[1:]):
            sns.scatterplot(x=part[name], y=part.index, marker=marker, s=20, color=COLOURS[name], ax=axes)
            axes.axvline(share, color=COLOURS[name], linestyle=":", linewidth=0.9)
        axes.set_title(stage, fontsize="medium")
        axes.set(xscale="log", xlim=(min(lowest[lowest > 0].min(), shares[2]) / 2, 1.1), ylabel="",
                 xlabel="share of the gradient")
    figure.axes[0].set_ylim(len(rows) - 0.5, -0.5)
    dot = {"linestyle": "", "markersize": 4}
    handles = [Line2D([], [], color=COLOURS[name], marker=marker, label=f"on {NAMES[name]} voxels", **dot)
               for name, marker in markers.items()]
    legend_below(figure, [*handles, Line2D([], [], color="black", linestyle=":", label="share of the voxels")])
    return figure
