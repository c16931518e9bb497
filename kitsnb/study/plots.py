"""Figures of a study that need its scores alone: drawn for a build and, from its CSV, for a published study.

Every function returns a matplotlib ``Figure`` and writes nothing. A score is a Dice coefficient.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kitsnb.drawing import COLOURS, COLUMN, GREY, PAGE, PALE, canvas
from kitsnb.study.figures import NAMES, labelled, legend_below, plain_log
from kitsnb.study.findings import describe_cases
from kitsnb.study.tables import average_seeds, ranked
from kitsnb.study.variance import smallest_difference

DOT = {"linestyle": "", "marker": "o", "markersize": 4}
DIAMOND = {"color": "black", "linestyle": "", "marker": "D", "markersize": 4, "markerfacecolor": "white"}
#: Curves of ``what_it_takes``: seeds, paired or not, dashes.
DESIGNS = {
    "1 seed, each loss its own": (1, False, ":"), "5 seeds, each loss its own": (5, False, "-"),
    "1 seed, shared by the losses": (1, True, ":"), "5 seeds, shared by the losses": (5, True, "-"),
}


def draw(found: Mapping, scores: pd.DataFrame) -> dict[str, Figure]:
    """Draw all figures of a study by name; ``found`` is ``findings.report``. What does not apply is not there."""
    simulated = found["about"]["simulated"]
    titles = {row["experiment"]: row["title"] for row in found["table"]}
    cases = {title: average_seeds(scores, name) for name, title in titles.items()}
    made = {"rows": rows_and_ranks(found, found["about"]["title"], simulated), "scores": case_panels(cases, simulated)}
    if not np.isnan(found["needed"]["tumour"]):
        made["takes"] = what_it_takes(found, simulated)
    by_case = describe_cases(scores)
    if len(by_case) > 2:
        made["size"] = dice_by_size(by_case, simulated)
    if len(cases) > 1:
        rival = titles[found["rival"]]
        reference = titles[found["reference"]]
        made["against"] = against(rival, cases[rival], reference, cases[reference], simulated)
    return made


def rows_and_ranks(found: Mapping, title: str, simulated: bool) -> Figure:
    """Draw each row, best composite on top: mean Dice, difference to the reference row, and ranks.

    Thick: 95 % interval over cases, thin: over cases and seeds. Hollow diamonds are the seed paper's values, on its own
    data. Areas in the last panel are the shares of resampled studies in which a row has that rank by the composite.
    With one row, the means stand alone.
    """
    rows = {row["experiment"]: row for row in found["table"]}
    order = ranked(found["table"])
    size = (PAGE, 1.2 + 0.25 * len(order))
    title = textwrap.fill(title, 90)
    figure, grid = canvas(title, size, 1, 4 if len(rows) > 1 else 2, simulated=simulated, sharey=True)
    for axes, score in zip(grid, ("kidney_and_tumour", "tumour")):
        _draw_intervals(axes, [rows[name]["scores"][score] for name in order], COLOURS[score])
        for at, name in enumerate(order):
            if rows[name]["paper"]:
                axes.plot(rows[name]["paper"][score], at, label="seed paper, its own data", **DIAMOND)
        axes.set(title=NAMES[score], xlabel="Dice")
    if len(rows) > 1:
        reference = found["reference"]
        _draw_intervals(grid[2], [rows[name]["to_reference"] for name in order], COLOURS["tumour"])
        grid[2].axvline(0, color=GREY, linewidth=0.7, zorder=0)
        grid[2].set(title=f"tumour, less that of\n{rows[reference]['title']}", xlabel="difference in Dice")
        _draw_ranks(grid[3], [found["ranks"][name] for name in order])
    for axes in grid:
        axes.title.set_fontsize("medium")
    grid[0].set(ylim=(len(order) - 0.5, -0.5))
    grid[0].set_yticks(range(len(order)), [rows[name]["title"] for name in order])
    legend_below(figure, labelled(grid[1]))
    return figure


def _draw_intervals(axes: Axes, found: Sequence[Mapping], colour: str) -> None:
    rows = pd.DataFrame(found, dtype=float)
    axes.plot(rows["mean"], rows.index, color=colour, label="mean", **DOT)
    axes.hlines(rows.index, rows.low, rows.high, color=colour, linewidth=3, alpha=0.5, label="95 % over cases")
    if rows.crossed_low.notna().any():
        label = "95 % over cases and seeds"
        axes.hlines(rows.index, rows.crossed_low, rows.crossed_high, color=colour, linewidth=0.9, label=label)


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
    for label, (seeds, paired, dashes) in DESIGNS.items():
        if found["seeds"] == 1 and label != "1 seed, each loss its own" or paired > found["paired"]:
            continue
        needed = [smallest_difference(components, n, seeds, paired) for n in cases]
        colour = COLOURS["tumour" if paired else "kidney"]
        axes.plot(cases, needed, color=colour, linestyle=dashes, linewidth=1.3, label=label)
    least = found["needed"]["tumour"]
    axes.axvline(found["design"], color=GREY, linewidth=0.7, zorder=0)
    axes.plot(found["design"], least, "o", color=COLOURS["kidney"], markersize=7, label="the seed paper's design")
    for one in found["claims"]:
        if one["kind"] == "seed paper" and one["score"] == "tumour":
            fill = "black" if one["stated"] >= least else "white"
            axes.plot(found["design"], one["stated"], **DIAMOND | {"markerfacecolor": fill})
    axes.plot([], [], label="its claims (hollow: too small)", **DIAMOND)
    axes.set(xlabel="cases", ylabel="smallest difference\nin tumour Dice", ylim=(0, None))
    plain_log(axes.xaxis, 10, 500)
    legend_below(figure, labelled(axes), columns=1)
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

    ``scores`` by title, each indexed by case. A case without a defined tumour score stands at the right without a dot.
    """
    rows = -(-len(scores) // 4)
    size = (PAGE, 1.0 + 1.4 * rows)
    figure, grid = canvas("Scores of every case", size, rows, min(4, len(scores)), simulated=simulated, squeeze=False,
                          sharey=True)
    for axes in grid.flat[len(scores):]:
        axes.set_axis_off()
    for (title, table), axes in zip(scores.items(), grid.flat):
        ordered = table.sort_values("tumour", na_position="last").reset_index()
        axes.vlines(ordered.index, ordered.kidney, ordered.tumour, color=PALE, linewidth=0.8, zorder=0)
        for name in ("kidney", "tumour"):
            axes.plot(ordered[name], color=COLOURS[name], clip_on=False, label=name, **DOT | {"markersize": 3})
            dashes = {"color": COLOURS[name], "linewidth": 0.9, "linestyle": "--"}
            axes.axhline(ordered[name].mean(), label=f"{name}, mean", **dashes)
        axes.set_title(textwrap.fill(title, 25, break_on_hyphens=False), fontsize="small")
        axes.set(ylim=(-0.02, 1.02), xticks=[], xlabel=f"{len(ordered)} cases")
    for axes in grid[:, 0]:
        axes.set_ylabel("Dice")
    legend_below(figure, labelled(grid[0, 0]))
    return figure


def against(upwards: str, first: pd.DataFrame, right: str, second: pd.DataFrame, simulated: bool) -> Figure:
    """Draw kidney and tumour Dice of every case under two losses, the first upwards; tables are indexed by case."""
    figure, panels = canvas("Case by case", (PAGE, 2.6), 1, 2, simulated=simulated)
    for axes, name in zip(panels, ("kidney", "tumour")):
        pairs = pd.DataFrame({"first": first[name], "second": second[name]}).dropna()
        axes.axline((0, 0), slope=1, color=GREY, linewidth=0.7, zorder=0)
        axes.plot(pairs["second"], pairs["first"], color=COLOURS[name], clip_on=False, **DOT)
        higher = (pairs["first"] > pairs["second"]).sum()
        axes.set(title=f"{name}: above the line in {higher} of {len(pairs)} cases", xlim=(-0.02, 1.02),
                 ylim=(-0.02, 1.02), xlabel=right, ylabel=upwards)
    return figure
