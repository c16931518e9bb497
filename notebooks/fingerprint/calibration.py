"""Real CT beside simulated, patient by patient: the same slab of the same label map, measured alike."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy import ndarray

from kitsnb.data.cases import Case
from kitsnb.data.checks import read_case
from kitsnb.data.geometry import spacing_of
from kitsnb.drawing import GREY, PAGE, PALETTE, canvas
from kitsnb.simulation.cases import labels_on_grid
from kitsnb.simulation.painter import KIDNEY, TUMOUR, paint

COLOURS = {"real": GREY, "simulated": PALETTE[1]}
LABELS = {"kidney": KIDNEY, "tumour": TUMOUR}


def measure(hu: ndarray, labels: ndarray) -> dict[str, float]:
    """Return mean and SD of kidney and tumour, in HU; NaN where there are no such voxels."""
    row = {}
    for name, label in LABELS.items():
        values = pd.Series(hu[labels == label])
        row[f"{name}, mean (HU)"] = values.mean()
        row[f"{name}, SD (HU)"] = values.std(ddof=0)
    return row


def paint_slab(slab: Case, whole: Case, seed: int) -> tuple[ndarray, ndarray]:
    """Return HU and labels of the part of a simulated CT around the label map ``whole`` that ``slab`` shows.

    The slab's voxels are whole blocks of the label's, so the map is cut where such blocks begin, and painted on them.
    """
    imaging, _, slab_affine = read_case(slab)
    _, labels, affine = read_case(whole, imaging=False)
    steps = np.linalg.inv(affine) @ slab_affine
    block = np.rint(np.diag(steps)[:3]).astype(int)
    first = np.rint(steps[:3, 3] - (block - 1) / 2).astype(int)
    start = first % block
    end = start + (labels.shape - start) // block * block
    labels = labels[tuple(map(slice, start, end))]
    labels, affine = labels_on_grid(labels, affine, spacing_of(slab_affine))
    corner = (first - start) // block
    shown = tuple(map(slice, corner, corner + imaging.shape))
    hu = paint(labels, affine, seed, whole.number)
    return hu[shown], labels[shown]


def measure_slabs(slabs: Path, labels: Path, numbers: Iterable[int], seed: int = 0) -> pd.DataFrame:
    """Measure the slab of each patient, real and painted: two rows per patient that both folders hold."""
    rows = []
    for number in numbers:
        slab = Case(slabs / f"case_{number:05d}")
        whole = Case(labels / slab.name)
        if slab.imaging.is_file() and whole.segmentation.is_file():
            real = measure(*read_case(slab)[:2])
            simulated = measure(*paint_slab(slab, whole, seed))
            rows.append({"source": "real", **real})
            rows.append({"source": "simulated", **simulated})
    return pd.DataFrame(rows)


def calibration_figure(table: pd.DataFrame) -> Figure:
    """Draw the distributions over patients of ``measure_slabs``, real beside simulated."""
    figure, panels = canvas("Real slabs, and the same slabs simulated", (PAGE, 3.2), 2, 2)
    for axes, name in zip(panels.flat, table.columns[1:]):
        sns.boxplot(table, x=name, y="source", hue="source", palette=COLOURS, ax=axes)
        axes.set_ylabel("")
    return figure
