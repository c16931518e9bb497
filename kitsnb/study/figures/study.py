"""Figures of a study: its rows with intervals and ranks, and what it takes to show a difference.

Both take the mapping of ``findings.describe``, of a build's own runs or of a published study.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kitsnb.study.figures import COLOURS, COLUMN, GREY, NAMES, PAGE, canvas, legend_below, plain_log
from kitsnb.study.statistics import smallest_difference
from kitsnb.study.tables import ranked

#: Scores with a panel of their own: those that the seed paper has, too.
SHOWN = ("kidney_and_tumour", "tumour")
#: Seeds of the curves of ``what_it_takes``, and their dashes.
SEEDS = {1: "-", 3: "--", 10: ":"}


def rows_and_ranks(found: Mapping, simulated: bool, title: str, reference: str | None = None) -> Figure:
    """Each loss, best composite on top: mean Dice, its paired difference to the row ``reference``, and its ranks.

    Thick: 95 % interval over cases, thin: over cases and seeds. Hollow diamonds are the seed paper's values, on its own
    data. Areas in the last panel are the shares of resampled studies in which a loss has that rank by the composite.
    With one row, the means stand alone.
    """
    rows = {row["experiment"]: row for row in found["table"]}
    order, many = ranked(found["table"]), len(rows) > 1
    panels = [*SHOWN, *(["difference"] if reference in rows and many else []), *(["ranks"] if many else [])]
    figure, grid = canvas(title, (PAGE, 1.15 + 0.25 * len(order)), 1, len(panels), simulated=simulated, sharey=True)
    for axes, panel in zip(grid, panels):
        if panel == "ranks":
            _ranks(axes, [found["ranks"]["composite"][name] for name in order])
        elif panel == "difference":
            _intervals(axes, [_difference(found["pairs"]["tumour"], name, reference) for name in order],
                       COLOURS["tumour"])
            axes.axvline(0, color=GREY, linewidth=0.7, zorder=0)
            axes.set(title=f"tumour, less that of\n{rows[reference]['title']}", xlabel="difference in Dice")
        else:
            _intervals(axes, [rows[name]["scores"][panel] for name in order], COLOURS[panel])
            paper = [rows[name]["paper"][panel] if rows[name]["paper"] else np.nan for name in order]
            axes.plot(paper, range(len(order)), "D", color="black", markerfacecolor="none", markersize=4,
                      markeredgewidth=0.8)
            axes.set(title=NAMES[panel], xlabel="Dice")
        axes.title.set_fontsize("medium")
    grid[0].set(ylim=(len(order) - 0.5, -0.5))
    grid[0].set_yticks(range(len(order)), [rows[name]["title"] for name in order])
    dot = {"color": "black", "markersize": 4}
    handles = [Line2D([], [], marker="o", linewidth=3, label="mean, 95 % over cases", **dot)]
    if found["seeds"] > 1:
        handles.append(Line2D([], [], linewidth=0.9, label="95 % over cases and seeds", **dot))
    if any(row["paper"] for row in found["table"]):
        handles.append(Line2D([], [], marker="D", linestyle="", markerfacecolor="none",
                              label="seed paper, its own data", **dot))
    legend_below(figure, handles)
    return figure


def _difference(pairs: Sequence[Mapping], name: str, reference: str) -> Mapping:
    """The pair of ``name`` and ``reference``, as the difference of the former to the latter; NaN of a row to itself."""
    pair = next((pair for pair in pairs if {pair["first"], pair["second"]} == {name, reference}), None)
    if pair is None:
        return dict.fromkeys(("mean", "low", "high", "crossed_low", "crossed_high"), np.nan)
    sign = 1 if pair["first"] == name else -1
    return {key: sign * pair[key] for key in ("mean", "low", "high", "crossed_low", "crossed_high")}


def _intervals(axes: Axes, found: Sequence[Mapping], colour: str) -> None:
    for place, one in enumerate(found):
        axes.plot([one["low"], one["high"]], [place, place], color=colour, linewidth=3, alpha=0.5,
                  solid_capstyle="butt")
        axes.plot([one["crossed_low"], one["crossed_high"]], [place, place], color=colour, linewidth=0.9)
        axes.plot(one["mean"], place, "o", color=colour, markersize=4)


def _ranks(axes: Axes, shares: Sequence[Sequence[float]]) -> None:
    for place, row in enumerate(shares):
        axes.scatter(np.arange(1, len(row) + 1), [place] * len(row), s=110 * np.asarray(row),
                     color=COLOURS["composite"], linewidth=0)
    axes.set(title="rank by composite", xlabel="rank", xlim=(0.4, len(shares) + 0.6), xticks=range(1, len(shares) + 1))


def what_it_takes(found: Mapping, seed_paper: Mapping, simulated: bool, title: str,
                  score: str = "tumour") -> Figure | None:
    """The smallest difference in ``score`` that a number of cases and seeds shows with power .8. Column width.

    Black: the seed paper's design; diamonds: the differences that it claims, hollow below what its design can show. One
    curve where components come from one seed: the least that is needed. None where components lack case x loss.
    """
    components, design = found["components"][score], seed_paper["claims"]["validation_cases"]
    if "interaction" not in components:
        return None
    figure, axes = canvas(title, (COLUMN, 2.9), simulated=simulated)
    cases = np.geomspace(10, 500, 60)
    known = "seed" in components
    handles = []
    for seeds, dashes in SEEDS.items() if known else [(1, "-")]:
        label = f"{seeds} seed{'s' * (seeds > 1)} a loss" if known else "cases alone (seeds add to it)"
        handles += axes.plot(cases, [smallest_difference(components, n, seeds) for n in cases], color=COLOURS[score],
                             linestyle=dashes, linewidth=1.3, label=label)
    claimed = [one["stated"] for one in found["claims"] if one["kind"] == "seed paper" and one["score"] == score]
    axes.axvline(design, color=GREY, linewidth=0.7, zorder=0)
    for difference in claimed:
        axes.plot(design, difference, "D", color="black", markersize=4.5, markeredgewidth=0.8,
                  zorder=3, markerfacecolor="black" if difference >= found["needed"][score] else "white")
    axes.plot(design, found["needed"][score], "o", color=COLOURS[score], markersize=7, zorder=2)
    handles += [Line2D([], [], marker="o", color=COLOURS[score], linestyle="",
                       label=f"seed paper's design: {design} cases, 1 seed"),
                Line2D([], [], marker="D", color="black", markerfacecolor="white", linestyle="", markersize=4.5,
                       label="its claims (hollow: too small to be shown)")]
    top = 1.15 * max(smallest_difference(components, cases[0], 1), *claimed)
    axes.set(xlabel="cases", ylabel=f"smallest difference\nin {NAMES[score]} Dice", ylim=(0, top))
    plain_log(axes.xaxis, 10, 500)
    legend_below(figure, handles, columns=1)
    return figure


