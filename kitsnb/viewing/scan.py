"""What is looked at: one CT with the labels that an expert and a network gave it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kitsnb.data.cases import Case, discover
from kitsnb.data.checks import TOLERANCE, Accept, read_case
from kitsnb.data.nifti import CaseError, corner_distance, read_nifti, spacing_of
from kitsnb.drawing import centre_of
from kitsnb.inference.score import find_labels
from kitsnb.preprocessing.resampling import reorient


class Given(NamedTuple):
    """Files of one CT, by a name to call it; labels where there are any."""

    name: str
    imaging: Path
    segmentation: Path | None
    prediction: Path | None = None


@dataclass(frozen=True)
class Scan:
    """One CT oriented IPL [slice, height, width]: ``imaging`` in HU, ``spacing`` in mm, and the labels there are."""

    name: str
    imaging: np.ndarray
    spacing: np.ndarray
    label: np.ndarray | None = None
    prediction: np.ndarray | None = None

    @cached_property
    def layers(self) -> dict[str, np.ndarray]:
        """Return what can lie over the CT, uint8: label, prediction, and where the two differ (``find_errors``)."""
        both = {"label": self.label, "prediction": self.prediction}
        found = {name: array for name, array in both.items() if array is not None}
        if len(found) == 2:
            found["errors"] = find_errors(self.label, self.prediction)
        return found

    @property
    def centre(self) -> tuple[int, int, int]:
        """Return the voxel to look at first (``drawing.centre_of``)."""
        marked = [array for array in self.layers.values() if array.any()]
        return centre_of(marked[0] if marked else np.zeros(self.imaging.shape, np.uint8))

    @property
    def facts(self) -> str:
        """Say size, spacing, and ml of kidney and tumour."""
        size = " x ".join(str(n) for n in self.imaging.shape)
        facts = [f"{size} voxels of {' x '.join(f'{mm:.2f}' for mm in self.spacing)} mm"]
        for name in ("label", "prediction"):
            if name in self.layers:
                voxels = np.bincount(self.layers[name].ravel(), minlength=3)
                kidney, tumour = voxels[1:3] * self.spacing.prod() / 1000
                facts.append(f"{name}: kidney {kidney:.0f} ml, tumour {tumour:.1f} ml")
        return " · ".join(facts)


def find_errors(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Mark with 1 what was missed, 2 what was invented, 3 where kidney and tumour were taken for each other."""
    errors = np.zeros(label.shape, np.uint8)
    errors[(label > 0) & (prediction == 0)] = 1
    errors[(label == 0) & (prediction > 0)] = 2
    errors[(label > 0) & (prediction > 0) & (label != prediction)] = 3
    return errors


def read_scan(given: Given, accept: Accept | None = None, predicted: Accept | None = None) -> Scan:
    """Read a CT and its labels; ``accept`` is for the label, ``predicted`` for the prediction.

    Raises CaseError, naming the file, where one cannot be read or does not fit the CT.
    """
    layers = {}
    if given.segmentation:
        imaging, layers["label"], affine = read_case(given, accept=accept)
    else:
        imaging, affine = read_nifti(given.imaging, given.name)
    if given.prediction:
        pair = given._replace(segmentation=given.prediction)
        _, layers["prediction"], own = read_case(pair, imaging=False, accept=predicted)
        shape = layers["prediction"].shape
        if shape != imaging.shape or not corner_distance(own, affine, shape) <= TOLERANCE:
            reason = f"has another geometry than the CT (shape {shape}, CT {imaging.shape})"
            raise CaseError(given.name, given.prediction.name, reason, "give the labels of this CT")
    turned = {kind: np.ascontiguousarray(reorient(array, affine)[0]) for kind, array in layers.items()}
    imaging, affine = reorient(imaging, affine)
    return Scan(given.name, np.ascontiguousarray(imaging), spacing_of(affine), **turned)


def find_scans(
    source: Path, label: Path | None = None, prediction: Path | None = None
) -> dict[str, Given]:
    """Find what can be looked at in ``source``, by name, each with its labels.

    ``source`` is a folder of cases, one case, or a NIfTI file; ``prediction`` a run's folder, a folder of labels, or
    the one file of the one CT; ``label`` a file. Raises FileNotFoundError where there is nothing, ValueError for one
    file of many CTs.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder; give a CT as .nii.gz, or a folder of cases")
    if source.is_file():
        found = {_name_of(source): Given(_name_of(source), source, None)}
    else:
        cases = [Case(source)] if Case(source).imaging.is_file() else discover(source)
        found = {case.name: Given(case.name, case.imaging, _if_there(case.segmentation)) for case in cases}
    for file in (label, prediction):
        if file and file.is_file() and len(found) > 1:
            raise ValueError(f"{file} belongs to one CT, and {source} holds {len(found)}; give one of them")
    if label:
        found = {name: given._replace(segmentation=label) for name, given in found.items()}
    return with_predictions(found, prediction) if prediction else found


def with_predictions(found: Mapping[str, Given], prediction: Path) -> dict[str, Given]:
    """Add its prediction to each of ``found`` that has one among ``prediction`` (a file, a folder, or a run's)."""
    if prediction.is_file():
        return {name: given._replace(prediction=prediction) for name, given in found.items()}
    inner = prediction / "predictions"
    labels = find_labels(inner if inner.is_dir() else prediction)
    return {name: given._replace(prediction=labels.get(name)) for name, given in found.items()}


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _name_of(path: Path) -> str:
    """Name a CT by its file; by its folder where the file is called as in all KiTS19 cases."""
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return path.resolve().parent.name if name == "imaging" else name
