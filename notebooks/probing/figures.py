"""Figures of the losses: value and gradient along error paths, and who gets the gradient."""

from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.figure import Figure

from kitsnb.drawing import COLOURS, PAGE, PALETTE, canvas
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
        base = (row.loss.removeprefix(LOG_COSH), row.parameters)
        if base not in bases:
            bases.append(base)
        place = bases.index(base) % len(MARKS)
        style = {"color": PALETTE[place], "marker": MARKS[place], "markersize": 3, "markevery": 0.2}
        style["linestyle"] = "--" if row.loss.startswith(LOG_COSH) else "-"
        styles[row.name] = style
    return styles


def error_paths(table: pd.DataFrame, rows: Sequence, geometry: Geometry) -> Figure:
    """Draw value (top, over that of finding nothing) and size of the gradient (bottom) along each error path.

    ``table`` is that of ``probes.along_paths``; there is a line per row.
    """
    styles = line_styles(rows)
    heading = f"Losses along controlled errors ({geometry})"
    figure, grid = canvas(heading, (PAGE, 4.1), 2, len(PATHS), sharey="row", sharex="col")
    for (top, bottom), (name, path) in zip(grid.T, PATHS.items()):
        for row in rows:
            line = table[(table.path == name) & (table.loss == row.name)]
            top.plot(line.amount, line.relative, label=row.title, linewidth=1.1, **styles[row.name])
            bottom.plot(line.amount, line.gradient, linewidth=1.1, **styles[row.name])
        top.set_title(name, fontsize="medium")
        bottom.set(xlabel=f"error ({path.unit})", yscale="log")
    grid[0, 0].set_ylabel("loss over that of\nfinding nothing")
    grid[1, 0].set_ylabel("size of the gradient")
    legend_below(figure, grid[0, 0].get_lines(), columns=2 if len(rows) > 3 else 3)
    return figure


def gradient_shares(table: pd.DataFrame, rows: Sequence, shares: Sequence[float]) -> Figure:
    """Draw the part of the gradient that falls on kidney and tumour voxels, by loss and stage of training.

    ``table`` is that of ``probes.gradient_shares``; dotted lines are the classes' own ``shares`` of the voxels.
    """
    size = (PAGE, 0.95 + 0.21 * len(rows))
    heading = "Who gets the gradient at KiTS19's imbalance (random logits)"
    figure, panels = canvas(heading, size, 1, len(STAGES), sharey=True, sharex=True)
    titles = {row.name: row.title[:40] for row in rows}
    wanted = table[table.loss.isin(titles)].replace({"loss": titles})
    for axes, stage in zip(panels, STAGES):
        part = wanted[wanted.stage == stage]
        for name, marker, share in (("kidney", "o", shares[1]), ("tumour", "D", shares[2])):
            colour = COLOURS[name]
            axes.plot(part[name], part.loss, marker, color=colour, markersize=4, label=f"on {name} voxels")
            axes.axvline(share, color=colour, linestyle=":", linewidth=0.9, label=f"{name}'s share of the voxels")
        axes.set(xscale="log", xlabel="share of the gradient", title=stage)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    legend_below(figure, panels[0].get_legend_handles_labels()[0])
    return figure
