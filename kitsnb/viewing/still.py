"""Pictures of cases with their errors: the worst, the median and the best of a run, or of two losses."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kitsnb.drawing import PAGE, canvas, layered, legend_of_layers
from kitsnb.study.tables import extremes
from kitsnb.viewing.scan import Scan

KINDS = ("label", "prediction", "errors")


def extreme_scans(scores: pd.DataFrame, read: Callable[[str], Scan]) -> list[tuple[str, Scan]]:
    """Read the worst, median and best case of ``scores`` (a row per case), each with its place and Dice."""
    score = "tumour" if scores.tumour.notna().any() else "kidney"
    return [(f"{place}, {score} Dice {scores[score][case]:.2f}", read(case))
            for place, case in extremes(scores).items()]


def gallery(scans: Sequence[tuple[str, Scan]], title: str, simulated: bool = False, margin: float = 30.0) -> Figure:
    """Draw label, prediction and errors in one axial slice; a row per scan, with its text.

    The view is cropped to what label or prediction marks on that slice, and ``margin`` mm around it, in one scale.
    """
    boxes = [_marked(scan) for _, scan in scans]
    high, wide = np.max([box[1] - box[0] for box in boxes], axis=0) + 2 * margin  # mm
    size = PAGE, len(scans) * ((PAGE - 0.7) / 3 * high / wide + 0.1) + 0.9
    figure, grid = canvas(title, size, len(scans), 3, simulated=simulated, squeeze=False)
    for row, (text, scan), box in zip(grid, scans, boxes):
        down, right = box.mean(axis=0)
        for axes, kind in zip(row, KINDS):
            layered(axes, scan.imaging, kind, scan.layers[kind], scan.spacing, scan.centre[0])
            axes.set(xlim=(right - wide / 2, right + wide / 2), ylim=(down + high / 2, down - high / 2))
        row[0].set_ylabel(f"{scan.name}\n{text}", fontsize="small")
    for axes, kind in zip(grid[0], KINDS):
        axes.set_title(kind, fontsize="medium")
    legend_of_layers(figure, KINDS)
    return figure


def _marked(scan: Scan) -> np.ndarray:
    """Return the box in mm, [first and last, down and right], of what label or prediction marks on the slice."""
    shown = (scan.label[scan.centre[0]] > 0) | (scan.prediction[scan.centre[0]] > 0)
    places = np.argwhere(shown if shown.any() else np.ones_like(shown))
    return np.array([places.min(axis=0), places.max(axis=0) + 1]) * scan.spacing[1:]
