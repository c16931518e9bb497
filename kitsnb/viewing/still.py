"""Pictures of cases with their errors: the worst, the median and the best of a run, or one case of two losses."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kitsnb.drawing import ENDS, PAGE, canvas, layered, legend_of_layers, letters
from kitsnb.study.tables import extremes
from kitsnb.viewing.scan import Scan


def extreme_scans(scores: pd.DataFrame, read: Callable[[str], Scan]) -> list[tuple[str, Scan]]:
    """Read the worst, median and best case of ``scores`` (a row per case), each with its place and Dice."""
    score = "tumour" if scores.tumour.notna().any() else "kidney"
    return [(f"{place}, {score} Dice {scores[score][case]:.2f}", read(case))
            for place, case in extremes(scores).items()]


def gallery(scans: Sequence[tuple[str, Scan]], title: str, simulated: bool = False, margin: float = 30.0) -> Figure:
    """Draw label, prediction and errors in one axial slice; a row per scan, with its text.

    The view is cropped to what label or prediction marks on that slice, and ``margin`` mm around it, in one scale.
    """
    slices = []
    for _, scan in scans:
        one = slice(scan.centre[0], scan.centre[0] + 1)
        layers = {kind: array[one] for kind, array in scan.layers.items()}
        layers["errors"] = find_errors(**layers)
        box = _box((layers["label"] | layers["prediction"])[0], scan.spacing[1:])
        slices.append((scan.imaging[one], layers, scan.spacing, box))
    high, wide = np.max([box[1] - box[0] for *_, box in slices], axis=0) + 2 * margin  # mm
    size = PAGE, len(scans) * ((PAGE - 0.7) / 3 * high / wide + 0.1) + 0.9
    figure, grid = canvas(title, size, len(scans), 3, simulated=simulated, squeeze=False)
    for row, (text, scan), (imaging, layers, spacing, box) in zip(grid, scans, slices):
        down, right = box.mean(axis=0)
        for axes, (kind, layer) in zip(row, layers.items()):
            layered(axes, imaging, kind, layer, spacing, 0)
            axes.set(xlim=(right - wide / 2, right + wide / 2), ylim=(down + high / 2, down - high / 2))
        letters(row[0], *ENDS[1:])
        row[0].set_ylabel(f"{scan.name}\n{text}", fontsize="small")
    for axes, kind in zip(grid[0], layers):
        axes.set_title(kind, fontsize="medium")
    legend_of_layers(figure, layers)
    return figure


def find_errors(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Mark with 1 what was missed, 2 what was invented, 3 where kidney and tumour were taken for each other."""
    kinds = [(label > 0) & (prediction == 0), (label == 0) & (prediction > 0), label != prediction]
    return np.select(kinds, [1, 2, 3]).astype(np.uint8)


def _box(marked: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return first and last mm, down and right, of what is ``marked``; of all where nothing is."""
    places = np.argwhere(marked if marked.any() else np.ones_like(marked))
    return np.array([places.min(axis=0), places.max(axis=0) + 1]) * spacing
