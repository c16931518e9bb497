"""Figures of a study that need its scores alone: drawn for a build and, from its CSV, for a published study.

Every function returns a matplotlib ``Figure`` and writes nothing. A score is a Dice coefficient; an undefined one (NaN)
is never drawn as a number: the figure says how many there are.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kitsnb.drawing import COLOURS, COLUMN, GREY, PAGE, PALE, canvas
from kitsnb.study.figures import NAMES, legend_below, plain_log
from kitsnb.study.findings import describe_cases
from kitsnb.study.tables import average_seeds, ranked
from kitsnb.study.variance import smallest_difference

DOT = {"linestyle": "", "marker": "o", "markersize": 4}
DIAMOND = {"color": "black", "linestyle": "", "marker": "D", "markersize": 4, "markerfacecolor": "white"}


def draw(found: Mapping, scores: pd.DataFrame) -> dict[str, Figure]:
    """Draw all figures of a study by name; ``found`` is ``findings.report``. What does not apply is not there."""
    title = found["about"]["title"]
    simulated = found["about"]["simulated"]
    cases = {row["title"]: average_seeds(scores, row["experiment"]) for row in found["table"]}
    made = {"rows": rows_and_ranks(found, title, simulated), "scores": case_panels(cases, simulated)}
    if "loss_case" in found["components"]["tumour"]:
        made["takes"] = what_it_takes(found, simulated)
    hard = describe_cases(scores)
    if len(hard) > 2:
        made["size"] = dice_by_size(hard, simulated)
    if len(cases) > 1:
        titles = {row["experiment"]: row["title"] for row in found["table"]}
        pair = [titles[found[name]] for name in ("rival", "reference")]
        made["against"] = against({title: cases[title] for title in pair}, simulated)
    return made


def rows_and_ranks(found: Mapping, title: str, simulated: bool) -> Figure:
    """Draw each row, best composite on top: mean Dice, difference to the reference row, and ranks.

    Thick: 95 % interval over cases, thin: over cases and seeds. Hollow diamonds are the seed paper's values, on its own
    data. Areas in the last panel are the shares of resampled studies in which a row has that rank by the composite.
    With one row, the means stand alone.
    """
    rows = {row["experiment"]: row for row in found["table"]}
    order = ranked(found["table"])
    panels = ["kidney_and_tumour", "tumour"]
    if len(rows) > 1:
        panels += ["difference", "ranks"]
    reference = found["reference"]
    size = (PAGE, 1.2 + 0.25 * len(order))
    figure, grid = canvas(textwrap.fill(title, 90), size, 1, len(panels), simulated=simulated, sharey=True)
    for axes, panel in zip(grid, panels):
        if panel == "ranks":
            _draw_ranks(axes, [found["ranks"][name] for name in order])
        elif panel == "difference":
            differences = [_difference(found["pairs"]["tumour"], name, reference) for name in order]
            _draw_intervals(axes, differences, COLOURS["tumour"])
            axes.axvline(0, color=GREY, linewidth=0.7, zorder=0)
            axes.set(title=f"tumour, less that of\n{rows[reference]['title']}", xlabel="difference in Dice")
        else:
            _draw_intervals(axes, [rows[name]["scores"][panel] for name in order], COLOURS[panel])
            paper = [rows[name]["paper"][panel] if rows[name]["paper"] else np.nan for name in order]
            axes.plot(paper, range(len(order)), **DIAMOND)
            axes.set(title=NAMES[panel], xlabel="Dice")
        axes.title.set_fontsize("medium")
    grid[0].set(ylim=(len(order) - 0.5, -0.5))
    grid[0].set_yticks(range(len(order)), [rows[name]["title"] for name in order])
    handles = [Line2D([], [], color="black", marker="o", markersize=4, linewidth=3, label="mean, 95 % over cases")]
    if found["seeds"] > 1:
        handles.append(Line2D([], [], color="black", linewidth=0.9, label="95 % over cases and seeds"))
    if any(row["paper"] for row in found["table"]):
        handles.append(Line2D([], [], label="seed paper, its own data", **DIAMOND))
    legend_below(figure, handles)
    return figure


def _difference(pairs: Sequence[Mapping], name: str, reference: str) -> dict[str, float]:
    """Return the pair of ``name`` and ``reference`` as the difference to the latter; NaN of a row to itself."""
    keys = ("mean", "low", "high", "crossed_low", "crossed_high")
    for pair in pairs:
        if {pair["first"], pair["second"]} == {name, reference}:
            sign = 1 if pair["first"] == name else -1
            return {key: sign * pair[key] for key in keys}
    return dict.fromkeys(keys, np.nan)


def _draw_intervals(axes: Axes, found: Sequence[Mapping], colour: str) -> None:
    rows = pd.DataFrame(found, dtype=float)
    axes.hlines(rows.index, rows.low, rows.high, color=colour, linewidth=3, alpha=0.5)
    axes.hlines(rows.index, rows.crossed_low, rows.crossed_high, color=colour, linewidth=0.9)
    axes.plot(rows["mean"], rows.index, color=colour, **DOT)


def _draw_ranks(axes: Axes, shares: Sequence[Sequence[float]]) -> None:
    places = range(1, len(shares) + 1)
    for at, row in enumerate(shares):
        axes.scatter(places, [at] * len(row), s=110 * np.asarray(row), color=COLOURS["composite"], linewidth=0)
    axes.set(title="rank by composite", xlabel="rank", xlim=(0.4, len(shares) + 0.6), xticks=places)


def what_it_takes(found: Mapping, simulated: bool) -> Figure:
    """Draw the smallest difference in tumour Dice that cases and seeds show with power .8, paired and not.

    Diamonds: the differences that the seed paper claims, at its number of cases, hollow below what its design (one
    seed, nothing shared) can show. From one seed there is one curve: the least that is needed.
    """
    components = found["components"]["tumour"]
    figure, axes = canvas("What it takes", (COLUMN, 3.1), simulated=simulated)
    cases = np.geomspace(10, 500, 60)
    designs = {"cases alone (seeds add to it)": (1, False)}
    if found["seeds"] > 1:
        designs = {"1 seed, each loss its own": (1, False), "5 seeds, each loss its own": (5, False)}
        if found["paired"]:
            designs |= {"1 seed, shared by the losses": (1, True), "5 seeds, shared by the losses": (5, True)}
    handles = []
    for label, (seeds, paired) in designs.items():
        needed = [smallest_difference(components, n, seeds, paired) for n in cases]
        style = {"color": COLOURS["tumour" if paired else "kidney"], "linestyle": ":" if seeds == 1 else "-"}
        handles += axes.plot(cases, needed, linewidth=1.3, label=label, **style)
    least = found["needed"]["tumour"]
    axes.axvline(found["design"], color=GREY, linewidth=0.7, zorder=0)
    axes.plot(found["design"], least, color=COLOURS["kidney"], **DOT | {"markersize": 7})
    claimed = [one["stated"] for one in found["claims"] if one["kind"] == "seed paper" and one["score"] == "tumour"]
    for difference in claimed:
        axes.plot(found["design"], difference, **DIAMOND | {"markerfacecolor": "black" if difference >= least else "white"})
    handles += [Line2D([], [], color=COLOURS["kidney"], label="the seed paper's design", **DOT | {"markersize": 7}),
                Line2D([], [], label="its claims (hollow: too small)", **DIAMOND)]
    top = max(smallest_difference(components, 10, 1, paired=False), *claimed)
    axes.set(xlabel="cases", ylabel="smallest difference\nin tumour Dice", ylim=(0, 1.15 * top))
    plain_log(axes.xaxis, 10, 500)
    legend_below(figure, handles, columns=1)
    return figure


def dice_by_size(cases: pd.DataFrame, simulated: bool) -> Figure:
    """Draw tumour Dice of every case over its tumour's volume: mean and range over the rows (``describe_cases``)."""
    figure, axes = canvas("Tumour Dice by size", (COLUMN, 2.2), simulated=simulated)
    axes.vlines(cases.tumour_ml, cases.tumour_low, cases.tumour_high, color=COLOURS["tumour"], alpha=0.35)
    axes.plot(cases.tumour_ml, cases.tumour, color=COLOURS["tumour"], clip_on=False, **DOT)
    axes.set(xlabel="tumour volume (ml)", ylabel="tumour Dice", ylim=(-0.02, 1.02))
    plain_log(axes.xaxis, 0.8 * cases.tumour_ml.min(), 1.25 * cases.tumour_ml.max())
    return figure


def case_panels(scores: Mapping[str, pd.DataFrame], simulated: bool) -> Figure:
    """Draw kidney and tumour Dice of every case, sorted by tumour Dice, means as lines: a panel per loss.

    ``scores`` by title, each indexed by case. Cases without a defined tumour score stand at the right and are counted.
    """
    rows = -(-len(scores) // 4)
    columns = min(4, len(scores))
    size = (PAGE if columns > 1 else COLUMN, 1.0 + 1.4 * rows)
    figure, grid = canvas("Scores of every case", size, rows, columns, simulated=simulated, squeeze=False, sharey=True)
    for axes in grid.flat[len(scores):]:
        axes.set_axis_off()
    for (title, table), axes in zip(scores.items(), grid.flat):
        ordered = table.sort_values(["tumour", "kidney"], na_position="last")[["kidney", "tumour"]]
        places = np.arange(len(ordered))
        axes.vlines(places, ordered.min(axis=1), ordered.max(axis=1), color=PALE, linewidth=0.8, zorder=0)
        for name in ordered:
            axes.scatter(places, ordered[name], s=9, color=COLOURS[name], clip_on=False, linewidth=0)
            axes.axhline(ordered[name].mean(), color=COLOURS[name], linewidth=0.9, linestyle="--", zorder=0)
        undefined = int(ordered.tumour.isna().sum())
        axes.set_title(textwrap.fill(title, 25, break_on_hyphens=False), fontsize="small")
        axes.set(ylim=(-0.02, 1.02), xlim=(-0.7, len(ordered) - 0.3), xticks=[],
                 xlabel=f"{len(ordered)} cases" + (f", {undefined} without tumour" if undefined else ""))
    for axes in grid[:, 0]:
        axes.set_ylabel("Dice")
    legend_below(figure, [Line2D([], [], color=COLOURS[name], label=f"{name}, mean", **DOT | {"linestyle": "--"})
                          for name in ("kidney", "tumour")])
    return figure


def against(scores: Mapping[str, pd.DataFrame], simulated: bool) -> Figure:
    """Draw kidney and tumour Dice of every case under two losses: ``scores`` by title, upwards and to the right."""
    upwards, right = scores
    figure, panels = canvas("Case by case", (PAGE, 2.6), 1, 2, simulated=simulated)
    for axes, name in zip(panels, ("kidney", "tumour")):
        pairs = pd.DataFrame({title: table[name] for title, table in scores.items()}).dropna()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7, zorder=0)
        axes.scatter(pairs[right], pairs[upwards], color=COLOURS[name], s=14, linewidth=0, clip_on=False)
        higher = int((pairs[upwards] > pairs[right]).sum())
        axes.set_title(f"{name}: above the line in {higher} of {len(pairs)} cases", fontsize="medium")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=right, ylabel=upwards)
    return figure
