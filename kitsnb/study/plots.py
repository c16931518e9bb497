"""Figures of a study that need its scores alone; ``found`` is ``findings.report``. A score is a Dice coefficient."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kitsnb.drawing import COLOURS, COLUMN, GREY, PAGE, canvas, legend_of
from kitsnb.study.figures import NAMES, legend_below, plain_log
from kitsnb.study.further import TOLD
from kitsnb.study.statistics import bounds
from kitsnb.study.tables import plural, ranked
from kitsnb.study.variance import smallest_difference

DOT = {"linestyle": "", "marker": "o", "markersize": 4}
DIAMOND = {"color": "black", "linestyle": "", "marker": "D", "markersize": 4, "markerfacecolor": "white"}


def draw(found: Mapping, scores: pd.DataFrame) -> dict[str, Figure]:
    """Draw all figures of a study by name; what does not apply is not there."""
    made = {"rows": rows_of_table(found), "scores": every_case(found, scores)}
    if not np.isnan(found["needed"]["tumour"]):
        made["takes"] = what_it_takes(found)
    return made


def rows_of_table(found: Mapping) -> Figure:
    """Draw each row, best composite on top: mean Dice, and difference to the reference row.

    Thick: 95 % interval over cases, thin: over cases and seeds. With one row, the means stand alone.
    """
    by_name = {row["experiment"]: row for row in found["table"]}
    rows = [by_name[name] for name in ranked(found["table"])]
    several = len(rows) > 1
    title = textwrap.fill(found["about"]["title"], 90)
    size = (PAGE, 1.2 + 0.25 * len(rows))
    columns = 3 if several else 2
    figure, grid = canvas(title, size, 1, columns, simulated=found["about"]["simulated"], sharey=True)
    for axes, score in zip(grid, TOLD):
        _draw_intervals(axes, [row["scores"][score] for row in rows], score, NAMES[score])
        for place, row in enumerate(rows):
            if row["paper"]:
                axes.plot(row["paper"][score], place, label="seed paper, its own data", **DIAMOND)
    if several:
        heading = f"tumour, less that of\n{by_name[found['reference']]['title']}"
        _draw_intervals(grid[2], [row["to_reference"] for row in rows], "tumour", heading)
        grid[2].axvline(0, color=GREY, linewidth=0.7, zorder=0)
    grid[0].set(ylim=(len(rows) - 0.5, -0.5))
    grid[0].set_yticks(range(len(rows)), [row["title"] for row in rows])
    legend_below(figure, grid[1])
    return figure


def _draw_intervals(axes: Axes, found: Sequence[Mapping], score: str, heading: str) -> None:
    rows = pd.DataFrame(found, dtype=float)
    colour = COLOURS[score]
    axes.plot(rows["mean"], rows.index, color=colour, label="mean", **DOT)
    axes.hlines(rows.index, rows.low, rows.high, color=colour, linewidth=3, alpha=0.5, label="95 % over cases")
    if rows.crossed_low.notna().any():
        label = "95 % over cases and seeds"
        axes.hlines(rows.index, rows.crossed_low, rows.crossed_high, color=colour, linewidth=0.9, label=label)
    axes.set_title(heading, fontsize="medium")
    axes.set_xlabel("Dice")


def what_it_takes(found: Mapping) -> Figure:
    """Draw the smallest difference in tumour Dice that cases and seeds show with power .8, seeds shared or not.

    Diamonds: what the seed paper claims, at its number of cases. From one seed there is one curve: the least needed.
    """
    figure, axes = canvas("What it takes", (COLUMN, 3.1), simulated=found["about"]["simulated"])
    cases = np.geomspace(10, 500, 60)
    designs = {(1, False): "kidney", (5, False): "kidney", (1, True): "tumour", (5, True): "tumour"}
    for (seeds, paired), colour in designs.items():
        needed = [smallest_difference(found["components"]["tumour"], n, seeds, paired) for n in cases]
        label = f"{plural(seeds, 'seed')}, {'shared by the losses' if paired else 'each loss its own'}"
        axes.plot(cases, needed, color=COLOURS[colour], linestyle="-" if seeds > 1 else ":", label=label)
        if found["seeds"] == 1:
            break
    stated = [one["stated"] for one in found["claims"] if one["kind"] == "seed paper" and one["score"] == "tumour"]
    axes.plot([found["design"]] * len(stated), stated, label="what the seed paper claims", **DIAMOND)
    axes.set(xlabel="cases", ylabel="smallest difference\nin tumour Dice", ylim=(0, None))
    plain_log(axes.xaxis, 10, 500)
    legend_below(figure, axes, columns=1)
    return figure


def draw_tuning(further: Sequence[Mapping]) -> dict[str, Figure]:
    """Draw Dice over the parameter that each of the ``further`` studies varies, if one does; by name."""
    tuned = [study for study in further if study["varied"]]
    if not tuned:
        return {}
    figure, panels = canvas("Dice by a parameter of the loss", (PAGE, 2.8), 1, len(tuned), sharey=True, squeeze=False)
    for axes, study in zip(panels.flat, tuned):
        rows = study["rows"]
        places = range(len(rows))
        for name in TOLD:
            means = [row[name]["mean"] for row in rows]
            low, high = zip(*[bounds(row[name]) for row in rows])
            axes.plot(places, means, color=COLOURS[name], marker="o", markersize=4, label=NAMES[name])
            axes.vlines(places, low, high, color=COLOURS[name])
        values = [np.atleast_1d(row["parameters"][study["varied"]]) for row in rows]
        axes.set_xticks(places, [", ".join(f"{part:.3g}" for part in value) for value in values], rotation=30)
        axes.set_xlabel(study["varied"])
        axes.set_title(study["title"], fontsize="medium")
    panels[0, 0].set_ylabel("Dice")
    legend_below(figure, panels[0, 0])
    return {"tuning": figure}


def every_case(found: Mapping, scores: pd.DataFrame) -> Figure:
    """Draw kidney and tumour Dice of every case under each loss, the mean over seeds."""
    titles = {row["experiment"]: row["title"] for row in found["table"]}
    means = scores.groupby(["experiment", "case"])[["kidney", "tumour"]].mean()
    dots = means.melt(var_name="label", value_name="Dice", ignore_index=False).reset_index()
    size = (PAGE, 0.9 + 0.4 * len(titles))
    figure, axes = canvas("Scores of every case", size, simulated=found["about"]["simulated"])
    sns.stripplot(dots, x="Dice", y="experiment", hue="label", order=list(titles), palette=COLOURS, size=3, alpha=0.5,
                  dodge=True, jitter=False, legend=False, ax=axes)
    axes.set_yticks(range(len(titles)), titles.values())
    axes.set(ylabel="", xlim=(-0.02, 1.02))
    legend_of(figure, ("kidney", "tumour"))
    return figure
