"""Preprocessed volumes as plain .npy files, three bytes per voxel: written once, mapped by whoever reads them.

A z-score needs digits more than range, so imaging is float16; the system's page cache decides what of it is in memory.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kitsnb.data.cases import Case
from kitsnb.data.nifti import CaseError

#: Dtype of each file of a case, such as ``imaging.npy``.
KEPT = {"imaging": np.dtype(np.float16), "segmentation": np.dtype(np.uint8)}
BYTES_A_VOXEL = 3


def array_file(folder: Path, kind: str) -> Path:
    """Return the file of ``kind`` ("imaging" or "segmentation") in a preprocessed case's ``folder``."""
    return folder / f"{kind}.npy"


def write_array(folder: Path, kind: str, array: np.ndarray) -> None:
    """Write ``array`` [D, H, W] as ``kind`` of the case in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(array_file(folder, kind), np.ascontiguousarray(array, KEPT[kind]))


def read_array(case: Case, kind: str) -> np.ndarray:
    """Map ``kind`` of a preprocessed case, [D, H, W]: read where it is looked at, and never written back.

    Raises CaseError where the file is missing or damaged.
    """
    path = array_file(case.folder, kind)
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = f"is damaged ({error})" if path.exists() else "is missing"
        raise _unusable(case, f"{path} {reason}") from error
    if array.dtype != KEPT[kind] or array.ndim != 3:
        raise _unusable(case, f"{path} holds {array.dtype} {array.shape}, not {KEPT[kind]} [D, H, W]")
    return array


def read_arrays(case: Case) -> dict[str, np.ndarray]:
    """Map imaging and segmentation of a preprocessed case.

    Raises CaseError where one is missing or damaged, shapes differ, or a label is not 0, 1 or 2.
    """
    arrays = {kind: read_array(case, kind) for kind in KEPT}
    shape = arrays["imaging"].shape
    labels = arrays["segmentation"]
    if labels.shape != shape:
        raise _unusable(case, f"imaging and segmentation differ in shape, {shape} and {labels.shape}")
    if labels.max() > 2:
        raise _unusable(case, f"segmentation.npy holds label {labels.max()}, not only 0, 1 and 2")
    return arrays


def _unusable(case: Case, reason: str) -> CaseError:
    return CaseError(case.name, "arrays", reason, "run notebook 02_preprocessing, which makes them again")


def cases_below(folder: Path, wanted: Iterable[Case]) -> list[Case]:
    """Return the preprocessed counterparts of ``wanted`` in ``folder``, without the refused ones, which have none."""
    cases = [Case(folder / case.name) for case in wanted]
    return [case for case in cases if array_file(case.folder, "imaging").exists()]
