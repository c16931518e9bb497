"""Figures of runs that need more than scores: training curves, and predictions on slices of CT."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kitsnb.data.geometry import spacing_of
from kitsnb.drawing import COLOURS, GREY, PAGE, canvas, labelled_section, legend_of, letters
from kitsnb.preprocessing.resampling import reorient
from kitsnb.study.figures import labelled, legend_below, whole_numbers

#: mm around what ``slices`` shows.
MARGIN = 25.0


def training_panels(runs: Mapping[str, tuple[pd.DataFrame, int | None]], title: str, simulated: bool) -> Figure:
    """Draw loss and soft Dice per class against the epoch, training dashed, validation solid: two runs a row.

    ``runs`` holds, by title, ``history.csv`` and the epoch whose weights are scored (None draws none). Epochs without
    validation are bridged.
    """
    rows = -(-len(runs) // 2)
    size = (PAGE, 0.95 + 1.4 * rows)
    figure, grid = canvas(title, size, rows, 2 * min(2, len(runs)), simulated=simulated, squeeze=False)
    places = grid.reshape(-1, 2)
    for axes in places[len(runs):].flat:
        axes.set_axis_off()
    for (name, (history, scored)), (loss, dice) in zip(runs.items(), places):
        _draw_curves(loss, history, ["loss"], scored)
        _draw_curves(dice, history, ["background", "kidney", "tumour"], scored)
        loss.set_ylabel("loss")
        dice.set(ylabel="soft Dice", ylim=(-0.02, 1.02))
        if len(runs) > 1:
            loss.set_title(textwrap.fill(name, 34, break_on_hyphens=False), loc="left", fontsize="medium")
    legend_below(figure, labelled(places[0, 1]), columns=4)
    return figure


def _draw_curves(axes: Axes, history: pd.DataFrame, names: list[str], scored: int | None) -> None:
    marker = "." if len(history) < 8 else None
    for part, dashes in {"training": "--", "validation": "-"}.items():
        for name in names:
            column = f"{part}_{name}"
            points = history.dropna(subset=column)
            colour = COLOURS.get(name, COLOURS["composite"])
            label = f"{part}, {name}"
            axes.plot(points.epoch, points[column], color=colour, linestyle=dashes, marker=marker, label=label)
    if scored is not None:
        axes.axvline(scored, color=GREY, linewidth=0.9, linestyle=":", label="weights that are scored")
    whole_numbers(axes.xaxis)


def slices(imaging: np.ndarray, reference: np.ndarray, prediction: np.ndarray, affine: np.ndarray, title: str,
           simulated: bool) -> Figure:
    """Draw three axial slices through the tumour: CT with the reference's contours (top) and the prediction's.

    The three arrays share shape and ``affine`` and may lie in any orientation; they are shown as a radiologist sees
    them, to scale, and cropped to what either segmentation marks, with ``MARGIN`` around. Above: mm from the middle.
    """
    turned = [reorient(array, affine, "SPL") for array in (imaging, reference, prediction)]
    spacing = spacing_of(turned[0][1])
    imaging, reference, prediction = (array for array, _ in turned)
    shown = choose_slices(reference)
    places = np.argwhere(((reference > 0) | (prediction > 0)).any(axis=0)) * spacing[1:]
    left, right = places[:, 1].min() - MARGIN, places[:, 1].max() + MARGIN
    top, bottom = places[:, 0].min() - MARGIN, places[:, 0].max() + MARGIN
    tall = min((PAGE - 0.6) / 3 * (bottom - top) / (right - left), 2.6)
    figure, grid = canvas(title, (PAGE, 2 * tall + 0.85), 2, 3, simulated=simulated)
    for row, (name, labels) in zip(grid, {"reference": reference, "prediction": prediction}.items()):
        row[0].set_ylabel(name)
        for axes, at in zip(row, shown):
            labelled_section(axes, imaging, labels, spacing, at)
            axes.set(xlim=(left, right), ylim=(bottom, top))
    for axes, at in zip(grid[0], shown):
        away = round((at - shown[1]) * spacing[0])
        axes.set_title(f"{away:+} mm".replace("+0", "0").replace("-", "−"), fontsize="medium")
    letters(grid[0, 0], ("A", "P"), ("R", "L"))
    legend_of(figure, ("kidney", "tumour"))
    return figure


def choose_slices(reference: np.ndarray) -> list[int]:
    """Choose slices (first axis) at three quarters, half and a quarter of those with tumour, from top to bottom.

    Of those with kidney where there is no tumour; of fewer than three, some repeat. Raises ValueError without label.
    """
    if not reference.any():
        raise ValueError("the reference holds neither kidney nor tumour, so there is no slice to show")
    wanted = 2 if (reference == 2).any() else 1
    places = np.flatnonzero((reference == wanted).any(axis=(1, 2)))
    return [int(places[quarter * len(places) // 4]) for quarter in (3, 2, 1)]
