"""The held-out cases of a run: predicted, brought back to native geometry, and scored."""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from kitsnb import unet
from kitsnb.data import checks, nifti
from kitsnb.data.cases import Case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import read_header, read_nifti, voxel_ml, write_nifti
from kitsnb.files import code_of, digest, file_state, read_receipt, write_receipt
from kitsnb.inference import findings, sliding_window
from kitsnb.inference.sliding_window import locate, only_in, predict_probabilities
from kitsnb.inference.window import Window
from kitsnb.messages import progress
from kitsnb.metric import score, surface
from kitsnb.metric.score import case_row, kits19_score
from kitsnb.preprocessing import resampling
from kitsnb.preprocessing.arrays import array_file, read_array
from kitsnb.preprocessing.resampling import grid_affine, to_native
from kitsnb.simulation.organs import ORGANS

#: The modules that decide what a prediction and its scores are.
CODE = (sys.modules[__name__], checks, findings, nifti, resampling, score, sliding_window, surface, unet)


def predict_and_score(
    network: nn.Module, pairs: Iterable[tuple[Case, Case]], folder: Path, window: Window, accept: Accept | None = None,
    weights: Path | None = None, located: bool = False,
) -> pd.DataFrame:
    """Write ``folder/case_XXXXX.nii.gz`` (uint8, the case's affine) for each (preprocessed, native) pair.

    Returns a row a case: ``case``, what ``metric.case_row`` says of prediction and label in native geometry, with
    ``located`` the scores of what lies in the box of ``locate`` as well (``located_kidney``, ...), and where the case
    has an organ map, ml of false foreground by organ (``false_ml_liver``, ...). ``accept`` must be what the cases were
    prepared with. With ``weights``, the network's checkpoint, predictions that are there already, whole, from the same
    weights, cases, settings and code, are kept with their scores.
    """
    pairs, accept = list(pairs), accept or Accept()
    made_from = weights and {"weights": digest(weights), "window": window.as_json(), "accept": asdict(accept),
                             "located": located,
                             "cases": {native.name: _inputs(prepared, native) for prepared, native in pairs},
                             "code": code_of(*CODE)}
    if made_from and (receipt := read_receipt(folder, made_from)):
        return pd.DataFrame([{key: np.nan if value is None else value for key, value in row.items()}
                             for row in receipt["rows"]])
    rows = []
    for prepared, native in progress(pairs, "predicting and scoring"):
        _, reference, affine = read_case(native, imaging=False, accept=accept)
        if accept.affine:
            affine = read_header(native.imaging).affine
        volume = torch.from_numpy(read_array(prepared, "imaging"))
        probabilities = predict_probabilities(network, volume, window)
        prediction = to_native(probabilities, reference.shape, affine)
        write_nifti(folder / f"{native.name}.nii.gz", prediction, affine)
        row = {"case": native.name, **case_row(prediction, reference, affine),
               **_false_by_organ(native, prediction, reference)}
        if located:
            box = locate(network, volume, grid_affine(reference.shape, affine, volume.shape), window)
            part = to_native(only_in(probabilities, box), reference.shape, affine) if box else np.zeros_like(reference)
            row |= {f"located_{name}": value for name, value in kits19_score(part, reference).items()}
        rows.append(row)
    if made_from:
        write_receipt(folder, made_from, rows=rows)
    return pd.DataFrame(rows)


def _false_by_organ(case: Case, prediction: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Ml of what is called kidney or tumour and is neither, in each organ of a case that has an organ map."""
    if not case.organs.is_file():
        return {}
    organs, affine = read_nifti(case.organs, case.name)
    voxels = np.bincount(organs[(prediction > 0) & (reference == 0)], minlength=max(ORGANS) + 1)
    return {f"false_ml_{name}": voxel_ml(affine) * int(voxels[number]) for number, name in ORGANS.items()}


def _inputs(prepared: Case, native: Case) -> list:
    """Size and time of change of the files that a prediction and its scores are made from."""
    files = (array_file(prepared.folder, "imaging"), native.segmentation, native.imaging, native.organs)
    return [[path.name, *file_state(path)] for path in files if path.exists()]
