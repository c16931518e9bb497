"""Figures of the results: training curves, scores per case, comparisons and slices.

A score is a Dice coefficient in [0, 1]; the columns of a score table are those of ``scores.csv``. An undefined score
(NaN) is never drawn as a number: the figure says how many there are. Figures of simulated data say so in their
heading.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kitsnb.data.nifti import spacing_of
from kitsnb.drawing import COLOURS, COLUMN, GREY, PAGE, PALE, WINDOW, canvas, letters, outline, section
from kitsnb.preprocessing.resampling import reorient
from kitsnb.study.figures import NAMES, legend_below, plain_log, whole_numbers
from kitsnb.study.statistics import smallest_difference

CLASSES = ("background", "kidney", "tumour")
DASHES = {"training": (3, 1.5), "validation": ""}
#: mm around what ``slices`` shows.
MARGIN = 25.0
#: Seeds of the curves of ``what_it_takes``, and their dashes.
SEEDS = {1: "-", 3: "--", 10: ":"}
DOT = {"linestyle": "", "marker": "o", "markersize": 4}


def training_panels(
    runs: Mapping[str, tuple[pd.DataFrame, int | None]], title: str, simulated: bool
) -> Figure:
    """Loss and soft Dice per class against the epoch, training dashed, validation solid: two runs a row, by their
    titles.

    ``runs`` holds ``history.csv`` and the epoch of the checkpoint that is evaluated (dotted), None for that of the
    lowest validation loss; epochs without validation are bridged.
    """
    rows, pairs = -(-len(runs) // 2), min(2, len(runs))
    figure, grid = canvas(title, (PAGE, 0.95 + 1.4 * rows), rows, 2 * pairs, simulated=simulated, squeeze=False)
    places = grid.reshape(-1, 2)
    for (name, (history, best)), (loss, dice) in zip(runs.items(), places):
        _curves(loss, dice, history, best)
        if len(runs) > 1:
            loss.set_title(textwrap.fill(name, 34, break_on_hyphens=False), loc="left", fontsize="medium")
    for unused in places[len(runs):].ravel():
        unused.set_axis_off()
    handles = [Line2D([], [], color=COLOURS[name], label=NAMES[name]) for name in CLASSES]
    handles += [Line2D([], [], color="black", dashes=dashes or (None, None), label=part)
                for part, dashes in DASHES.items()]
    legend_below(figure, [*handles,
                          Line2D([], [], color=GREY, linestyle=":", linewidth=0.9, label="epoch of the checkpoint")])
    return figure


def _curves(loss: Axes, dice: Axes, history: pd.DataFrame, best: int | None) -> None:
    points = history.melt("epoch", [f"{part}_{name}" for part in DASHES for name in ("loss", *CLASSES)]).dropna()
    points[["part", "of"]] = points.variable.str.split("_", n=1, expand=True).to_numpy()
    points["of"] = points.of.replace({"loss": "composite"})  # its colour
    options = {"x": "epoch", "y": "value", "hue": "of", "style": "part", "palette": COLOURS, "dashes": DASHES,
               "legend": False, "errorbar": None, "linewidth": 1.2}
    if len(history) < 8:
        options["markers"] = dict.fromkeys(DASHES, ".")
    sns.lineplot(points[points.of == "composite"], ax=loss, **options)
    sns.lineplot(points[points.of != "composite"], ax=dice, **options)
    if best is None and history.validation_loss.notna().any():
        best = int(history.epoch[history.validation_loss.idxmin()])
    for axes in (loss, dice):
        if best is not None:
            axes.axvline(best, color=GREY, linewidth=0.9, linestyle=":")
        whole_numbers(axes.xaxis)
    loss.set_ylabel("loss")
    dice.set(ylabel="soft Dice", ylim=(-0.02, 1.02))


def case_panels(scores: Mapping[str, pd.DataFrame], simulated: bool) -> Figure:
    """Kidney and tumour Dice of every case, sorted by tumour Dice, with the means as lines: a panel a loss, three a
    row.

    ``scores`` by title, each indexed by case. Cases without a defined tumour score stand at the right, without a tumour
    dot, and are counted.
    """
    rows, columns = -(-len(scores) // 3), min(3, len(scores))
    size = (PAGE if columns > 1 else COLUMN, 1.0 + 1.6 * rows)
    figure, grid = canvas("Scores of every case", size, rows, columns, simulated=simulated, squeeze=False, sharey=True)
    for (title, table), axes in zip(scores.items(), grid.flat):
        ordered = table.sort_values(["tumour", "kidney"], na_position="last")[["kidney", "tumour"]]
        places, said = np.arange(len(ordered)), []
        axes.vlines(places, ordered.min(axis=1), ordered.max(axis=1), color=PALE, linewidth=0.8, zorder=0)
        for name in ordered:
            mean, undefined = ordered[name].mean(), int(ordered[name].isna().sum())
            axes.scatter(places, ordered[name], s=9, color=COLOURS[name], clip_on=False, linewidth=0)
            if np.isfinite(mean):
                axes.axhline(mean, color=COLOURS[name], linewidth=0.9, linestyle="--", zorder=0)
            said.append(f"{mean:.3f}" + (f" ({undefined} undefined)" if undefined else ""))
        axes.set_title(f"{textwrap.fill(title, 34, break_on_hyphens=False)}\nmeans {' and '.join(said)}",
                       fontsize="small")
        axes.set(ylim=(-0.02, 1.02), xlim=(-0.7, len(ordered) - 0.3), xticks=[],
                 xlabel=f"{len(ordered)} cases, by tumour Dice")
    for unused in list(grid.flat)[len(scores):]:
        unused.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("Dice")
    legend_below(figure, [Line2D([], [], color=COLOURS[name], **DOT | {"linestyle": "--"}, label=f"{NAMES[name]}, mean")
                          for name in ("kidney", "tumour")])
    return figure


def against(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str], simulated: bool) -> Figure:
    """Kidney and tumour Dice of every case under two losses, joined by a line that is coloured where ``first`` is
    higher.

    Tables are indexed by case, ``names`` are titles in this order; cases are sorted by the second's score. Cases that
    are undefined in either are left out, and counted.
    """
    title = textwrap.fill(f"{names[0]} against {names[1]}", 100, break_on_hyphens=False)
    figure, panels = canvas(title, (PAGE, 2.3), 1, 2, simulated=simulated, sharey=True)
    for axes, column in zip(panels, ("kidney", "tumour")):
        pairs = pd.DataFrame({"first": first[column], "second": second[column]})
        paired = pairs.dropna().sort_values("second")
        places, colours = np.arange(len(paired)), np.where(paired["first"] >= paired.second, COLOURS[column], GREY)
        axes.vlines(places, paired.second, paired["first"], color=colours, linewidth=1.1)
        dots = {"s": 11, "edgecolors": colours, "linewidths": 0.9, "clip_on": False}
        axes.scatter(places, paired.second, color="white", zorder=2, **dots)
        axes.scatter(places, paired["first"], color=colours, zorder=3, **dots)
        rises, left_out = int((paired["first"] > paired.second).sum()), len(pairs) - len(paired)
        undefined = f", {left_out} undefined" if left_out else ""
        axes.set_title(f"{NAMES[column]}: higher in {rises} of {len(paired)} cases{undefined}", fontsize="medium")
        axes.set(ylim=(-0.02, 1.02), xlim=(-0.7, max(len(paired), 1) - 0.3), xticks=[],
                 xlabel=f"{len(paired)} cases, by {names[1]}")
    panels[0].set_ylabel("Dice")
    legend_below(figure, [Line2D([], [], color="black", markerfacecolor="white", label=names[1], **DOT),
                          Line2D([], [], color="black", label=names[0], **DOT),
                          *(Line2D([], [], color=COLOURS[column], label=f"{NAMES[column]}: higher")
                            for column in ("kidney", "tumour")),
                          Line2D([], [], color=GREY, label="lower")])
    return figure


def slices(
    imaging: np.ndarray, reference: np.ndarray, prediction: np.ndarray, affine: np.ndarray, title: str, simulated: bool
) -> Figure:
    """Three axial slices through the tumour: CT with the reference's contours (top) and the prediction's (bottom).

    The three arrays share shape and ``affine`` and may lie in any orientation; they are shown as a radiologist sees
    them, patient's left on the right and anterior up, to scale. The view is cropped to what either segmentation marks
    on the slices shown, and ``MARGIN`` around it. Above each: mm from the middle one.
    """
    turned = [reorient(array, affine, "SPL") for array in (imaging, reference, prediction)]
    (imaging, reference, prediction), spacing = [array for array, _ in turned], spacing_of(turned[0][1])
    shown = tumour_slices(reference)
    box = (slice(None), *_crop((reference > 0) | (prediction > 0), shown, MARGIN / spacing[1:]))
    imaging, reference, prediction = (volume[box] for volume in (imaging, reference, prediction))
    height, width = imaging.shape[1] * spacing[1], imaging.shape[2] * spacing[2]
    tall = min((PAGE - 0.6) / 3 * height / width, 2.6)
    figure, grid = canvas(title, (PAGE, 2 * tall + 0.85), 2, 3, simulated=simulated)
    for row, (name, labels) in zip(grid, {"reference": reference, "prediction": prediction}.items()):
        for axes, at in zip(row, shown):
            section(axes, imaging, spacing, at, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1])
            for label in (1, 2):
                outline(axes, labels == label, spacing, at, COLOURS[CLASSES[label]])
        row[0].set_ylabel(name)
    for axes, at in zip(grid[0], shown):
        away = f"{(at - shown[len(shown) // 2]) * spacing[0]:+.0f} mm".replace("+0 ", "0 ").replace("-", "−")
        axes.set_title(away, fontsize="medium")
    letters(grid[0, 0], ("A", "P"), ("R", "L"))
    legend_below(figure, [Line2D([], [], color=COLOURS[name], label=name) for name in CLASSES[1:]])
    return figure


def tumour_slices(reference: np.ndarray) -> list[int]:
    """Three slices (first axis) at the quartiles of the tumour's voxels, from top to bottom.

    Of the kidney where there is no tumour. A small tumour repeats none: neighbours are taken instead. Raises ValueError
    for a reference without any label.
    """
    volume = reference == 2 if (reference == 2).any() else reference == 1
    if not volume.any():
        raise ValueError("the reference holds neither kidney nor tumour, so there is no slice to show")
    cumulative = np.cumsum(volume.sum(axis=(1, 2))) / volume.sum()
    low, middle, high = (int(np.searchsorted(cumulative, quantile)) for quantile in (0.25, 0.5, 0.75))
    last = len(reference) - 1
    chosen = {max(0, min(low, middle - 1)), middle, min(last, max(high, middle + 1))}
    return sorted(chosen | set(range(min(3, last + 1))) if len(chosen) < 3 else chosen, reverse=True)[:3]


def _crop(marked: np.ndarray, shown: Sequence[int], margin: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns (axes 1 and 2) around what is ``marked`` on the slices ``shown``; ``margin`` in voxels."""
    flat, bounds = marked[list(shown)].any(axis=0), []
    for axis, pad in enumerate(np.ceil(margin).astype(int)):
        found = np.flatnonzero(flat.any(axis=1 - axis))
        bounds.append(slice(max(0, found[0] - pad), min(flat.shape[axis], found[-1] + pad + 1)))
    return tuple(bounds)


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


def dice_by_size(cases: pd.DataFrame, said: str, simulated: bool) -> Figure:
    """Tumour Dice of every case, as ``said``, over its tumour's volume; ``cases`` as ``tables.describe_cases``."""
    figure, axes = canvas("Tumour Dice by size", (COLUMN, 2.3), simulated=simulated)
    dots, colour = cases.dropna(subset=["tumour"]), COLOURS["tumour"]
    axes.vlines(dots.tumour_ml, dots.tumour_low, dots.tumour_high, color=colour, linewidth=1.4, alpha=0.35)
    sns.scatterplot(dots, x="tumour_ml", y="tumour", color=colour, s=16, ax=axes, clip_on=False)
    axes.set(xlabel="tumour volume (ml)", ylabel="tumour Dice", ylim=(-0.02, 1.02))
    if len(dots):
        plain_log(axes.xaxis, 0.8 * dots.tumour_ml.min(), 1.25 * dots.tumour_ml.max())
    legend_below(figure, [Line2D([], [], color=colour, marker="o", markersize=4, label=said)])
    return figure
