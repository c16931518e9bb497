"""Pictures of cases with their errors: the worst, the median and the best of a run, or one case of two losses."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from kitsnb.drawing import ENDS, ERRORS, PAGE, WINDOW, canvas, labelled_section, legend_of, letters, section
from kitsnb.viewing.scan import Scan

#: Half a side of each picture of a gallery, in mm: a kidney with what is around it.
AROUND = 90.0
#: Nothing where there is no error, else the colours of ERRORS, which let the CT through.
ON_ERRORS = ListedColormap(["#ffffff00", *(f"{colour}c0" for colour in ERRORS.values())])


def gallery(scans: Sequence[tuple[str, Scan]], title: str, simulated: bool = False) -> Figure:
    """Draw label, prediction and errors in the axial slice at the centre of each scan, a row per scan with its text."""
    size = PAGE, len(scans) * ((PAGE - 0.7) / 3 + 0.1) + 0.9
    figure, grid = canvas(title, size, len(scans), 3, simulated=simulated, squeeze=False)
    for row, (text, scan) in zip(grid, scans):
        at, *middle = scan.centre
        imaging = scan.imaging[at : at + 1]
        layers = {kind: labels[at : at + 1] for kind, labels in scan.layers.items()}
        for axes, labels in zip(row, layers.values()):
            labelled_section(axes, imaging, labels, scan.spacing, 0)
        section(row[2], imaging, scan.spacing, 0, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1])
        section(row[2], find_errors(**layers), scan.spacing, 0, cmap=ON_ERRORS, vmin=0, vmax=len(ERRORS))
        sizes = scan.spacing[1:] * imaging.shape[1:]
        down, right = np.clip(middle * scan.spacing[1:], AROUND, sizes - AROUND)
        for axes in row:
            axes.set(xlim=(right - AROUND, right + AROUND), ylim=(down + AROUND, down - AROUND))
        letters(row[0], *ENDS[1:])
        row[0].set_ylabel(f"{scan.name}\n{text}", fontsize="small")
    for axes, kind in zip(grid[0], ("label", "prediction", "errors")):
        axes.set_title(kind, fontsize="medium")
    legend_of(figure, ("kidney", "tumour", *ERRORS))
    return figure


def find_errors(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Mark with 1 what was missed, 2 what was invented, 3 where kidney and tumour were taken for each other."""
    kinds = [(label > 0) & (prediction == 0), (label == 0) & (prediction > 0), label != prediction]
    return np.select(kinds, [1, 2, 3]).astype(np.uint8)
