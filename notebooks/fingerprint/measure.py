"""The fingerprint of a data set: a row of measurements per case, and what the rows add up to."""

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
import pandas as pd
from numpy import ndarray

from kitsnb.data.cases import Case, for_each_case
from kitsnb.data.checks import Accept, oddities, read_case
from kitsnb.data.geometry import spacing_of, voxel_ml
from kitsnb.preprocessing.resampling import reorient

CLASSES = ["background", "kidney", "tumour"]
VOXELS = [f"{name}_voxels" for name in CLASSES]
#: Centres of the bins of every HU histogram, 1 HU wide; what lies outside is counted in the outermost two.
HU = np.arange(-1024, 3072)


def measure_case(case: Case, imaging: bool, accept: Accept | None) -> dict:
    """Measure one case, as a flat row.

    Sizes and spacings are along the patient's axes, voxels and ml those of each label alone; with ``imaging`` there
    are medians and the histogram ``hu`` [3, 4096]. ``noted`` says what is odd. Raises CaseError as ``read_case``.
    """
    volume, segmentation, affine = read_case(case, imaging, accept)
    upright, upright_affine = reorient(segmentation, affine)
    row = {"case": case.name, "noted": "; ".join(oddities(segmentation))}
    row |= zip(("slices", "height", "width"), upright.shape)
    row |= zip(("slice_mm", "height_mm", "width_mm"), spacing_of(upright_affine).tolist())
    for label, name in enumerate(CLASSES):
        voxels = np.count_nonzero(segmentation == label)
        row[f"{name}_voxels"] = voxels
        row[f"{name}_ml"] = voxels * voxel_ml(affine)
    if imaging:
        row["hu"] = hu_histogram(volume, segmentation)
        row["kidney_hu"] = hu_quantile(row["hu"][1], 0.5)
        row["tumour_hu"] = hu_quantile(row["hu"][2], 0.5)
    return row


def measure_cases(
    cases: Iterable[Case],
    imaging: bool = True,
    workers: int | None = None,
    accept: Accept | None = None,
) -> tuple[pd.DataFrame, ndarray | None, dict]:
    """Measure each case, ``workers`` at a time; one that cannot be used is refused.

    Returns rows of ``measure_case``, the sum of their ``hu``, and a summary with the reasons of ``refused`` and
    ``noted`` cases. Raises ValueError where none is usable.
    """
    work = partial(measure_case, imaging=imaging, accept=accept)
    measured, refused = for_each_case(work, cases, workers, "measuring cases")
    if not measured:
        raise ValueError(f"no usable case: {refused}")
    table = pd.DataFrame(measured.values())
    notes = table.set_index("case").pop("noted")
    summary = summarise(table)
    summary["refused"] = refused
    summary["noted"] = notes[notes != ""].to_dict()
    hu = None
    if imaging:
        hu = table.pop("hu").sum()
        summary["foreground_hu"] = summarise_hu(hu)
    return table.drop(columns="noted"), hu, summary


def summarise(table: pd.DataFrame) -> dict:
    """Add up the rows of ``measure_case``: shares of all voxels together, and ranges over cases, as plain numbers.

    Tumour volumes are those of the cases that have one; in-plane spacing takes height and width as two observations.
    """
    voxels = table[VOXELS].sum().set_axis(CLASSES)
    odd = (table.height != 512) | (table.width != 512)
    return {
        "cases": len(table),
        "slices": {"mean": float(table.slices.mean()), **spread(table.slices)},
        "slice_spacing_mm": spread(table.slice_mm),
        "in_plane_spacing_mm": spread(pd.concat([table.height_mm, table.width_mm])),
        "not_512": table.case[odd].tolist(),
        "shares_percent": (100 * voxels / voxels.sum()).to_dict(),
        "kidney_ml": spread(table.kidney_ml),
        "tumour_ml": spread(table.tumour_ml[table.tumour_voxels > 0]),
        "without_tumour": int((table.tumour_voxels == 0).sum()),
    }


def spread(values: pd.Series) -> dict[str, float | None]:
    """Return smallest, median and largest of ``values``, None where there are none."""
    names = ["min", "median", "max"]
    if values.empty:
        return dict.fromkeys(names)
    return {name: values.agg(name).item() for name in names}


def summarise_hu(hu: ndarray) -> dict[str, float]:
    """Return 0.5 and 99.5 percentile, mean and SD of kidney and tumour together, in HU, from a histogram [3, 4096]."""
    counts = hu[1:].sum(axis=0)
    mean = np.average(HU, weights=counts)
    variance = np.average((HU - mean) ** 2, weights=counts)
    low = hu_quantile(counts, 0.005)
    high = hu_quantile(counts, 0.995)
    return {"low": low, "high": high, "mean": float(mean), "sd": math.sqrt(variance)}


def hu_histogram(imaging: ndarray, segmentation: ndarray) -> ndarray:
    """Count voxels of each class in each bin of ``HU`` [3, 4096]; slice by slice, as they lie in memory."""
    counts = np.zeros(3 * HU.size, np.int64)
    for values, labels in zip(imaging.T, segmentation.T, strict=True):
        bins = np.rint(values).clip(HU[0], HU[-1]).astype(int)
        bins += labels.astype(int) * HU.size - HU[0]
        counts += np.bincount(bins.ravel(), minlength=counts.size)
    return counts.reshape(3, HU.size)


def hu_quantile(counts: ndarray, q: float) -> float:
    """Return the smallest HU that a share ``q`` of the voxels does not exceed; NaN for an empty histogram."""
    total = np.cumsum(counts)
    if total[-1] == 0:
        return math.nan
    return float(HU[np.searchsorted(total, q * total[-1])])
