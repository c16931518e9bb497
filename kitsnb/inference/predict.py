"""Labels for new CT, in the geometry of its file: ``kitsnb predict IMAGING --run RUN --output OUTPUT``."""

from pathlib import Path

import numpy as np
from matplotlib import style
from scipy import ndimage

from kitsnb.data.cases import Case, case_name, is_nifti
from kitsnb.data.checks import check_hu
from kitsnb.data.nifti import CaseError, read_header, read_nifti, spacing_of, voxel_ml, write_nifti
from kitsnb.drawing import three_views
from kitsnb.files import replaced
from kitsnb.inference.sliding_window import predict_probabilities
from kitsnb.inference.trained import Trained, load_run
from kitsnb.messages import console
from kitsnb.preprocessing.prepare import to_grid, z_score
from kitsnb.preprocessing.resampling import reorient, to_native


def find(imaging: Path, output: Path) -> tuple[dict[Path, Path], list[str]]:
    """Return the file that gets the labels of each CT, and the names of what is no CT.

    ``imaging`` is a CT, a case, or a folder of both. FileNotFoundError for no CT, ValueError for two of one name.
    """
    imaging = imaging.absolute()
    if imaging.is_file() and output.name.endswith(".nii.gz"):
        return {imaging: output}, []
    if output.is_file() or is_nifti(output):
        raise ValueError(f"{output}: give a file that ends in .nii.gz for one CT, a folder for many, as --output")
    alone = imaging.is_file() or Case(imaging).imaging.is_file()
    found: dict[Path, Path] = {}
    others = []
    for path in [imaging] if alone else sorted(imaging.glob("[!.]*")):
        ct = Case(path).imaging if path.is_dir() else path
        if not is_nifti(ct) or not (ct.is_file() or path.match("case_*")):
            others.append(path.name)
            continue
        labels = output / f"{case_name(ct)}.nii.gz"
        if labels in found.values():
            raise ValueError(f"{imaging}: holds two CT of {case_name(ct)}; predict one of them by itself")
        found[ct] = labels
    if not found:
        raise FileNotFoundError(f"{imaging}: holds no CT (.nii.gz, .nii) and no case_XXXXX; give one that does")
    return found, others


def keep_largest(labels: np.ndarray, count: int) -> np.ndarray:
    """Return ``labels`` with the ``count`` largest pieces alone, in which kidney and tumour, and corners, touch."""
    pieces, _ = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0  # the background
    return labels * np.isin(pieces, np.argsort(sizes)[-count:])


def predict(trained: Trained, ct: Path, output: Path, keep_components: int | None = None, force: bool = False,
            picture: bool = True) -> str:
    """Write the labels (uint8, in the geometry that the CT's header has) of one CT, and beside them a picture.

    Returns what is to be said: the ml. Raises CaseError where the CT cannot be used, or where it, or without
    ``force`` anything, would be replaced.
    """
    name = case_name(ct)
    _, _, header = read_header(ct, name)
    drawn = output.with_name(output.name.removesuffix(".nii.gz") + ".png")
    if output.exists() and output.samefile(ct):
        raise CaseError(name, output.name, "is the CT itself", "give another --output")
    for file in (output, drawn):
        if file.exists() and not force:
            raise CaseError(name, file.name, f"{file} is there already", "replace it with --force, or move it away")
    imaging, affine = read_nifti(ct, name)
    check_hu(name, ct, imaging)
    settings = trained.record.settings
    volume, _ = to_grid(imaging, affine, settings.preprocessing)
    z_score(volume, settings.preprocessing, ct)
    patch_size = settings.training.patch_size
    probabilities = predict_probabilities(trained.network, volume, patch_size, settings.prediction.overlap)
    labels = to_native(probabilities, imaging.shape, affine)
    if keep_components:
        labels = keep_largest(labels, keep_components)
    write_nifti(output, labels, affine, like=header)
    if picture:
        upright, upright_affine = reorient(imaging, affine)
        drawn_labels, _ = reorient(labels, affine)
        simulated = trained.record.simulated and trained.folder.parents[1] / "data" in ct.resolve().parents
        with style.context("default"), replaced(drawn) as partial:  # whatever the reader's matplotlibrc says
            figure = three_views(upright, drawn_labels, spacing_of(upright_affine), name, simulated)
            figure.savefig(partial, dpi=150)
    _, kidney, tumour = np.bincount(labels.ravel(), minlength=3) * voxel_ml(affine)
    return f"kidney {kidney:.1f} ml, tumour {tumour:.1f} ml"


def main(imaging: Path, run: Path, output: Path, keep_components: int | None = None, force: bool = False,
         picture: bool = True) -> int:
    """Predict one CT or a folder of them; return the exit status: 1 where one was refused, and the others went on."""
    screen = console()
    found, others = find(imaging, output)
    trained = load_run(run)
    record = trained.record
    data = record.settings.data
    sources = list(data.more_training)
    if data.training:
        sources.insert(0, "simulated CT" if record.simulated else "real CT")
    screen.print(f"{record.title}: trained on {record.training_cases} cases of {' and '.join(sources)}")
    if data.slab:
        screen.print("It has seen no real slice without tumour: what it says of such is a guess.", style="bold yellow")
    screen.print("For research, not for patients.", style="bold yellow")
    if others:
        screen.print(f"skipped, as no CT: {', '.join(others)}", style="yellow")
    status = 0
    for ct, labels in found.items():
        try:
            said = predict(trained, ct, labels, keep_components, force, picture)
            screen.print(f"{case_name(ct)}: {said}")
        except CaseError as error:
            screen.print(f"refused: {error}", style="red")
            status = 1
    return status
