"""Prediction: overlapping patches, blended, brought back to native geometry."""

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import cc3d
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kitsnb import unet
from kitsnb.data import checks, nifti
from kitsnb.data.cases import Case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import read_header, write_nifti
from kitsnb.files import code_of, digest, read_receipt, write_receipt
from kitsnb.inference.window import Window
from kitsnb.metric import score, surface
from kitsnb.metric.score import case_row
from kitsnb.metric.surface import foreground_box
from kitsnb.preprocessing import resampling
from kitsnb.preprocessing.arrays import array_file, read_array
from kitsnb.preprocessing.resampling import to_native


def blending_weights(side: int) -> Tensor:
    """Weights along one side of a patch, [side]: a Gaussian as nnU-Net's (sigma an eighth of the side), at least 1e-3.

    The weight of a voxel is the product of those along its three axes.
    """
    x = (torch.arange(side) - (side - 1) / 2) / (side / 8)
    return torch.exp(-0.5 * x**2).clamp(min=1e-3)


def summed_weights(weights: Tensor, starts: Sequence[int]) -> Tensor:
    """Sum of the ``weights`` of one axis over patches that begin at ``starts``, [starts[-1] + side].

    Patches stand on a product grid, so what all of them add up to at a voxel is the product of these sums along the axes:
    no map of the volume's size is needed to normalise.
    """
    total = torch.zeros(starts[-1] + len(weights))
    for start in starts:
        total[start : start + len(weights)] += weights
    return total


@torch.inference_mode()
def slide(function: Callable[[Tensor], Tensor], volume: Tensor, window: Window, classes: int) -> Tensor:
    """``function`` of overlapping patches [B, 1, *patch] -> [B, classes, *patch], blended: [classes, D, H, W].

    ``volume`` is [D, H, W]; thinner than the patch, it is padded with its own smallest value and the result cut back. All is
    float32 on the CPU; beyond the result and one batch, no memory is needed.
    """
    padded, inside = _padded(volume.float(), window.patch_size)
    starts = window.starts(padded.shape)
    sides = [blending_weights(side) for side in window.patch_size]
    weights = sides[0][:, None, None] * sides[1][:, None] * sides[2]
    total = torch.zeros(classes, *padded.shape)
    boxes = [tuple(slice(s, s + p) for s, p in zip(start, window.patch_size)) for start in itertools.product(*starts)]
    for first in range(0, len(boxes), window.batch_size):
        batch = boxes[first : first + window.batch_size]
        patches = padded[batch[0]][None] if len(batch) == 1 else torch.stack([padded[box] for box in batch])
        for box, values in zip(batch, function(patches[:, None])):
            total[(slice(None), *box)].addcmul_(values.contiguous(), weights)  # a network's channels-last is slow here
    depth, height, width = map(summed_weights, sides, starts)
    plane = height[:, None] * width
    for index, weight in enumerate(depth):
        total[:, index] /= plane * weight
    return total[(slice(None), *inside)]


def _padded(volume: Tensor, patch_size: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """``volume`` at least as large as the patch, and where it lies in that."""
    missing = [max(0, p - n) for p, n in zip(patch_size, volume.shape)]
    inside = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, volume.shape))
    if not any(missing):
        return volume, inside
    pads = [side for m in reversed(missing) for side in (m // 2, m - m // 2)]
    return F.pad(volume, pads, value=float(volume.min())), inside


def predict_probabilities(network: nn.Module, volume: Tensor, window: Window, classes: int = 3) -> Tensor:
    """Class probabilities [classes, D, H, W] (float32, on the CPU) of one preprocessed volume [D, H, W].

    A volume thinner than the patch is padded with its own smallest value and cut back. ``network`` is left in evaluation
    mode; it runs on its own device.
    """
    network.eval()
    device = next(network.parameters()).device
    return slide(lambda patches: network(patches.to(device)).float().softmax(1).cpu(), volume, window, classes)


def largest_components(labels: np.ndarray, keep: int) -> np.ndarray:
    """``labels`` (3D) with only the ``keep`` largest pieces of its foreground; all else becomes background.

    Kidney and tumour count as one foreground, voxels that touch by a corner (26 neighbours) as one piece; a kidney and its
    tumour stay together, so 2 keeps two kidneys and drops specks elsewhere. Raises ValueError for ``keep`` below 1.
    """
    if keep < 1:
        raise ValueError(f"keep at least one component, got {keep}")
    result = np.zeros_like(labels)
    box = foreground_box(labels)
    if labels[box].size:
        pieces = cc3d.largest_k(labels[box] > 0, k=keep, connectivity=26)
        np.copyto(result[box], labels[box], where=pieces > 0)
    return result


def predict_case(
    network: nn.Module, prepared: Case, shape: Sequence[int], affine: np.ndarray, window: Window
) -> np.ndarray:
    """Labels (uint8, ``shape``) of one case in its native geometry, from its preprocessed volume."""
    volume = torch.from_numpy(read_array(prepared, "imaging"))
    return to_native(predict_probabilities(network, volume, window), shape, affine)


def predict_and_score(
    network: nn.Module, pairs: Iterable[tuple[Case, Case]], folder: Path, window: Window, accept: Accept | None = None,
    weights: Path | None = None,
) -> pd.DataFrame:
    """Write ``folder/case_XXXXX.nii.gz`` (uint8, the case's affine) for each (preprocessed, native) pair.

    Returns a row a case: ``case`` and what ``metric.case_row`` says of prediction and label in native geometry. ``accept`` must
    be what the cases were prepared with. With ``weights``, the network's checkpoint, predictions that are there already, whole,
    from the same weights, cases, settings and code, are kept with their scores.
    """
    pairs, accept = list(pairs), accept or Accept()
    made_from = weights and {"weights": digest(weights), "window": window.as_json(), "accept": asdict(accept),
                             "cases": {native.name: _inputs(prepared, native) for prepared, native in pairs}, "code": _code()}
    if made_from and (receipt := read_receipt(folder, made_from)):
        return pd.DataFrame([{key: np.nan if value is None else value for key, value in row.items()}
                             for row in receipt["rows"]])
    rows = []
    for prepared, native in pairs:
        _, reference, affine = read_case(native, imaging=False, accept=accept)
        if accept.affine:
            affine = read_header(native.imaging).affine
        prediction = predict_case(network, prepared, reference.shape, affine, window)
        write_nifti(folder / f"{native.name}.nii.gz", prediction, affine)
        rows.append({"case": native.name, **case_row(prediction, reference, affine)})
    if made_from:
        write_receipt(folder, made_from, rows=rows)
    return pd.DataFrame(rows)


def _inputs(prepared: Case, native: Case) -> list:
    """Size and time of change of the files that a prediction and its scores are made from."""
    files = (array_file(prepared.folder, "imaging"), native.segmentation, native.imaging)
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files if path.exists()]


def _code() -> str:
    return code_of(sys.modules[__name__], checks, nifti, resampling, score, surface, unet)
