"""Figures of runs that need more than scores: training curves, and predictions on slices of CT."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kitsnb.data.nifti import spacing_of
from kitsnb.drawing import COLOURS, GREY, PAGE, WINDOW, canvas, letters, outline, section
from kitsnb.preprocessing.resampling import reorient
from kitsnb.study.figures import legend_below, whole_numbers

CLASSES = ("background", "kidney", "tumour")
#: mm around what ``slices`` shows.
MARGIN = 25.0


def training_panels(runs: Mapping[str, tuple[pd.DataFrame, int | None]], title: str, simulated: bool) -> Figure:
    """Draw loss and soft Dice per class against the epoch, training dashed, validation solid: two runs a row.

    ``runs`` holds, by title, ``history.csv`` and the epoch whose weights are scored (dotted; None draws none). Epochs
    without validation are bridged.
    """
    rows = -(-len(runs) // 2)
    columns = 2 * min(2, len(runs))
    figure, grid = canvas(title, (PAGE, 0.95 + 1.4 * rows), rows, columns, simulated=simulated, squeeze=False)
    places = grid.reshape(-1, 2)
    for axes in places[len(runs):].flat:
        axes.set_axis_off()
    for (name, (history, scored)), (loss, dice) in zip(runs.items(), places):
        _draw_curves(loss, history, {"loss": COLOURS["composite"]})
        _draw_curves(dice, history, {name: COLOURS[name] for name in CLASSES})
        loss.set_ylabel("loss")
        dice.set(ylabel="soft Dice", ylim=(-0.02, 1.02))
        for axes in (loss, dice):
            whole_numbers(axes.xaxis)
            if scored is not None:
                axes.axvline(scored, color=GREY, linewidth=0.9, linestyle=":")
        if len(runs) > 1:
            loss.set_title(textwrap.fill(name, 34, break_on_hyphens=False), loc="left", fontsize="medium")
    handles = [Line2D([], [], color=COLOURS[name], label=name) for name in CLASSES]
    handles += [Line2D([], [], color="black", linestyle="--", label="training"),
                Line2D([], [], color="black", label="validation"),
                Line2D([], [], color=GREY, linestyle=":", linewidth=0.9, label="weights that are scored")]
    legend_below(figure, handles)
    return figure


def _draw_curves(axes: Axes, history: pd.DataFrame, colours: Mapping[str, str]) -> None:
    marker = "." if len(history) < 8 else None
    for part, dashes in {"training": "--", "validation": "-"}.items():
        for name, colour in colours.items():
            points = history[["epoch", f"{part}_{name}"]].dropna()
            axes.plot(*points.to_numpy().T, color=colour, linestyle=dashes, linewidth=1.2, marker=marker)


def slices(imaging: np.ndarray, reference: np.ndarray, prediction: np.ndarray, affine: np.ndarray, title: str,
           simulated: bool) -> Figure:
    """Draw three axial slices through the tumour: CT with the reference's contours (top) and the prediction's.

    The three arrays share shape and ``affine`` and may lie in any orientation; they are shown as a radiologist sees
    them, patient's left on the right and anterior up, to scale. The view is cropped to what either segmentation marks
    on the slices shown, and ``MARGIN`` around it. Above each: mm from the middle one.
    """
    turned = [reorient(array, affine, "SPL") for array in (imaging, reference, prediction)]
    spacing = spacing_of(turned[0][1])
    imaging, reference, prediction = (array for array, _ in turned)
    shown = choose_slices(reference)
    box = (slice(None), *_crop((reference > 0) | (prediction > 0), shown, MARGIN / spacing[1:]))
    imaging, reference, prediction = (volume[box] for volume in (imaging, reference, prediction))
    height, width = imaging.shape[1:] * spacing[1:]
    tall = min((PAGE - 0.6) / 3 * height / width, 2.6)
    figure, grid = canvas(title, (PAGE, 2 * tall + 0.85), 2, 3, simulated=simulated)
    for row, (name, labels) in zip(grid, {"reference": reference, "prediction": prediction}.items()):
        row[0].set_ylabel(name)
        for axes, at in zip(row, shown):
            section(axes, imaging, spacing, at, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1])
            for label in (1, 2):
                outline(axes, labels == label, spacing, at, COLOURS[CLASSES[label]])
    for axes, at in zip(grid[0], shown):
        away = (at - shown[len(shown) // 2]) * spacing[0]
        axes.set_title("0 mm" if round(away) == 0 else f"{away:+.0f} mm".replace("-", "−"), fontsize="medium")
    letters(grid[0, 0], ("A", "P"), ("R", "L"))
    legend_below(figure, [Line2D([], [], color=COLOURS[name], label=name) for name in CLASSES[1:]])
    return figure


def choose_slices(reference: np.ndarray) -> list[int]:
    """Choose three slices (first axis) at the quartiles of the tumour's voxels, from top to bottom.

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
    if len(chosen) < 3:
        chosen |= set(range(min(3, last + 1)))
    return sorted(chosen, reverse=True)[:3]


def _crop(marked: np.ndarray, shown: Sequence[int], margin: np.ndarray) -> tuple[slice, slice]:
    """Find rows and columns (axes 1 and 2) around what is ``marked`` on the slices ``shown``; ``margin`` in voxels."""
    flat = marked[list(shown)].any(axis=0)
    bounds = []
    for axis, pad in enumerate(np.ceil(margin).astype(int)):
        found = np.flatnonzero(flat.any(axis=1 - axis))
        bounds.append(slice(max(0, found[0] - pad), min(flat.shape[axis], found[-1] + pad + 1)))
    return tuple(bounds)
