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
from kitsnb.data import checks, geometry, nifti
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
from kitsnb.receipts import code_of, read_receipt, states_of, write_receipt
from kitsnb.training import patches

#: What the modules compute that decide what a prediction and its scores are, as they were imported.
CODE = code_of(sys.modules[__name__], checks, geometry, nifti, patches, resampling, score, sliding_window, unet)


def predict_and_score(network: nn.Module, pairs: Iterable[tuple[Case, Case]], folder: Path, patch_size: Sequence[int],
                      overlap: Sequence[int], accept: Accept = Accept()) -> pd.DataFrame:
    """Write ``folder/case_XXXXX.nii.gz`` (uint8, the case's affine) for each (preprocessed, native) pair.

    Returns a row per case: ``case``, and ``metric.case_row`` in native geometry. What was predicted from the same
    weights, cases, settings and code is kept with its scores.
    """
    pairs = list(pairs)
    weights = [values.detach().cpu().flatten().double() for values in network.state_dict().values()]
    made_from = {
        "network": str(network),
        "weights": hashlib.sha256(torch.cat(weights).numpy()).hexdigest(),
        "patch_size": list(patch_size),
        "overlap": list(overlap),
        "accept": asdict(accept),
        "code": CODE,
    }
    inputs = {}
    for prepared, native in pairs:
        for file in (array_file(prepared.folder, "imaging"), native.imaging, native.segmentation):
            inputs[f"{native.name}/{file.name}"] = file
    receipt = read_receipt(folder, made_from, inputs)
    if receipt:
        return pd.DataFrame(receipt["rows"]).fillna(np.nan).infer_objects()  # JSON has null for NaN
    read = states_of(inputs)
    rows = []
    for prepared, native in progress(pairs, "predicting and scoring"):
        _, reference, affine = read_case(native, imaging=False, accept=accept)
        volume = torch.from_numpy(read_array(prepared, "imaging"))
        probabilities = predict_probabilities(network, volume, patch_size, overlap)
        prediction = to_native(probabilities, reference.shape, affine)
        write_nifti(folder / f"{native.name}.nii.gz", prediction, affine)
        rows.append({"case": native.name, **case_row(prediction, reference, affine)})
    write_receipt(folder, made_from, read, rows=rows)
    return pd.DataFrame(rows)
