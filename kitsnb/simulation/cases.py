"""Cases of simulated CT in KiTS19's folder format: phantoms, or hybrids around real label maps."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from numpy import ndarray

from kitsnb.data.cases import Case, discover, for_each_case
from kitsnb.data import checks, geometry, nifti
from kitsnb.data.checks import Accept, read_labels
from kitsnb.data.geometry import spacing_of
from kitsnb.data.nifti import CaseError, write_nifti
from kitsnb.preprocessing import resampling
from kitsnb.preprocessing.resampling import grid_size, reorient, resize_labels, resized_affine
from kitsnb.receipts import RECEIPT, code_of, read_receipt, states_of, write_receipt
from kitsnb.simulation import body, numbers, painter, phantom, scene
from kitsnb.simulation.phantom import Simulated, simulate_case

#: What the modules compute that decide what a simulated case is, as they were imported.
CODE = code_of(sys.modules[__name__], body, numbers, painter, phantom, scene, checks, geometry, nifti, resampling)


def write_phantoms(folder: str | Path, cases: int, seed: int) -> list[Case]:
    """Write ``cases`` phantoms of ``seed`` to ``folder``; a larger set contains a smaller one."""
    folder = Path(folder)
    wanted = [Case(folder / f"case_{number:05d}") for number in range(cases)]
    written, _ = write_cases(folder, wanted, {"seed": seed}, lambda case: simulate_case(seed, case.number))
    return written


def write_hybrid(
    source: str | Path, target: str | Path, spacing: Sequence[float], seed: int,
    accept: Accept = Accept(), workers: int | None = None,
) -> tuple[list[Case], dict[str, str]]:
    """Write to ``target`` simulated CT of about ``spacing`` mm around every label map below ``source``.

    Returns the cases, and by name why others were refused. ``workers``: threads (None: as ``for_each_case``).
    """
    target = Path(target)
    if target.resolve() == Path(source).resolve():
        raise ValueError(f"{target}: would overwrite the real labels; give another folder")

    def simulate(case: Case) -> Simulated:
        labels, affine = read_labels(case.segmentation, case.name, accept)
        try:
            labels, affine = labels_on_grid(labels, affine, spacing)
            imaging = painter.paint(labels, affine, seed, case.number)
        except ValueError as error:
            raise CaseError(case.name, case.segmentation.name, str(error), "leave the case out") from error
        return Simulated(imaging, labels, affine)

    settings = {"spacing": spacing, "seed": seed, "accept": asdict(accept)}
    return write_cases(target, discover(source), settings, simulate, workers)


def write_cases(
    target: Path, sources: list[Case], settings: dict, simulate: Callable[[Case], Simulated],
    workers: int | None = None,
) -> tuple[list[Case], dict[str, str]]:
    """Write what ``simulate`` makes of each of ``sources`` below ``target``, under the same name.

    A case that is up to date is kept; what was written here before and is wanted no more is removed.
    """
    made_from = {**settings, "code": CODE}

    def write(source: Case) -> None:
        case = Case(target / source.name)
        inputs = {} if source == case else {"segmentation": source.segmentation}
        if read_receipt(case.folder, made_from, inputs) is not None:
            return
        read = states_of(inputs)
        simulated = simulate(source)
        shutil.rmtree(case.folder, ignore_errors=True)
        case.folder.mkdir(parents=True)
        write_receipt(case.folder, {})  # a killed run's case is known as written here, too
        write_nifti(case.imaging, simulated.imaging, simulated.affine)
        write_nifti(case.segmentation, simulated.segmentation, simulated.affine)
        write_receipt(case.folder, made_from, read)

    done, refused = for_each_case(write, sources, workers, "simulating CT")
    for receipt in target.glob(f"case_*/{RECEIPT}"):
        if receipt.parent.name not in done:
            shutil.rmtree(receipt.parent)
    return [Case(target / name) for name in done], refused


def labels_on_grid(labels: ndarray, affine: ndarray, spacing: Sequence[float]) -> tuple[ndarray, ndarray]:
    """Return ``labels`` at about ``spacing`` mm (uint8, axes IPL; the nearest voxel's), and their affine."""
    labels, affine = reorient(labels, affine)
    size = grid_size(labels.shape, spacing_of(affine), spacing)
    return resize_labels(labels, size).numpy(), resized_affine(affine, labels.shape, size)
