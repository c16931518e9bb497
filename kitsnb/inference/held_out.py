"""The held-out cases of a run: predicted, brought back to native geometry, and scored."""

import hashlib
import sys
from collections.abc import Iterable, Sequence
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
from kitsnb.data.nifti import write_nifti
from kitsnb.inference import sliding_window
from kitsnb.inference.sliding_window import predict_probabilities
from kitsnb.messages import progress
from kitsnb.metric import score
from kitsnb.metric.score import case_row
from kitsnb.preprocessing import resampling
from kitsnb.preprocessing.arrays import array_file, read_array
from kitsnb.preprocessing.resampling import to_native
from kitsnb.receipts import code_of, read_receipt, write_receipt

#: The modules that decide what a prediction and its scores are.
CODE = (sys.modules[__name__], checks, nifti, resampling, score, sliding_window, unet)


def predict_and_score(
    network: nn.Module, pairs: Iterable[tuple[Case, Case]], folder: Path, patch_size: Sequence[int],
    overlap: Sequence[int], accept: Accept | None = None,
) -> pd.DataFrame:
    """Write ``folder/case_XXXXX.nii.gz`` (uint8, the case's affine) for each (preprocessed, native) pair.

    Returns a row per case: ``case``, and what ``metric.case_row`` says of prediction and label in native geometry.
    ``accept`` must be what the cases were prepared with. Predictions that are there already, whole, from the same
    weights, cases, settings and code, are kept with their scores, wherever the folders were moved.
    """
    pairs = list(pairs)
    accept = accept or Accept()
    made_from = {
        "weights": weights_digest(network),
        "patch_size": list(patch_size),
        "overlap": list(overlap),
        "accept": asdict(accept),
        "cases": [native.name for _, native in pairs],
        "code": code_of(*CODE),
    }
    inputs = {}
    for prepared, native in pairs:
        files = [array_file(prepared.folder, "imaging"), native.segmentation]
        files += [native.imaging] if accept.affine else []
        inputs |= {f"{native.name}/{file.name}": file for file in files}
    receipt = read_receipt(folder, made_from, inputs)
    if receipt:
        return pd.DataFrame([_with_nan(row) for row in receipt["rows"]])
    rows = []
    for prepared, native in progress(pairs, "predicting and scoring"):
        _, reference, affine = read_case(native, imaging=False, accept=accept)
        volume = torch.from_numpy(read_array(prepared, "imaging"))
        probabilities = predict_probabilities(network, volume, patch_size, overlap)
        prediction = to_native(probabilities, reference.shape, affine)
        write_nifti(folder / f"{native.name}.nii.gz", prediction, affine)
        rows.append({"case": native.name, **case_row(prediction, reference, affine)})
    write_receipt(folder, made_from, inputs, rows=rows)
    return pd.DataFrame(rows)


def _with_nan(row: dict) -> dict:
    """Return ``row`` with NaN where JSON has null."""
    return {name: np.nan if value is None else value for name, value in row.items()}


def weights_digest(network: nn.Module) -> str:
    """Return the SHA-256 of all parameters and running statistics of ``network``."""
    found = hashlib.sha256()
    for name, values in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(values.detach().cpu().contiguous().numpy())
    return found.hexdigest()
