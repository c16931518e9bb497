"""The fingerprint of a data set: a row of measurements per case, and what the rows add up to."""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kitsnb.data.cases import Case, for_each_case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.geometry import orientation_of, spacing_of, voxel_ml
from kitsnb.files import read_json, replaced, write_atomic

CLASSES = ("background", "kidney", "tumour")
#: Centres of the bins of every HU histogram, 1 HU wide; what lies outside is counted in the outermost two.
HU = np.arange(-1024, 3072)
QUARTILES = {"min": 0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1}


@dataclass(frozen=True)
class Fingerprint:
    """Rows of ``measure_case``, voxels by class and HU [3, 4096] (None without imaging), and reasons by case."""

    table: pd.DataFrame
    hu: np.ndarray | None
    refused: dict[str, str]
    noted: dict[str, str]

    def save(self, folder: Path) -> None:
        """Write ``cases.csv``, and ``hu.npy`` where there is imaging; the rest is for ``summary.json``."""
        write_atomic(folder / "cases.csv", self.table.to_csv(index=False))
        if self.hu is not None:
            with replaced(folder / "hu.npy") as path:
                np.save(path, self.hu)


def read_fingerprint(folder: Path) -> tuple[Fingerprint, dict]:
    """Read fingerprint and summary that notebook 01 wrote to ``folder``. FileNotFoundError where they are not there."""
    if not (folder / "summary.json").is_file():
        raise FileNotFoundError(f"nothing is measured in {folder} yet: run make")
    summary = read_json(folder / "summary.json")
    table = pd.read_csv(folder / "cases.csv")
    hu = np.load(folder / "hu.npy") if (folder / "hu.npy").is_file() else None
    return Fingerprint(table, hu, summary["refused"], summary["noted"]), summary


def measure_case(case: Case, imaging: bool = True, accept: Accept | None = None) -> dict:
    """Measure one case, as a flat row.

    Sizes and spacings are along the patient's axes (head to foot, front to back, side to side); voxels, ml and slices
    those of each label alone; with ``imaging`` there are medians and the histogram ``hu`` [3, 4096]. ``noted`` joins
    the notes of ``read_case``, which raises CaseError for a case that cannot be used.
    """
    notes: list[str] = []
    volume, segmentation, affine = read_case(case, imaging, accept, notes)
    orientation = orientation_of(affine)
    axes = sorted(range(3), key=lambda axis: "ISAPLR?".index(orientation[axis]))
    row = {"case": case.name, "orientation": orientation, "noted": "; ".join(notes)}
    for name, axis in zip(("slice", "height", "width"), axes):
        row["slices" if name == "slice" else name] = segmentation.shape[axis]
        row[f"{name}_mm"] = float(spacing_of(affine)[axis])
    for label, name in enumerate(CLASSES):
        found = np.count_nonzero(segmentation == label, axis=tuple(axes[1:]))
        row[f"{name}_voxels"] = int(found.sum())
        row[f"{name}_ml"] = row[f"{name}_voxels"] * voxel_ml(affine)
        row[f"{name}_slices"] = int(np.count_nonzero(found))
    if imaging:
        row["hu"] = hu_histogram(volume, segmentation)
        row["kidney_hu"] = hu_quantile(row["hu"][1], 0.5)
        row["tumour_hu"] = hu_quantile(row["hu"][2], 0.5)
    return row


def measure_cases(
    cases: Iterable[Case], imaging: bool = True, workers: int | None = None, accept: Accept | None = None
) -> Fingerprint:
    """Measure each case, ``workers`` at a time; one that cannot be used is refused. ValueError where none is usable."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # who is refused, and why, is returned
        measured, refused = for_each_case(
            lambda case: measure_case(case, imaging, accept), cases, workers, "measuring cases")
    if not measured:
        raise ValueError("no usable case\n" + "\n".join(f"{name}: {reason}" for name, reason in refused.items()))
    table = pd.DataFrame(measured.values())
    hu = table.pop("hu").sum() if imaging else None
    notes = table.pop("noted")
    return Fingerprint(table, hu, refused, dict(zip(table.case[notes != ""], notes[notes != ""])))


def summarise(table: pd.DataFrame) -> dict:
    """Add up the rows of ``measure_case``: shares of all voxels together, and quantiles over cases, as plain numbers.

    Tumour volumes are those of the cases that have one; in-plane spacing takes height and width as two observations.
    """
    voxels = table[[f"{name}_voxels" for name in CLASSES]].sum().set_axis(CLASSES)
    tumours = table.tumour_ml[table.tumour_voxels > 0]
    return {
        "cases": len(table),
        "slices": {name: table.slices.agg(name).item() for name in ("mean", "median", "min", "max")},
        "slice_spacing_mm": table.slice_mm.agg(["min", "median", "max"]).to_dict(),
        "in_plane_spacing_mm": pd.concat([table.height_mm, table.width_mm]).agg(["min", "median", "max"]).to_dict(),
        "not_512": table.case[(table.height != 512) | (table.width != 512)].tolist(),
        "shares_percent": (100 * voxels / voxels.sum()).to_dict(),
        "kidney_ml": {key: float(table.kidney_ml.quantile(q)) for key, q in QUARTILES.items()},
        "tumour_ml": {key: float(tumours.quantile(q)) if len(tumours) else None for key, q in QUARTILES.items()},
        "orientations": table.orientation.value_counts().to_dict(),
        "without_tumour": int((table.tumour_voxels == 0).sum()),
    }


def summarise_hu(hu: np.ndarray) -> dict[str, float]:
    """Return 0.5 and 99.5 percentile, mean and SD of kidney and tumour together, in HU, from a histogram [3, 4096]."""
    counts = hu[1:].sum(axis=0)
    mean = float(np.average(HU, weights=counts))
    sd = float(np.sqrt(np.average((HU - mean) ** 2, weights=counts)))
    return {"low": hu_quantile(counts, 0.005), "high": hu_quantile(counts, 0.995), "mean": mean, "sd": sd}


def hu_histogram(imaging: np.ndarray, segmentation: np.ndarray) -> np.ndarray:
    """Count voxels of each class in each bin of ``HU`` [3, 4096]; slice by slice, as they lie in memory."""
    counts = np.zeros(3 * HU.size, np.int64)
    for values, labels in zip(imaging.T, segmentation.T, strict=True):
        bins = np.clip(np.rint(values), HU[0], HU[-1]).astype(np.int32) - HU[0]
        counts += np.bincount((bins + labels.astype(np.int32) * HU.size).ravel(), minlength=counts.size)
    return counts.reshape(3, HU.size)


def hu_quantile(counts: np.ndarray, q: float) -> float:
    """Return the smallest HU that a share ``q`` of the voxels does not exceed; NaN for an empty histogram."""
    cumulated = np.cumsum(counts)
    return float(HU[np.searchsorted(cumulated, q * cumulated[-1])]) if cumulated[-1] else math.nan
