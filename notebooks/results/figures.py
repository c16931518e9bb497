"""Figures of runs that need more than scores: training curves, and predictions on slices of CT."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from kitsnb.data.geometry import spacing_of
from kitsnb.drawing import COLOURS, GREY, PAGE, canvas, labelled_section, legend_of, letters
from kitsnb.preprocessing.resampling import reorient
from kitsnb.study.figures import labelled, legend_below, whole_numbers
from kitsnb.study.tables import number

#: mm around what is marked on slices.
MARGIN = 25.0


def training_panels(runs: Mapping[str, tuple[pd.DataFrame, int | None]], title: str, simulated: bool) -> Figure:
    """Draw loss and soft Dice against the epoch, training dashed, validation solid: two runs per row.

    ``runs`` holds, by title, ``history.csv`` and the epoch whose weights are scored (None draws none). Epochs without
    validation are bridged.
    """
    rows = -(-len(runs) // 2)
    columns = 2 * min(2, len(runs))
    figure, grid = canvas(title, (PAGE, 0.95 + 1.4 * rows), rows, columns, simulated=simulated, squeeze=False)
    places = grid.reshape(-1, 2)
    for axes in places[len(runs) :].flat:
        axes.set_axis_off()
    for (name, (history, scored)), (loss, dice) in zip(runs.items(), places):
        draw_curves(loss, history, ["loss"], scored)
        draw_curves(dice, history, ["background", "kidney", "tumour"], scored)
        loss.set_ylabel("loss")
        dice.set(ylabel="soft Dice", ylim=(-0.02, 1.02))
        if len(runs) > 1:
            loss.set_title(textwrap.fill(name, 34, break_on_hyphens=False), loc="left", fontsize="medium")
    legend_below(figure, labelled(places[0, 1]), columns=4)
    return figure


def draw_curves(axes: Axes, history: pd.DataFrame, names: list[str], scored: int | None) -> None:
    marker = "." if len(history) < 8 else None
    for part, dashes in (("training", "--"), ("validation", "-")):
        for name in names:
            points = history.set_index("epoch")[f"{part}_{name}"].dropna()
            colour = COLOURS.get(name, COLOURS["composite"])
            axes.plot(points, color=colour, linestyle=dashes, marker=marker, label=f"{part}, {name}")
    if scored is not None:
        axes.axvline(scored, color=GREY, linestyle=":", label="weights that are scored")
    whole_numbers(axes.xaxis)


@dataclass(frozen=True)
class View:
    """An axial slice, number ``at``, of volumes with axes SPL, and what stands above it."""

    heading: str
    imaging: ndarray
    reference: ndarray
    prediction: ndarray
    spacing: ndarray
    at: int


def slices(
    imaging: ndarray, reference: ndarray, prediction: ndarray, affine: ndarray, title: str, simulated: bool
) -> Figure:
    """Draw three axial slices through the tumour of a case, above each its mm from the middle one.

    The arrays share shape and ``affine``, in any orientation.
    """
    *volumes, spacing = upright(imaging, reference, prediction, affine)
    chosen = choose_slices(volumes[1])
    views = []
    for at in chosen:
        away = round((at - chosen[1]) * spacing[0])
        views.append(View(f"{number(away, 0, signed=True)} mm", *volumes, spacing, at))
    return draw_views(views, title, simulated)


def patients(cases: Mapping[str, tuple], title: str, simulated: bool) -> Figure:
    """Draw a slice of each case, where its tumour is largest.

    ``cases`` holds imaging, reference, prediction and affine, in any orientation, by what stands above.
    """
    views = []
    for heading, case in cases.items():
        *volumes, spacing = upright(*case)
        areas = (volumes[1] == volumes[1].max()).sum(axis=(1, 2))
        views.append(View(heading, *volumes, spacing, int(areas.argmax())))
    return draw_views(views, title, simulated)


def upright(*case: ndarray) -> list[ndarray]:
    """Bring imaging, reference and prediction, which share the affine that ends ``case``, to axes SPL; add spacing."""
    *volumes, affine = case
    turned = [reorient(volume, affine, "SPL") for volume in volumes]
    return [volume for volume, _ in turned] + [spacing_of(turned[0][1])]


def draw_views(views: Sequence[View], title: str, simulated: bool) -> Figure:
    """Draw CT with the reference's contours (top) and the prediction's, to one scale, as a radiologist sees it.

    Views are cropped to what either segmentation marks.
    """
    middles = []
    reach = np.zeros(2)
    for view in views:
        marked = np.argwhere((view.reference + view.prediction).any(axis=0)) * view.spacing[1:]
        middles.append((marked.min(axis=0) + marked.max(axis=0)) / 2)
        reach = np.maximum(reach, np.ptp(marked, axis=0) / 2 + MARGIN)
    height = min((PAGE - 0.6) / len(views) * reach[0] / reach[1], 2.6)
    figure, grid = canvas(title, (PAGE, 2 * height + 0.85), 2, len(views), simulated=simulated)
    for column, view, (y, x) in zip(grid.T, views, middles):
        for axes, labels in zip(column, (view.reference, view.prediction)):
            labelled_section(axes, view.imaging, labels, view.spacing, view.at)
            axes.set(xlim=(x - reach[1], x + reach[1]), ylim=(y + reach[0], y - reach[0]))
        column[0].set_title(view.heading, fontsize="medium")
    for axes, name in zip(grid[:, 0], ("reference", "prediction")):
        axes.set_ylabel(name)
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
