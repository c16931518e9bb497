"""Preprocessed volumes as plain .npy files, three bytes per voxel: written once, mapped by whoever reads them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kitsnb.data.cases import Case
from kitsnb.data.nifti import CaseError

#: Dtype of each file of a case, such as ``imaging.npy``; a z-score needs digits more than range.
KEPT = {"imaging": np.dtype(np.float16), "segmentation": np.dtype(np.uint8)}


def array_file(folder: Path, kind: str) -> Path:
    """Return the file of ``kind`` ("imaging" or "segmentation") in a preprocessed case's ``folder``."""
    return folder / f"{kind}.npy"


def write_array(folder: Path, kind: str, array: np.ndarray) -> None:
    """Write ``array`` [D, H, W] as ``kind`` of the case in ``folder``. Raises OSError that says what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(array_file(folder, kind), np.ascontiguousarray(array, KEPT[kind]))
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({error}); make room, or give another build folder") from error


def read_array(case: Case, kind: str) -> np.ndarray:
    """Map ``kind`` of a preprocessed case, [D, H, W], never written back; CaseError where it is missing or damaged."""
    path = array_file(case.folder, kind)
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unusable(case, path.name, f"is missing or damaged ({error})") from error
    if array.dtype != KEPT[kind] or array.ndim != 3:
        raise _unusable(case, path.name, f"holds {array.dtype} {array.shape}, not {KEPT[kind]} [D, H, W]")
    return array


def read_arrays(case: Case) -> dict[str, np.ndarray]:
    """Map both files of a preprocessed case; CaseError where one is damaged, or they do not belong together."""
    arrays = {kind: read_array(case, kind) for kind in KEPT}
    shape = arrays["imaging"].shape
    labels = arrays["segmentation"]
    highest = labels.max()
    if labels.shape != shape or highest > 2:
        reason = f"holds labels {labels.shape} up to {highest}, not {shape} up to 2"
        raise _unusable(case, "segmentation.npy", reason)
    return arrays


def _unusable(case: Case, file: str, reason: str) -> CaseError:
    return CaseError(case.name, file, reason, "run notebook 02_preprocessing, which makes it again")


def cases_below(folder: Path, wanted: Iterable[Case]) -> list[Case]:
    """Return the preprocessed counterparts of ``wanted`` in ``folder``, without the refused ones, which have none."""
    cases = [Case(folder / case.name) for case in wanted]
    return [case for case in cases if array_file(case.folder, "imaging").exists()]
