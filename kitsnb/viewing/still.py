"""Pictures that stand still: cases of a run with their errors."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kitsnb.drawing import PAGE, canvas, layered, legend_of_layers
from kitsnb.study.figures import NAMES
from kitsnb.study.tables import extremes
from kitsnb.viewing.scan import LEGENDS, Scan


def extreme_scans(scores: pd.DataFrame, read: Callable[[str], Scan]) -> list[tuple[str, Scan]]:
    """The worst, median and best case of ``scores`` (a row a case) for ``gallery``; ``read`` gives a case's scan."""
    score = "tumour" if scores.tumour.notna().any() else "kidney"
    return [(f"{place}, {NAMES[score]} Dice {scores[score][case]:.2f}", read(case))
            for place, case in extremes(scores).items()]


def gallery(scans: Sequence[tuple[str, Scan]], title: str, simulated: bool = False, margin: float = 30.0) -> Figure:
    """A row a scan, named by its text (such as "worst, Dice .12"): label, prediction and errors in one axial slice.

    The view is cropped to what label or prediction marks on that slice, and ``margin`` mm around it.
    """
    boxes = [_marked(scan) for _, scan in scans]
    high, wide = np.max([box[:, 1] - box[:, 0] for box in boxes], axis=0) + 2 * margin  # one scale for all rows, in mm
    size = PAGE, len(scans) * ((PAGE - 0.7) / 3 * high / wide + 0.1) + 0.9
    figure, grid = canvas(title, size, len(scans), 3, simulated=simulated, squeeze=False)
    for row, (text, scan), box in zip(grid, scans, boxes):
        down, right = box.mean(1)
        for axes, layer in zip(row, LEGENDS):
            layered(axes, scan.imaging, layer, scan.layers[layer], scan.spacing, scan.centre[0])
            axes.set(xlim=(right - wide / 2, right + wide / 2), ylim=(down + high / 2, down - high / 2))
        row[0].set_ylabel(f"{scan.name}\n{text}", fontsize="small")
    for axes, layer in zip(grid[0], LEGENDS):
        axes.set_title(layer, fontsize="medium")
    legend_of_layers(figure, LEGENDS)
    return figure


def _marked(scan: Scan) -> np.ndarray:
    """First and last mm, down and right, of what label or prediction marks on the slice of the scan's centre."""
    marked = (scan.layers["errors"] > 0)[scan.centre[0]] | (scan.label > 0)[scan.centre[0]]
    found = [np.flatnonzero(marked.any(1 - axis)) for axis in range(2)]
    return np.array([(at[0] * span, at[-1] * span) if at.size else (0, span * n)
                     for at, span, n in zip(found, scan.spacing[1:], marked.shape)])
