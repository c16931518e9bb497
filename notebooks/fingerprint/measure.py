"""The fingerprint of a data set: one row of measurements a case, and what the rows add up to.

Each file is read once and let go before the next, so that memory does not grow with the number of cases.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kitsnb.data.cases import Case, for_each_case
from kitsnb.data.checks import Accept, Finding, read_case
from kitsnb.data.nifti import orientation_of, read_header, spacing_of, voxel_ml
from kitsnb.files import read_json, replaced, write_atomic
from kitsnb.metric.score import equivalent_diameter

CLASSES = ("background", "kidney", "tumour")
#: Centres of the bins of every HU histogram, 1 HU wide; what lies outside is counted in the outermost two.
HU = np.arange(-1024, 3072)
#: Voxels looked at in one go: temporary arrays stay near 50 MB, however large the case.
BLOCK = 2_000_000
_QUARTILES = {"min": 0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1}


@dataclass(frozen=True)
class Fingerprint:
    """What ``measure_cases`` found.

    ``table``: one row a usable case (see ``measure_case``). ``hu``: voxels by class and HU, shape (3, 4096), summed
    over the cases; None without imaging. ``refused``: the reason for each unusable case, by its name; ``noted``: what
    is odd about usable ones.
    """

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
    """Fingerprint and summary that notebook 01 wrote to ``folder``. FileNotFoundError where they are not there."""
    if not (folder / "summary.json").is_file():
        raise FileNotFoundError(f"nothing is measured in {folder} yet: run make")
    summary, hu = read_json(folder / "summary.json"), folder / "hu.npy"
    table = pd.read_csv(folder / "cases.csv")
    return Fingerprint(table, np.load(hu) if hu.is_file() else None, summary["refused"], summary["noted"]), summary


def measure_case(case: Case, imaging: bool = True, accept: Accept | None = None) -> dict:
    """Measurements of one case, as a flat row.

    ``slices``, ``height``, ``width`` (voxels) and ``slice_mm``, ``height_mm``, ``width_mm`` (spacing) follow the
    patient's axes (head to foot, front to back, side to side), wherever the file keeps them; ``orientation`` says
    where that is. ``<class>_voxels`` and ``<class>_ml`` count one label alone (kidney is label 1, not label > 0);
    ``kidney_slices`` and ``tumour_slices`` are the slices on which the label appears; ``tumour_mm`` is the equivalent
    diameter (0 without tumour). With ``imaging`` also the medians ``kidney_hu`` and ``tumour_hu`` (NaN without such
    voxels) and ``hu``, the case's histogram of shape (3, 4096). ``noted`` joins the notes of ``read_case``, which
    raises CaseError for a case that cannot be used.
    """
    notes: list[Finding] = []
    volume, segmentation, affine = read_case(case, imaging, accept, notes)
    orientation, spacing = orientation_of(affine), spacing_of(affine)
    axes = sorted(range(3), key=lambda axis: "ISAPLR?".index(orientation[axis]))
    by_slice = {label: np.count_nonzero(segmentation == label, axis=tuple(axes[1:])) for label in (1, 2)}
    kidney, tumour = (int(counts.sum()) for counts in by_slice.values())
    voxels = dict(zip(CLASSES, (segmentation.size - kidney - tumour, kidney, tumour), strict=True))
    row = {
        "case": case.name,
        "orientation": orientation,
        "dtype": str(read_header(case.segmentation).dtype),
        **dict(zip(("slices", "height", "width"), (segmentation.shape[axis] for axis in axes), strict=True)),
        **dict(zip(("slice_mm", "height_mm", "width_mm"), (float(spacing[axis]) for axis in axes), strict=True)),
        **{f"{name}_voxels": count for name, count in voxels.items()},
        **{f"{name}_ml": count * voxel_ml(affine) for name, count in voxels.items()},
        **{f"{CLASSES[label]}_slices": int(np.count_nonzero(counts)) for label, counts in by_slice.items()},
        "tumour_mm": equivalent_diameter(tumour * voxel_ml(affine)),
        "noted": "; ".join(found.message for found in notes),
    }
    if imaging:
        hu = hu_histogram(volume, segmentation)
        row |= {"kidney_hu": hu_quantile(hu[1], 0.5), "tumour_hu": hu_quantile(hu[2], 0.5), "hu": hu}
    return row


def measure_cases(
    cases: Iterable[Case], imaging: bool = True, workers: int | None = None, accept: Accept | None = None
) -> Fingerprint:
    """``measure_case`` of each case, ``workers`` at a time: unpacking and counting release the interpreter's lock.

    A case that cannot be used is refused with its reason and does not stop the others. ValueError where none is usable.
    """
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # who is refused, and why, is returned
        measured, refused = for_each_case(lambda case: measure_case(case, imaging, accept), cases, workers, "measuring cases")
    if not measured:
        raise ValueError("no usable case\n" + "\n".join(f"{name}: {reason}" for name, reason in refused.items()))
    rows = list(measured.values())
    hu = np.sum([row.pop("hu") for row in rows], axis=0) if imaging else None
    noted = {row["case"]: text for row in rows if (text := row.pop("noted"))}
    return Fingerprint(pd.DataFrame(rows), hu, refused, noted)


def summarise(table: pd.DataFrame) -> dict:
    """What the rows of ``measure_case`` add up to, as plain numbers for ``summary.json``.

    Shares are of all voxels of all cases together. Tumour volumes are those of the cases that have a tumour (None where
    none has one); in-plane spacing takes height and width as two observations.
    """
    voxels = table[[f"{name}_voxels" for name in CLASSES]].sum().set_axis(CLASSES)
    shapes = table.height.astype(str) + "x" + table.width.astype(str)
    volumes = {"tumour_ml": table.tumour_ml[table.tumour_voxels > 0], "kidney_ml": table.kidney_ml}
    return {
        "cases": len(table),
        "slices": {name: table.slices.agg(name).item() for name in ("mean", "median", "min", "max")},
        "slice_spacing_mm": _range(table.slice_mm),
        "in_plane_spacing_mm": _range(pd.concat([table.height_mm, table.width_mm])),
        "in_plane_shapes": shapes.value_counts().to_dict(),
        "not_512": table.case[shapes != "512x512"].tolist(),
        "shares_percent": (100 * voxels / voxels.sum()).to_dict(),
        **{name: {key: float(ml.quantile(q)) if len(ml) else None for key, q in _QUARTILES.items()}
           for name, ml in volumes.items()},
        "orientations": table.orientation.value_counts().to_dict(),
        "without_tumour": int((table.tumour_voxels == 0).sum()),
    }


def _range(values: pd.Series) -> dict[str, float]:
    return values.agg(["min", "median", "max"]).to_dict()


def summarise_hu(hu: np.ndarray) -> dict[str, float]:
    """Statistics of the foreground (kidney and tumour) in HU, from the histogram of shape (3, 4096).

    ``low`` and ``high`` are the 0.5 and 99.5 percentile, between which nnU-Net, and after it the seed paper, clips.
    """
    counts = hu[1:].sum(axis=0)
    mean = float(np.average(HU, weights=counts))
    sd = float(np.sqrt(np.average((HU - mean) ** 2, weights=counts)))
    return {"low": hu_quantile(counts, 0.005), "high": hu_quantile(counts, 0.995), "mean": mean, "sd": sd}


def hu_histogram(imaging: np.ndarray, segmentation: np.ndarray) -> np.ndarray:
    """Voxels of each class in each bin of ``HU``, shape (3, 4096), int64; both arrays have one shape, any dtype."""
    counts = np.zeros(3 * HU.size, np.int64)
    flat = [array.reshape(-1, order="F") for array in (imaging, segmentation)]  # no copy of NIfTI's memory order
    for start in range(0, imaging.size, BLOCK):
        values, labels = (array[start : start + BLOCK] for array in flat)
        bins = np.clip(np.rint(values), HU[0], HU[-1]).astype(np.int32) - HU[0]
        counts += np.bincount(bins + labels.astype(np.int32) * HU.size, minlength=counts.size)
    return counts.reshape(3, HU.size)


def hu_quantile(counts: np.ndarray, q: float) -> float:
    """Smallest HU that a share ``q`` of the voxels in this histogram (4096 counts) does not exceed; NaN if empty."""
    cumulated = np.cumsum(counts)
    return float(HU[np.searchsorted(cumulated, q * cumulated[-1])]) if cumulated[-1] else math.nan
