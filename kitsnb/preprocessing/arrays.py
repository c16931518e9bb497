"""Preprocessed volumes as plain .npy files, three bytes a voxel: written once, mapped by whoever reads them.

A z-score needs digits more than range, so imaging is float16; the system's page cache decides what of it is in memory.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kitsnb.data.cases import Case
from kitsnb.data.nifti import CaseError
from kitsnb.files import read_json, receipt_of

#: A file more than imaging and segmentation, of simulated cases.
ORGANS = "organs"
#: Dtype of each file of a case, such as ``imaging.npy``.
KEPT = {"imaging": np.dtype(np.float16), "segmentation": np.dtype(np.uint8), ORGANS: np.dtype(np.uint8)}
BYTES_A_VOXEL = 3  # imaging and segmentation


def array_file(folder: Path, kind: str) -> Path:
    """The file of ``kind`` ("imaging", "segmentation" or ``ORGANS``) in a preprocessed case's ``folder``."""
    return folder / f"{kind}.npy"


def write_array(folder: Path, kind: str, array: np.ndarray) -> None:
    """Write ``array`` [D, H, W] as ``kind`` of the case in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(array_file(folder, kind), np.ascontiguousarray(array, KEPT[kind]))


def read_array(case: Case, kind: str) -> np.ndarray:
    """``kind`` of a preprocessed case, [D, H, W], mapped: read where it is looked at, and never written back.

    Raises CaseError where the file is missing or damaged.
    """
    path = array_file(case.folder, kind)
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise _unusable(case, path, reason) from error
    if array.dtype != KEPT[kind] or array.ndim != 3 or not array.size or not array.flags.c_contiguous:
        raise _unusable(case, path, f"holds {array.dtype} {array.shape}, not {KEPT[kind]} [D, H, W]")
    return array


def read_arrays(case: Case) -> dict[str, np.ndarray]:
    """Imaging and segmentation of a preprocessed case, mapped. CaseError where one is missing, damaged or unfit."""
    arrays = {kind: read_array(case, kind) for kind in ("imaging", "segmentation")}
    imaging, labels = arrays["imaging"].shape, arrays["segmentation"].shape
    path = array_file(case.folder, "segmentation")
    if imaging != labels:
        raise _unusable(case, path, f"imaging and segmentation differ in shape, {imaging} and {labels}")
    if (largest := int(arrays["segmentation"].max())) > 2:
        raise _unusable(case, path, f"holds label {largest}, not 0, 1 and 2 alone")
    return arrays


def hu_scale(case: Case) -> tuple[float, float, float, float]:
    """Mean and SD of the z-score of a preprocessed case, and the ends of its window, in HU. CaseError where none is."""
    receipt = read_json(receipt_of(case.folder))
    try:
        return *receipt["row"]["hu_scale"], *receipt["made_from"]["settings"]["clip"]
    except KeyError as error:
        raise _unusable(case, receipt_of(case.folder), f"does not say {error}") from error


def _unusable(case: Case, path: Path, reason: str) -> CaseError:
    advice = "run notebook 02_preprocessing, which makes it anew"
    if path == array_file(case.folder, ORGANS) and not path.exists():
        advice = "only simulated cases have it: set randomise to 0"
    return CaseError(case.name, path.name, f"{path} {reason}", advice)


def cases_below(folder: Path, wanted: Iterable[Case]) -> list[Case]:
    """The preprocessed counterparts of ``wanted`` in ``folder``; refused ones, which have none, are left out."""
    return [Case(folder / case.name) for case in wanted if array_file(folder / case.name, "imaging").exists()]
