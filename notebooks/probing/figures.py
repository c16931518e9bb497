"""Figures of the losses: value and gradient along error paths, and who gets the gradient."""

import textwrap
from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kitsnb.drawing import COLOURS, PAGE, PALE, PALETTE, canvas
from kitsnb.losses.registry import LOG_COSH
from kitsnb.study.figures import legend_below

from probing.errors import PATHS, Geometry
from probing.probes import STAGES

#: A mark to each base loss, so that no reader needs the colours.
MARKS = "osD^vPX*<>"


def line_styles(rows: Iterable) -> dict[str, dict]:
    """Return colour, mark and dashes of each row of Table 1, by its name; a log-cosh row is its base's, dashed."""
    bases = []
    styles = {}
    for row in rows:
        base = (row.loss.removeprefix(LOG_COSH), str(sorted(row.parameters.items())))
        if base not in bases:
            bases.append(base)
        place = bases.index(base) % len(MARKS)
        dashes = "--" if row.loss.startswith(LOG_COSH) else "-"
        styles[row.name] = {"color": PALETTE[place], "marker": MARKS[place], "linestyle": dashes, "label": row.title,
                            "markersize": 3, "markevery": 0.2, "linewidth": 1.1}
    return styles


def error_paths(table: pd.DataFrame, rows: Sequence, geometry: Geometry) -> Figure:
    """Draw value (top, over that of finding nothing) and size of the gradient (bottom) along each error path.

    ``table`` is that of ``probes.along_paths``; there is a line per row.
    """
    styles = line_styles(rows)
    heading = f"Losses along controlled errors ({geometry})"
    figure, grid = canvas(heading, (PAGE, 4.1), 2, len(PATHS), sharey="row", sharex="col")
    for (top, bottom), (name, path) in zip(grid.T, PATHS.items()):
        for loss, style in styles.items():
            line = table[(table.path == name) & (table.loss == loss)]
            top.plot(line.amount, line.relative, **style)
            bottom.plot(line.amount, line.gradient, **style)
        top.set_title(name, fontsize="medium")
        bottom.set(xlabel=f"error ({path.unit})", yscale="log")
    grid[0, 0].set_ylabel("loss over that of\nfinding nothing")
    grid[1, 0].set_ylabel("size of the gradient")
    longest = max(len(row.title) for row in rows)
    legend_below(figure, grid[0, 0].get_lines(), columns=3 if longest < 32 else 2)
    return figure


def gradient_shares(table: pd.DataFrame, rows: Sequence, shares: Sequence[float]) -> Figure:
    """Draw the part of the gradient that falls on kidney and tumour voxels, by loss and stage of training.

    ``table`` is that of ``probes.gradient_shares``; dotted lines are the classes' own ``shares`` of the voxels.
    """
    heading = "Who gets the gradient at KiTS19's imbalance (random logits)"
    figure, panels = canvas(heading, (PAGE, 0.95 + 0.21 * len(rows)), 1, len(STAGES), sharey=True, sharex=True)
    names = [row.name for row in rows]
    for axes, stage in zip(panels, STAGES):
        part = table[table.stage == stage].set_index("loss").loc[names]
        axes.hlines(range(len(rows)), part.kidney, part.tumour, color=PALE, zorder=0)
        for name, marker, share in (("kidney", "o", shares[1]), ("tumour", "D", shares[2])):
            axes.plot(part[name], range(len(rows)), marker, color=COLOURS[name], markersize=4)
            axes.axvline(share, color=COLOURS[name], linestyle=":", linewidth=0.9)
        axes.set_title(stage, fontsize="medium")
        axes.set(xscale="log", xlabel="share of the gradient")
    titles = [textwrap.shorten(row.title, 40) for row in rows]
    panels[0].set(yticks=range(len(rows)), yticklabels=titles, ylim=(len(rows) - 0.5, -0.5))
    handles = [Line2D([], [], color=COLOURS["kidney"], marker="o", linestyle="", label="on kidney voxels"),
               Line2D([], [], color=COLOURS["tumour"], marker="D", linestyle="", label="on tumour voxels"),
               Line2D([], [], color="black", linestyle=":", label="share of the voxels")]
    legend_below(figure, handles)
    return figure
