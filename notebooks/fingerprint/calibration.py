"""Real CT beside simulated, patient by patient: the same slab of the same label map, measured alike."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy import ndarray
from scipy.ndimage import distance_transform_edt, uniform_filter

from kitsnb.data.cases import Case
from kitsnb.data.checks import read_case
from kitsnb.data.geometry import spacing_of
from kitsnb.drawing import GREY, PAGE, PALETTE, canvas, centre_of, labelled_section, legend_of
from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation.cases import labels_on_grid
from kitsnb.simulation.painter import KIDNEY, TUMOUR, paint

COLOURS = {"real": GREY, "simulated": PALETTE[1]}
LABELS = {"kidney": KIDNEY, "tumour": TUMOUR}


def measure(hu: ndarray, labels: ndarray, spacing: ndarray) -> dict[str, float]:
    """Measure kidney, tumour and what is around them in HU; NaN where there are no such voxels.

    Texture is the median SD over 5 x 5 voxels of a slice. The border's step is the mean within 2 mm less that of 2 to
    4 mm outside. Fat is what has -150 to -30 HU.
    """
    row = {}
    for name, label in LABELS.items():
        values = pd.Series(hu[labels == label])
        row[f"{name}, mean (HU)"] = values.mean()
        row[f"{name}, SD (HU)"] = values.std(ddof=0)
    row["tumour less kidney (HU)"] = row["tumour, mean (HU)"] - row["kidney, mean (HU)"]
    organ = labels > 0
    depth = distance_transform_edt(organ, spacing)
    outside = distance_transform_edt(~organ, spacing)
    mean = uniform_filter(hu.astype(float), (1, 5, 5))
    variance = uniform_filter(hu.astype(float) ** 2, (1, 5, 5)) - mean**2
    inner = pd.Series(hu[organ & (depth <= 2)])
    outer = pd.Series(hu[(outside > 2) & (outside <= 4)])
    near = pd.Series(hu[(outside > 0) & (outside <= 10)])
    row["texture (HU)"] = np.sqrt(pd.Series(variance[depth > 5]).median())
    row["step at the border (HU)"] = inner.mean() - outer.mean()
    row["fat within 10 mm (%)"] = 100 * near.between(-150, -30).mean()
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


class Pair(NamedTuple):
    """A patient's real slab, and the same slab painted: HU and labels of both."""

    name: str
    affine: ndarray
    real: tuple[ndarray, ndarray]
    painted: tuple[ndarray, ndarray]


def read_pairs(slabs: Path, labels: Path, numbers: Iterable[int], seed: int = 0) -> Iterator[Pair]:
    """Read, and paint, the slab of each patient that both folders hold."""
    for number in numbers:
        slab = Case(slabs / f"case_{number:05d}")
        whole = Case(labels / slab.name)
        if slab.imaging.is_file() and whole.segmentation.is_file():
            imaging, own, affine = read_case(slab)
            yield Pair(slab.name, affine, (imaging, own), paint_slab(slab, whole, seed))


def measure_pairs(pairs: Iterable[Pair]) -> pd.DataFrame:
    """Measure the slab of each patient, real and painted: two rows per patient."""
    rows = []
    for pair in pairs:
        spacing = spacing_of(pair.affine)
        rows.append({"source": "real", **measure(*pair.real, spacing)})
        rows.append({"source": "simulated", **measure(*pair.painted, spacing)})
    return pd.DataFrame(rows)


def calibration_table(table: pd.DataFrame) -> pd.DataFrame:
    """Say median and quartiles over patients of each of ``measure_pairs``, and how kidney and tumour go together."""
    rows = []
    for name in table.columns[1:]:
        row = {"measure": name}
        for source, values in table.groupby("source")[name]:
            low, median, high = values.quantile([0.25, 0.5, 0.75])
            row[source] = f"{median:.0f} ({low:.0f} to {high:.0f})"
        rows.append(row)
    together = {"measure": "correlation of the two means"}
    for source, own in table.groupby("source"):
        correlation = own["kidney, mean (HU)"].corr(own["tumour, mean (HU)"])
        together[source] = f"{correlation:.2f}"
    return pd.DataFrame([*rows, together])


def calibration_figure(table: pd.DataFrame) -> Figure:
    """Draw the distributions over patients of ``measure_pairs``, real beside simulated."""
    figure, panels = canvas("Real slabs, and the same slabs simulated", (PAGE, 5.6), 4, 2)
    for axes, name in zip(panels.flat, table.dropna(axis=1, how="all").columns[1:]):
        sns.boxenplot(table, x=name, y="source", hue="source", palette=COLOURS, ax=axes)
        axes.set_ylabel("")
    return figure


def picture_pairs(pairs: Sequence[Pair]) -> Figure:
    """Draw the slice with most tumour of each patient's slab, real above painted, with the borders of its labels."""
    size = PAGE, 2 * PAGE / len(pairs) + 0.9
    figure, panels = canvas("Real slabs above the same slabs simulated", size, 2, len(pairs), squeeze=False)
    for pair, column in zip(pairs, panels.T):
        own, turned = reorient(pair.real[1], pair.affine)
        for axes, (hu, _) in zip(column, (pair.real, pair.painted)):
            upright, _ = reorient(hu, pair.affine)
            labelled_section(axes, upright, own, spacing_of(turned), centre_of(own)[0])
        column[0].set_title(pair.name.replace("_", " "), fontsize="small")
    legend_of(figure, LABELS)
    return figure
