"""Figures of a study that need its scores alone; ``found`` is ``findings.report``. A score is a Dice coefficient."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kitsnb.drawing import COLOURS, COLUMN, GREY, PAGE, canvas
from kitsnb.study.figures import NAMES, labelled, legend_below, plain_log
from kitsnb.study.findings import describe_cases
from kitsnb.study.further import TOLD
from kitsnb.study.tables import average_seeds, plural, ranked
from kitsnb.study.variance import smallest_difference

DOT = {"linestyle": "", "marker": "o", "markersize": 4}
#: Seeds, and whether losses share them.
DESIGNS = [(1, False), (5, False), (1, True), (5, True)]
DIAMOND = {"color": "black", "linestyle": "", "marker": "D", "markersize": 4, "markerfacecolor": "white"}


def draw(found: Mapping, scores: pd.DataFrame) -> dict[str, Figure]:
    """Draw all figures of a study by name; what does not apply is not there."""
    made = {"rows": rows_of_table(found), "scores": every_case(found, scores)}
    if not np.isnan(found["needed"]["tumour"]):
        made["takes"] = what_it_takes(found)
    if not np.isnan(found["size_correlation"]):
        made["size"] = dice_by_size(found, describe_cases(scores))
    return made


def rows_of_table(found: Mapping) -> Figure:
    """Draw each row, best composite on top: mean Dice, and difference to the reference row.

    Thick: 95 % interval over cases, thin: over cases and seeds. With one row, the means stand alone.
    """
    by_name = {row["experiment"]: row for row in found["table"]}
    rows = [by_name[name] for name in ranked(found["table"])]
    panels = {}
    for score in ("kidney_and_tumour", "tumour"):
        panels[NAMES[score]] = (score, [row["scores"][score] for row in rows])
    if len(rows) > 1:
        heading = f"tumour, less that of\n{by_name[found['reference']]['title']}"
        panels[heading] = ("tumour", [row["to_reference"] for row in rows])
    title = textwrap.fill(found["about"]["title"], 90)
    figure, grid = canvas(title, (PAGE, 1.2 + 0.25 * len(rows)), 1, len(panels),
                          simulated=found["about"]["simulated"], sharey=True)
    for axes, (heading, (score, values)) in zip(grid, panels.items()):
        _draw_intervals(axes, values, COLOURS[score])
        axes.set_title(heading, fontsize="medium")
        axes.set_xlabel("Dice")
    for place, row in enumerate(rows):
        if row["paper"]:
            grid[0].plot(row["paper"]["kidney_and_tumour"], place, **DIAMOND)
            grid[1].plot(row["paper"]["tumour"], place, label="seed paper, its own data", **DIAMOND)
    if len(rows) > 1:
        grid[2].axvline(0, color=GREY, linewidth=0.7, zorder=0)
    grid[0].set(ylim=(len(rows) - 0.5, -0.5))
    grid[0].set_yticks(range(len(rows)), [row["title"] for row in rows])
    legend_below(figure, labelled(grid[1]))
    return figure


def _draw_intervals(axes: Axes, found: Sequence[Mapping], colour: str) -> None:
    rows = pd.DataFrame(found, dtype=float)
    axes.plot(rows["mean"], rows.index, color=colour, label="mean", **DOT)
    axes.hlines(rows.index, rows.low, rows.high, color=colour, linewidth=3, alpha=0.5, label="95 % over cases")
    if rows.crossed_low.notna().any():
        label = "95 % over cases and seeds"
        axes.hlines(rows.index, rows.crossed_low, rows.crossed_high, color=colour, linewidth=0.9, label=label)


def _draw_bars(axes: Axes, places: Sequence[int], rows: pd.DataFrame, colour: str, label: str) -> None:
    """Draw means over ``places``, with the intervals that claims rest on."""
    low = rows.crossed_low.fillna(rows.low)
    high = rows.crossed_high.fillna(rows.high)
    axes.vlines(places, low, high, color=colour, linewidth=0.9)
    axes.plot(places, rows["mean"], color=colour, linewidth=0.9, marker="o", markersize=4, label=label)


def what_it_takes(found: Mapping) -> Figure:
    """Draw the smallest difference in tumour Dice that cases and seeds show with power .8, seeds shared or not.

    Diamonds: what the seed paper claims, at its number of cases. From one seed there is one curve: the least needed.
    """
    figure, axes = canvas("What it takes", (COLUMN, 3.1), simulated=found["about"]["simulated"])
    cases = np.geomspace(10, 500, 60)
    for seeds, paired in DESIGNS if found["seeds"] > 1 else DESIGNS[:1]:
        needed = [smallest_difference(found["components"]["tumour"], n, seeds, paired) for n in cases]
        label = f"{plural(seeds, 'seed')}, {'shared by the losses' if paired else 'each loss its own'}"
        colour = COLOURS["tumour" if paired else "kidney"]
        axes.plot(cases, needed, color=colour, linestyle="-" if seeds > 1 else ":", label=label)
    stated = [one["stated"] for one in found["claims"] if one["kind"] == "seed paper" and one["score"] == "tumour"]
    axes.plot([found["design"]] * len(stated), stated, label="what the seed paper claims", **DIAMOND)
    axes.set(xlabel="cases", ylabel="smallest difference\nin tumour Dice", ylim=(0, None))
    plain_log(axes.xaxis, 10, 500)
    legend_below(figure, labelled(axes), columns=1)
    return figure


def draw_tuning(further: Sequence[Mapping]) -> dict[str, Figure]:
    """Draw Dice over the parameter that each of the ``further`` studies varies, if one does; by name."""
    tuned = [study for study in further if study["varied"]]
    if not tuned:
        return {}
    figure, panels = canvas("Dice by a parameter of the loss", (PAGE, 2.8), 1, len(tuned), sharey=True, squeeze=False)
    for axes, study in zip(panels.flat, tuned):
        values = [row["parameters"][study["varied"]] for row in study["rows"]]
        places = range(len(values))
        for name in TOLD:
            shown = pd.DataFrame([row[name] for row in study["rows"]], dtype=float)
            _draw_bars(axes, places, shown, COLOURS[name], NAMES[name])
        texts = [", ".join(f"{part:.3g}" for part in np.atleast_1d(value)) for value in values]
        axes.set_xticks(places, texts, rotation=30 if len(max(texts, key=len)) > 5 else 0)
        axes.set_xlabel(study["varied"])
        axes.set_title(study["title"], fontsize="medium")
    panels[0, 0].set_ylabel("Dice")
    legend_below(figure, labelled(panels[0, 0]))
    return {"tuning": figure}


def dice_by_size(found: Mapping, cases: pd.DataFrame) -> Figure:
    """Draw tumour Dice over the tumour's volume: the mean over all rows for each of ``findings.describe_cases``."""
    figure, axes = canvas("Tumour Dice by size", (COLUMN, 2.2), simulated=found["about"]["simulated"])
    axes.plot(cases.tumour_ml, cases.tumour, color=COLOURS["tumour"], clip_on=False, **DOT)
    axes.set(xlabel="tumour volume (ml)", ylabel="tumour Dice", ylim=(-0.02, 1.02))
    plain_log(axes.xaxis, 0.8 * cases.tumour_ml.min(), 1.25 * cases.tumour_ml.max())
    return figure


def every_case(found: Mapping, scores: pd.DataFrame) -> Figure:
    """Draw kidney and tumour Dice of every case: a panel per loss, with tumour Dice under the reference as a line.

    Cases are in the same order everywhere, by that line, so dots above it are cases in which the loss is better.
    """
    reference = average_seeds(scores, found["reference"]).tumour.sort_values()
    rows = -(-len(found["table"]) // 4)
    figure, grid = canvas("Scores of every case", (PAGE, 1.0 + 1.5 * rows), rows, 4,
                          simulated=found["about"]["simulated"], squeeze=False, sharey=True)
    places = range(len(reference))
    for axes in grid.flat[len(found["table"]):]:
        axes.set_axis_off()
    for row, axes in zip(found["table"], grid.flat):
        cases = average_seeds(scores, row["experiment"]).reindex(reference.index)
        axes.plot(places, reference, color=GREY, linewidth=0.9, label="tumour, reference")
        for name in ("kidney", "tumour"):
            axes.plot(places, cases[name], color=COLOURS[name], clip_on=False, label=name, **DOT | {"markersize": 3})
        higher = (cases.tumour > reference).sum()
        axes.set_title(textwrap.fill(row["title"], 25, break_on_hyphens=False), fontsize="small")
        axes.set_xlabel(f"tumour above in {higher} of {reference.count()}", fontsize="small")
        axes.set(ylim=(-0.02, 1.02), xticks=[])
    figure.supylabel("Dice", fontsize="medium")
    legend_below(figure, labelled(grid[0, 0]))
    return figure
