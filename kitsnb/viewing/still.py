"""Pictures that stand still: a case in three planes, and the best, median and worst case of a run with their errors."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from kitsnb.drawing import COLOURS, ENDS, ERRORS, PAGE, WINDOW, canvas, letters, outline, section
from kitsnb.viewing.scan import LEGENDS, Scan

PLANES = ("axial", "coronal", "sagittal")


def montage(scan: Scan, simulated: bool = False, window: tuple[float, float] = WINDOW) -> Figure:
    """``scan`` in three planes through its centre, a row for each of label, prediction and errors that it has.

    To scale, in HU between the two of ``window``; where there is no label, the CT alone. Letters name the patient's
    sides.
    """
    layers = list(scan.layers) or [None]
    sides = [np.delete(scan.spacing * scan.imaging.shape, across) for across in range(3)]  # mm, down and right
    ratios = [right / down for down, right in sides]
    tall = (PAGE - 0.3) / sum(ratios) + 0.1
    figure, grid = canvas(scan.name, (PAGE, tall * len(layers) + 0.7), len(layers), 3, simulated=simulated,
                          width_ratios=ratios, squeeze=False)
    for row, layer in zip(grid, layers):
        for across, axes in enumerate(row):
            draw(axes, scan, layer, scan.centre[across], across, window)
            letters(axes, *(ends for axis, ends in enumerate(ENDS) if axis != across))
        row[0].set_ylabel(layer or "CT")
    for axes, plane in zip(grid[0], PLANES):
        axes.set_title(plane, fontsize="medium")
    _legend(figure, layers)
    return figure


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
            draw(axes, scan, layer, scan.centre[0], 0, WINDOW)
            axes.set(xlim=(right - wide / 2, right + wide / 2), ylim=(down + high / 2, down - high / 2))
        row[0].set_ylabel(f"{scan.name}\n{text}", fontsize="small")
    for axes, layer in zip(grid[0], LEGENDS):
        axes.set_title(layer, fontsize="medium")
    _legend(figure, list(LEGENDS))
    return figure


def draw(axes: Axes, scan: Scan, layer: str | None, at: int, across: int, window: tuple[float, float]) -> None:
    """One section of the CT; labels as outlines, errors as areas."""
    section(axes, scan.imaging, scan.spacing, at, across, cmap="gray", vmin=window[0], vmax=window[1])
    if layer == "errors":
        table = np.array([to_rgba("white", 0), *(to_rgba(colour, 0.75) for _, colour in LEGENDS[layer].values())])
        section(axes, table[scan.layers[layer]], scan.spacing, at, across)
    elif layer:
        for number, (_, colour) in LEGENDS[layer].items():
            outline(axes, scan.layers[layer] == number, scan.spacing, at, colour, across)


def _marked(scan: Scan) -> np.ndarray:
    """First and last mm, down and right, of what label or prediction marks on the slice of the scan's centre."""
    marked = (scan.layers["errors"] > 0)[scan.centre[0]] | (scan.label > 0)[scan.centre[0]]
    found = [np.flatnonzero(marked.any(1 - axis)) for axis in range(2)]
    return np.array([(at[0] * span, at[-1] * span) if at.size else (0, span * n)
                     for at, span, n in zip(found, scan.spacing[1:], marked.shape)])


def _legend(figure: Figure, layers: Sequence[str | None]) -> None:
    handles = [Line2D([], [], color=COLOURS[name], label=name) for name in ("kidney", "tumour")] if layers[0] else []
    if "errors" in layers:
        handles += [Patch(color=colour, label=name) for name, colour in ERRORS.items()]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
