"""Real CT beside simulated, patient by patient: the same slab of the same label map, measured alike.

Simulated slabs are painted around the whole label map on the real slab's own grid, and cut out. The numbers of the
simulation were set on the training patients; the others judge them.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, uniform_filter

from kitsnb.data.cases import Case
from kitsnb.data.checks import read_case
from kitsnb.data.geometry import spacing_of
from kitsnb.drawing import GREY, PAGE, PALETTE, canvas
from kitsnb.simulation.cases import labels_on_grid
from kitsnb.simulation.painter import KIDNEY, TUMOUR, paint

#: What ``measure`` returns, in words.
MEASURES = {
    "kidney": "kidney, mean (HU)",
    "tumour": "tumour, mean (HU)",
    "difference": "tumour less kidney (HU)",
    "kidney_sd": "kidney, SD (HU)",
    "tumour_sd": "tumour, SD (HU)",
    "kidney_texture": "kidney, local SD (HU)",
    "tumour_texture": "tumour, local SD (HU)",
    "rim": "gradient at the surface (HU/mm)",
    "contact": "gradient, kidney to tumour (HU/mm)",
    "fat": "share of fat around",
    "noise": "SD in flat tissue (HU)",
}
IN_PLANE = np.ones((1, 3, 3), bool)


def measure(hu: np.ndarray, labels: np.ndarray, spacing: np.ndarray) -> dict[str, float]:
    """Measure a slab [slice, row, column]: what ``MEASURES`` says; NaN where there are no such voxels.

    Local SD is that of 3 x 3 voxels in a slice. Borders are one voxel wide; around is 2 to 15 mm from the surface, and
    fat -150 to -30 HU. Flat tissue is the quietest tenth of what has 20 to 120 HU on average, farther away.
    """
    hu = hu.astype(np.float32)
    foreground = labels > 0
    mean = uniform_filter(hu, (1, 3, 3))
    local = np.sqrt(np.maximum(uniform_filter(hu * hu, (1, 3, 3)) - mean**2, 0))
    steep = np.hypot(*np.gradient(hu, *spacing[1:], axis=(1, 2)))
    away = distance_transform_edt(~foreground, spacing)
    around = hu[(away > 2) & (away < 15)]
    flat = local[(away > 15) & (mean > 20) & (mean < 120)]
    row = {}
    for label, name in ((KIDNEY, "kidney"), (TUMOUR, "tumour")):
        inside = labels == label
        row[name] = _of(np.mean, hu[inside])
        row[f"{name}_sd"] = _of(np.std, hu[inside])
        row[f"{name}_texture"] = _of(np.median, local[binary_erosion(inside, IN_PLANE, iterations=2)])
    rim = foreground & ~binary_erosion(foreground, IN_PLANE, border_value=1)
    contact = (labels == KIDNEY) & binary_dilation(labels == TUMOUR, IN_PLANE)
    row["difference"] = row["tumour"] - row["kidney"]
    row["rim"] = _of(np.median, steep[rim])
    row["contact"] = _of(np.median, steep[contact])
    row["fat"] = _of(np.mean, (around > -150) & (around < -30))
    row["noise"] = _of(lambda values: np.quantile(values, 0.1), flat)
    return row


def _of(reduce, values: np.ndarray) -> float:
    return float(reduce(values)) if values.size else np.nan


def paint_slab(slab: Case, whole: Case, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return HU and labels of the part of a simulated CT around the label map ``whole`` that ``slab`` shows.

    The slab's voxels are whole blocks of the label's, so the map is cut where such blocks begin, and painted on them.
    """
    imaging, _, slab_affine = read_case(slab)
    _, labels, affine = read_case(whole, imaging=False)
    steps = np.linalg.inv(affine) @ slab_affine
    block = np.rint(np.diag(steps)[:3]).astype(int)
    first = np.rint(steps[:3, 3] - (block - 1) / 2).astype(int)
    start = first % block
    count = (labels.shape - start) // block
    labels = labels[tuple(slice(a, a + n * step) for a, n, step in zip(start, count, block))]
    labels, affine = labels_on_grid(labels, affine, spacing_of(slab_affine))
    hu = paint(labels, affine, seed, whole.number)
    shown = tuple(slice(a, a + n) for a, n in zip((first - start) // block, imaging.shape))
    return hu[shown], labels[shown]


def measure_slabs(slabs: Path, labels: Path, numbers: Iterable[int], seed: int = 0) -> pd.DataFrame:
    """Measure the slab of each patient, real and painted: two rows per patient that both folders hold."""
    rows = []
    for number in numbers:
        slab = Case(slabs / f"case_{number:05d}")
        whole = Case(labels / slab.name)
        if slab.imaging.is_file() and whole.segmentation.is_file():
            imaging, segmentation, affine = read_case(slab)
            spacing = spacing_of(affine)
            rows.append({"case": slab.name, "source": "real", **measure(imaging, segmentation, spacing)})
            rows.append({"case": slab.name, "source": "simulated", **measure(*paint_slab(slab, whole, seed), spacing)})
    return pd.DataFrame(rows)


def calibration_figure(table: pd.DataFrame) -> Figure:
    """Draw the distributions over patients of ``measure_slabs``, real beside simulated; tumour against kidney last."""
    figure, panels = canvas("Real slabs, and the same slabs simulated", (PAGE, 5.5), 3, 4)
    *boxes, last = panels.ravel()
    colours = {"real": GREY, "simulated": PALETTE[1]}
    for axes, (name, title) in zip(boxes, MEASURES.items(), strict=True):
        sns.boxplot(table, x=name, y="source", hue="source", palette=colours, fliersize=1.5, linewidth=0.8, ax=axes)
        axes.set(xlabel=title, ylabel="")
    sns.scatterplot(table, x="kidney", y="tumour", hue="source", palette=colours, s=9, linewidth=0, ax=last)
    last.set(xlabel=MEASURES["kidney"], ylabel=MEASURES["tumour"])
    last.legend(title=None)
    return figure


def calibration_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return quantiles over patients of each measure, real and simulated, and r of kidney and tumour."""
    quantiles = table.groupby("source")[list(MEASURES)].quantile([0.05, 0.25, 0.5, 0.75, 0.95])
    result = quantiles.stack().unstack([0, 1]).rename(index=MEASURES)
    for source, rows in table.groupby("source"):
        result.loc["r of kidney and tumour", (source, 0.5)] = rows.kidney.corr(rows.tumour)
    return result
