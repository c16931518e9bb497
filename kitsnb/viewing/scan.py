"""What is looked at: one CT with the labels that an expert and a network gave it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np

from kitsnb.data.cases import Case, Files, discover, stem
from kitsnb.data.checks import Accept, fit_labels, read_case, read_labels
from kitsnb.data.nifti import Finding, read_nifti, spacing_of, voxel_ml
from kitsnb.drawing import COLOURS, ERRORS
from kitsnb.inference.score import find_labels
from kitsnb.metric.score import equivalent_diameter
from kitsnb.preprocessing.resampling import reorient

#: Windows in HU, by the name that a reader chooses them by. The clip window is the seed paper's.
WINDOWS = {"soft tissue": (-160, 240), "clip window": (-79, 304), "bone": (-450, 1050)}
#: Voxels that go to a browser: more take seconds to travel and to draw where there is no graphics card.
MOST = 4e6
#: Values of the layers, and their colours: labels, and what is wrong with a prediction.
LEGENDS = {
    "label": {1: ("kidney", COLOURS["kidney"]), 2: ("tumour", COLOURS["tumour"])},
    "prediction": {1: ("kidney", COLOURS["kidney"]), 2: ("tumour", COLOURS["tumour"])},
    "errors": {number: (name, colour) for number, (name, colour) in enumerate(ERRORS.items(), 1)},
}


@dataclass(frozen=True)
class Scan:
    """One CT in IPL orientation (slice, height, width): ``imaging`` in HU, ``affine``, and the labels that there are.

    ``notes`` are what the checks found odd.
    """

    name: str
    imaging: np.ndarray
    affine: np.ndarray
    label: np.ndarray | None = None
    prediction: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def spacing(self) -> np.ndarray:
        """mm (slice, height, width)."""
        return spacing_of(self.affine)

    @cached_property
    def layers(self) -> dict[str, np.ndarray]:
        """What can lie over the CT, uint8: label, prediction, and where the two differ (see ``errors``)."""
        found = {name: array for name in ("label", "prediction") if (array := getattr(self, name)) is not None}
        return found | ({"errors": errors(self.label, self.prediction)} if len(found) == 2 else {})

    @cached_property
    def facts(self) -> dict[str, str]:
        """What a reader wants to know first, with units."""
        size = " x ".join(str(n) for n in self.imaging.shape)
        facts = {"size": f"{size} voxels", "spacing": " x ".join(f"{mm:.2f}" for mm in self.spacing) + " mm"}
        for name in ("label", "prediction"):
            if name in self.layers:
                ml = [np.count_nonzero(self.layers[name] == number) * voxel_ml(self.affine) for number in (1, 2)]
                facts[name] = f"kidney {ml[0]:.0f} ml, tumour {ml[1]:.1f} ml"
                facts[name] += f" (a ball of {equivalent_diameter(ml[1]):.0f} mm)" if ml[1] else ""
        return facts | ({"odd": "; ".join(self.notes)} if self.notes else {})

    @cached_property
    def centre(self) -> tuple[int, int, int]:
        """The voxel to look at first: in the middle of the largest section of tumour, else of kidney, else of all."""
        marked = next((array for array in self.layers.values() if array.any()), None)
        if marked is None:
            return tuple(n // 2 for n in self.imaging.shape)
        wanted = marked == (2 if (marked == 2).any() else 1)
        at = int(wanted.sum((1, 2)).argmax())
        return at, *(int(np.median(found)) for found in np.nonzero(wanted[at]))

    def fraction(self, at: Sequence[int]) -> list[float]:
        """Where voxel ``at`` lies between the edges, 0 to 1 towards right, front and head, as niivue wants it."""
        return [1 - (index + 0.5) / n for index, n in zip(at, self.imaging.shape)][::-1]


def errors(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """1 where foreground was missed, 2 where it was invented, 3 where kidney and tumour were taken for each other."""
    kind = np.uint8(1) + (label == 0) + np.uint8(2) * ((label > 0) & (prediction > 0))
    return (label != prediction) * kind


def read_scan(
    case: Case | str | Path,
    label: str | Path | None = None,
    prediction: str | Path | None = None,
    accept: Accept | None = None,
) -> Scan:
    """Read a case of a folder, or one NIfTI with the labels that are given.

    Raises CaseError, naming the file, where one cannot be read or does not fit the CT.
    """
    notes: list[Finding] = []
    name = case.name if isinstance(case, Case) else stem(Path(case))
    path = case.imaging if isinstance(case, Case) else Path(case)
    if isinstance(case, Case) and label is None and case.segmentation.is_file():
        label = case.segmentation
    if label is None:
        (imaging, affine), layers = read_nifti(path, name, notes), {}
    else:
        imaging, drawn, affine = read_case(Files(name, path, Path(label)), accept=accept, notes=notes)
        layers = {"label": drawn}
    if prediction is not None:
        found = read_labels(Path(prediction), name, accept, notes)
        layers["prediction"] = fit_labels(name, Path(prediction), found, (imaging.shape, affine), notes=notes)
    turned = {kind: reorient(array, affine)[0] for kind, array in layers.items()}
    imaging, affine = reorient(imaging, affine)
    return Scan(name, imaging, affine, **turned, notes=[note.message for note in notes])


def find_scans(
    source: Case | str | Path | list[Case], predictions: str | Path | None = None
) -> dict[str, tuple[Case | Path, Path | None]]:
    """What can be looked at in ``source``, by name, each with its file among ``predictions``, if there is one.

    ``source`` is a case, a list of them, a folder of ``case_XXXXX``, one such folder, or a NIfTI file; ``predictions``
    a run's folder, a folder of labels as ``find_labels`` knows them, or the one file of the one CT. Raises
    FileNotFoundError where there is nothing of the kind, ValueError for one file of many CTs.
    """
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser().resolve()
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder; give a CT as .nii.gz, or a folder of cases")
        alone = path if path.is_file() else Case(path)
        single = path.is_file() or alone.imaging.is_file()
        found = {path.name: alone} if single else {case.name: case for case in discover(path)}
    else:
        found = {case.name: case for case in ([source] if isinstance(source, Case) else source)}
    folder = Path(predictions).expanduser() if predictions else None
    if folder is None or folder.is_file():
        if folder and len(found) > 1:
            raise ValueError(f"{folder} is the prediction of one CT, and {source} holds {len(found)}; give one of them")
        return {name: (one, folder) for name, one in found.items()}
    labels = find_labels(folder / "predictions" if (folder / "predictions").is_dir() else folder)
    return {name: (one, labels.get(name)) for name, one in found.items()}


def as_nifti(array: np.ndarray, affine: np.ndarray) -> bytes:
    """``array`` as the bytes of an uncompressed NIfTI file; HU as int16."""
    if array.dtype not in (np.uint8, np.int16):
        array = np.clip(np.rint(array), -32768, 32767).astype(np.int16)
    return nib.Nifti1Image(array, affine).to_bytes()


def thinned(scan: Scan, kind: str, most: float = MOST) -> tuple[np.ndarray, np.ndarray]:
    """``imaging`` or a layer with every n-th voxel only, so that at most ``most`` are left; and the affine of that.

    It is along its finest axis that a scan is thinned first, so that voxels become cubes.
    """
    steps = np.ones(3, int)
    while np.prod(-(-np.array(scan.imaging.shape) // steps)) > most:
        steps[np.argmin(scan.spacing * steps)] += 1
    array = scan.imaging if kind == "imaging" else scan.layers[kind]
    return array[tuple(slice(None, None, step) for step in steps)], scan.affine @ np.diag([*steps, 1])


def in_short(scan: Scan, most: float = MOST) -> str:
    """The facts in a line, with the size of what is drawn where that is less than there is."""
    drawn = thinned(scan, "imaging", most)[0].shape
    left = {"drawn": f"{' x '.join(map(str, drawn))} of them"} if drawn != scan.imaging.shape else {}
    return " · ".join(f"{name}: {fact}" for name, fact in (scan.facts | left).items())
