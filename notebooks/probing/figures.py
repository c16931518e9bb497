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
    places = {}
    styles = {}
    for row in rows:
        base = f"{row.loss.removeprefix(LOG_COSH)} {row.parameters}"
        place = places.setdefault(base, len(places)) % len(MARKS)
        dashes = "--" if row.loss.startswith(LOG_COSH) else "-"
        styles[row.name] = {"color": PALETTE[place], "marker": MARKS[place], "markersize": 3, "linestyle": dashes}
    return styles


def error_paths(table: pd.DataFrame, rows: Sequence, geometry: Geometry) -> Figure:
    """Draw the ``table`` of ``probes.along_paths``: relative value (top), size of the gradient, a line per row."""
    styles = line_styles(rows)
    figure, grid = canvas(
        f"Losses along controlled errors ({geometry})", (PAGE, 4.1), 2, len(PATHS), sharey="row", sharex="col")
    for (top, bottom), name in zip(grid.T, PATHS):
        lines = table[table.path == name].groupby("loss")
        for row in rows:
            line = lines.get_group(row.name)
            top.plot(line.amount, line.relative, label=row.title, **styles[row.name])
            bottom.plot(line.amount, line.gradient, **styles[row.name])
        top.set_title(name, fontsize="medium")
        bottom.set(xlabel=f"error ({PATHS[name].unit})", yscale="log")
    grid[0, 0].set_ylabel("loss over that of\nfinding nothing")
    grid[1, 0].set_ylabel("size of the gradient")
    legend_below(figure, grid[0, 0], columns=2)
    return figure


def gradient_shares(table: pd.DataFrame, rows: Sequence, shares: Sequence[float]) -> Figure:
    """Draw the ``table`` of ``probes.gradient_shares``; dotted lines are the classes' own ``shares`` of the voxels."""
    heading = "Who gets the gradient at KiTS19's imbalance (random logits)"
    figure, panels = canvas(heading, (PAGE, 0.95 + 0.21 * len(rows)), 1, len(STAGES), sharey=True, sharex=True)
    places = range(len(rows))
    names = [row.name for row in rows]
    for axes, (stage, part) in zip(panels, table.groupby("stage", sort=False)):
        part = part.set_index("loss").loc[names]
        for name, marker, share in zip(("kidney", "tumour"), "oD", shares[1:]):
            colour = COLOURS[name]
            axes.plot(part[name], places, marker, color=colour, markersize=4, label=f"on {name} voxels")
            axes.axvline(share, color=colour, linestyle=":", label=f"{name}'s share of the voxels")
        axes.set(xscale="log", xlabel="share of the gradient", title=stage)
    panels[0].set_yticks(places, [row.title[:40] for row in rows])
    panels[0].invert_yaxis()
    legend_below(figure, panels[0])
    return figure
