"""What is looked at: one CT with the labels that an expert and a network gave it."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kitsnb.data.cases import Case, case_name, discover
from kitsnb.data.checks import Accept, read_case, read_labels
from kitsnb.data.geometry import spacing_of
from kitsnb.data.nifti import read_nifti
from kitsnb.drawing import centre_of
from kitsnb.inference.score import find_labels
from kitsnb.preprocessing.resampling import reorient


class Given(NamedTuple):
    """Files of one CT, under the name of its case."""

    name: str
    imaging: Path
    segmentation: Path | None = None
    prediction: Path | None = None


@dataclass(frozen=True)
class Scan:
    """One CT oriented IPL [slice, height, width]: HU, spacing in mm, and labels by whose they are."""

    name: str
    imaging: np.ndarray
    spacing: np.ndarray
    layers: dict[str, np.ndarray]  # "label" and "prediction", where they are there

    @property
    def centre(self) -> tuple[int, int, int]:
        """Return the voxel to look at first, by the label, else by the prediction."""
        nothing = np.zeros(self.imaging.shape, np.uint8)
        return centre_of(next(iter(self.layers.values()), nothing))

    @property
    def facts(self) -> str:
        """Say size, spacing, and ml of kidney and tumour."""
        facts = ["{} x {} x {} voxels of {:.2f} x {:.2f} x {:.2f} mm".format(*self.imaging.shape, *self.spacing)]
        for name, labels in self.layers.items():
            voxels = np.bincount(labels.ravel("K"), minlength=3)
            _, kidney, tumour = voxels[:3] * self.spacing.prod() / 1000
            facts.append(f"{name}: kidney {kidney:.0f} ml, tumour {tumour:.1f} ml")
        return " · ".join(facts)


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
        grid = imaging.shape, affine
        layers["prediction"], _ = read_labels(given.prediction, given.name, predicted, grid)
    turned = {kind: reorient(array, affine)[0] for kind, array in layers.items()}
    imaging, affine = reorient(imaging, affine)
    return Scan(given.name, imaging, spacing_of(affine), turned)


def find_scans(source: Path, prediction: Path | None = None) -> dict[str, Given]:
    """Find the CTs of ``source``, a folder of cases, a case or a NIfTI file, by name, with their labels.

    ``prediction`` is a run's folder, a folder of labels, or a file. Raises FileNotFoundError where there is nothing,
    ValueError for one file of many CTs.
    """
    if source.is_file():
        found = [Given(case_name(source), source)]
    else:
        found = []
        for case in [Case(source)] if Case(source).imaging.is_file() else discover(source):
            own = case.segmentation
            found.append(Given(case.name, case.imaging, own if own.is_file() else None))
    predictions = {}
    if prediction and prediction.is_file():
        if len(found) > 1:
            raise ValueError(f"{prediction} belongs to one CT, and {source} holds {len(found)}; give one of them")
        predictions[found[0].name] = prediction
    elif prediction:
        inner = prediction / "predictions"
        predictions = find_labels(inner if inner.is_dir() else prediction)
    return {given.name: given._replace(prediction=predictions.get(given.name)) for given in found}
