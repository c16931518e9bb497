"""Figures of runs that need more than scores: training curves, and predictions on slices of CT."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from kitsnb.data.geometry import spacing_of
from kitsnb.drawing import COLOURS, PAGE, canvas, labelled_section, legend_of, letters
from kitsnb.preprocessing.resampling import reorient
from kitsnb.study.figures import legend_below
from kitsnb.study.tables import number

#: mm around what ``slices`` shows.
MARGIN = 25.0


def training_panels(histories: Mapping[str, pd.DataFrame], title: str, simulated: bool) -> Figure:
    """Draw loss and soft Dice of each history.csv against the epoch, by title: two runs per row.

    Training is dashed, validation solid; epochs without validation are bridged.
    """
    rows = -(-len(histories) // 2)
    columns = 2 * min(2, len(histories))
    figure, grid = canvas(title, (PAGE, 0.95 + 1.4 * rows), rows, columns, simulated=simulated, squeeze=False)
    places = grid.reshape(-1, 2)
    for axes in places[len(histories):].flat:
        axes.set_axis_off()
    for (name, history), (loss, dice) in zip(histories.items(), places):
        draw_curves(loss, history, ["loss"])
        draw_curves(dice, history, ["background", "kidney", "tumour"])
        loss.set_ylabel("loss")
        dice.set(ylabel="soft Dice", ylim=(-0.02, 1.02))
        if len(histories) > 1:
            loss.set_title(textwrap.fill(name, 34, break_on_hyphens=False), loc="left", fontsize="medium")
    legend_below(figure, places[0, 1], columns=3)
    return figure


def draw_curves(axes: Axes, history: pd.DataFrame, names: list[str]) -> None:
    for part, dashes in (("training", "--"), ("validation", "-")):
        for name in names:
            points = history.set_index("epoch")[f"{part}_{name}"].dropna()
            colour = COLOURS.get(name, COLOURS["composite"])
            axes.plot(points, color=colour, linestyle=dashes, marker=".", label=f"{part}, {name}")
    axes.xaxis.get_major_locator().set_params(integer=True)


def slices(imaging: ndarray, reference: ndarray, prediction: ndarray, affine: ndarray, title: str,
           simulated: bool) -> Figure:
    """Draw three axial slices through the tumour: CT with the reference's contours (top) and the prediction's.

    The arrays share shape and ``affine``, in any orientation. Slices are to scale, as a radiologist sees them, and
    cropped to what either segmentation marks. Above: mm from the middle.
    """
    imaging, turned = reorient(imaging, affine, "SPL")
    reference, _ = reorient(reference, affine, "SPL")
    prediction, _ = reorient(prediction, affine, "SPL")
    spacing = spacing_of(turned)
    shown = choose_slices(reference)
    marked = np.argwhere((reference + prediction).any(axis=0)) * spacing[1:]
    top, left = marked.min(axis=0) - MARGIN
    bottom, right = marked.max(axis=0) + MARGIN
    width = (PAGE - 0.6) / 3
    height = min(width * (bottom - top) / (right - left), 2.6)
    figure, grid = canvas(title, (PAGE, 2 * height + 0.85), 2, 3, simulated=simulated)
    for row, name, labels in zip(grid, ("reference", "prediction"), (reference, prediction)):
        row[0].set_ylabel(name)
        for axes, at in zip(row, shown):
            labelled_section(axes, imaging, labels, spacing, at)
            axes.set(xlim=(left, right), ylim=(bottom, top))
    for axes, at in zip(grid[0], shown):
        away = round((at - shown[1]) * spacing[0])
        axes.set_title(f"{number(away, 0, signed=True)} mm", fontsize="medium")
    letters(grid[0, 0], ("A", "P"), ("R", "L"))
    legend_of(figure, ("kidney", "tumour"))
    return figure


def choose_slices(reference: ndarray) -> list[int]:
    """Choose slices (first axis) at three quarters, half and a quarter of those with tumour, else with kidney.

    Raises ValueError where there is no label.
    """
    if not reference.any():
        raise ValueError("the reference holds neither kidney nor tumour, so there is no slice to show")
    found = np.flatnonzero((reference == reference.max()).any(axis=(1, 2)))
    return [int(found[quarter * len(found) // 4]) for quarter in (3, 2, 1)]
