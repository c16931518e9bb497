"""Labels for new CT, in the geometry of its file: ``kitsnb predict IMAGING --run RUN --output OUTPUT``."""

from pathlib import Path

import numpy as np
from scipy import ndimage
from torch import nn

from kitsnb.data.cases import Case, case_name, is_nifti
from kitsnb.data.checks import check_hu
from kitsnb.data.nifti import CaseError, read_header, read_nifti, voxel_ml, write_nifti
from kitsnb.inference.sliding_window import predict_probabilities
from kitsnb.inference.trained import Sections, load_run
from kitsnb.messages import console
from kitsnb.preprocessing.prepare import to_grid, z_score
from kitsnb.preprocessing.resampling import to_native


def find(imaging: Path, output: Path) -> dict[Path, Path]:
    """Return the file that gets the labels of each CT: ``output`` for one; for a folder of CT and cases, one in it.

    Raises FileNotFoundError for no CT, ValueError for two of one name, and for an ``output`` that does not fit.
    """
    alone = is_nifti(imaging)
    if alone != output.name.endswith(".nii.gz"):
        raise ValueError(f"{output}: give a file that ends in .nii.gz for one CT, a folder for many, as --output")
    imaging = imaging.absolute()
    if alone:
        return {imaging: output}
    found: dict[Path, Path] = {}
    for path in sorted(imaging.glob("[!.]*")):
        if not path.is_dir() and not is_nifti(path):
            continue
        ct = Case(path).imaging if path.is_dir() else path
        labels = output / f"{case_name(ct)}.nii.gz"
        if labels in found.values():
            raise ValueError(f"{imaging}: holds two CT of {case_name(ct)}; predict one of them by itself")
        found[ct] = labels
    if not found:
        raise FileNotFoundError(f"{imaging}: holds no CT (.nii.gz, .nii) and no case_XXXXX; give one that does")
    return found


def keep_largest(labels: np.ndarray, count: int) -> np.ndarray:
    """Return ``labels`` with the ``count`` largest pieces alone, in which kidney and tumour, and corners, touch."""
    pieces, _ = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0  # the background
    return labels * np.isin(pieces, np.argsort(sizes)[-count:])


def predict(network: nn.Module, settings: Sections, ct: Path, output: Path, keep_components: int | None = None,
            force: bool = False) -> str:
    """Write the labels of one CT (uint8, in the geometry that its header has).

    Returns what is to be said: the ml. Raises CaseError where the CT cannot be used, or where it, or without
    ``force`` anything, would be replaced.
    """
    name = case_name(ct)
    _, _, header = read_header(ct, name)
    if output.exists() and output.samefile(ct):
        raise CaseError(name, output.name, "is the CT itself", "give another --output")
    if output.exists() and not force:
        raise CaseError(name, output.name, f"{output} is there already", "replace it with --force, or move it away")
    imaging, affine = read_nifti(ct, name)
    check_hu(name, ct, imaging)
    volume, _ = to_grid(imaging, affine, settings.preprocessing)
    z_score(volume, settings.preprocessing, ct)
    patch_size = settings.training.patch_size
    probabilities = predict_probabilities(network, volume, patch_size, settings.prediction.overlap)
    labels = to_native(probabilities, imaging.shape, affine)
    if keep_components:
        labels = keep_largest(labels, keep_components)
    write_nifti(output, labels, affine, like=header)
    _, kidney, tumour = np.bincount(labels.ravel(), minlength=3) * voxel_ml(affine)
    return f"kidney {kidney:.1f} ml, tumour {tumour:.1f} ml"


def main(imaging: Path, run: Path, output: Path, keep_components: int | None = None, force: bool = False) -> int:
    """Predict one CT or a folder of them; return the exit status: 1 where one was refused, and the others went on."""
    screen = console()
    found = find(imaging, output)
    network, record = load_run(run)
    data = record.settings.data
    sources = list(data.more_training)
    if data.training:
        sources.insert(0, "simulated CT" if record.simulated else "real CT")
    screen.print(f"{record.title}: trained on {record.training_cases} cases of {' and '.join(sources)}")
    if data.slab:
        screen.print("It has seen no real slice without tumour: what it says of such is a guess.")
    screen.print("For research, not for patients.")
    status = 0
    for ct, labels in found.items():
        try:
            said = predict(network, record.settings, ct, labels, keep_components, force)
            screen.print(f"{case_name(ct)}: {said}")
        except CaseError as error:
            screen.print(f"refused: {error}")
            status = 1
    return status
