"""Prediction: overlapping patches, blended, brought back to native geometry."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kitsnb.cases import Case
from kitsnb.nifti import read_header, read_nifti, spacing_of, write_nifti
from kitsnb.metric import kits19_score
from kitsnb.preprocessing import to_native


@dataclass(frozen=True)
class Window:
    """Patch size and overlap in voxels (the paper: 80^3 and 40^3), and patches a batch."""

    patch_size: Sequence[int] = (80, 80, 80)
    overlap: Sequence[int] = (40, 40, 40)
    batch_size: int = 1

    def __post_init__(self):
        if any(not 0 <= o < p for o, p in zip(self.overlap, self.patch_size, strict=True)):
            raise ValueError(f"overlap {list(self.overlap)} must be at least 0 and below patch_size {list(self.patch_size)}")


def window_starts(length: int, patch: int, overlap: int) -> list[int]:
    """First voxels of patches that cover ``length`` (>= ``patch``) with at least ``overlap`` between neighbours."""
    last = length - patch
    return sorted({min(start, last) for start in range(0, last + patch - overlap, patch - overlap)})


def blending_weights(size: Sequence[int]) -> Tensor:
    """Weight of each voxel of a patch, [*size]: a separable Gaussian, as nnU-Net's (sigma an eighth of the side)."""
    weights = torch.ones(())
    for n in size:
        x = (torch.arange(n) - (n - 1) / 2) / (n / 8)
        weights = weights[..., None] * torch.exp(-0.5 * x**2).clamp(min=1e-3)
    return weights


@torch.inference_mode()
def predict_probabilities(network: nn.Module, volume: Tensor, window: Window, classes: int = 3) -> Tensor:
    """Class probabilities [classes, D, H, W] (float32, on the CPU) of one preprocessed volume [D, H, W].

    A volume thinner than the patch is padded with its own smallest value and cut back. ``network`` is left in evaluation
    mode; it runs on its own device.
    """
    network.eval()
    device = next(network.parameters()).device
    missing = [max(0, p - n) for p, n in zip(window.patch_size, volume.shape)]
    before = [m // 2 for m in missing]
    pads = [side for m, b in reversed(list(zip(missing, before))) for side in (b, m - b)]
    padded = F.pad(volume.float(), pads, value=float(volume.min()))
    weights = blending_weights(window.patch_size)
    total, norm = torch.zeros(classes, *padded.shape), torch.zeros(padded.shape)
    starts = itertools.product(*map(window_starts, padded.shape, window.patch_size, window.overlap))
    boxes = [tuple(slice(s, s + p) for s, p in zip(start, window.patch_size)) for start in starts]
    for first in range(0, len(boxes), window.batch_size):
        batch = boxes[first : first + window.batch_size]
        patches = torch.stack([padded[box] for box in batch])[:, None].to(device)
        for box, probability in zip(batch, network(patches).float().softmax(1).cpu()):
            total[(slice(None), *box)] += probability * weights
            norm[box] += weights
    inside = tuple(slice(b, b + n) for b, n in zip(before, volume.shape))
    return (total / norm)[(slice(None), *inside)]


def predict_case(network: nn.Module, prepared: Case, native: Case, window: Window) -> np.ndarray:
    """Labels of one case in the native geometry of its imaging, from its preprocessed volume."""
    volume, _ = read_nifti(prepared.imaging)
    header = read_header(native.segmentation)
    probabilities = predict_probabilities(network, torch.from_numpy(volume.copy()), window)
    return to_native(probabilities, header.shape, header.affine)


def predict_and_score(
    network: nn.Module, pairs: Iterable[tuple[Case, Case]], folder: Path, window: Window
) -> pd.DataFrame:
    """Write ``folder/case_XXXXX.nii.gz`` (uint8, the case's affine) for each (preprocessed, native) pair; one row of scores each."""
    rows = []
    for prepared, native in pairs:
        prediction = predict_case(network, prepared, native, window)
        reference, affine = read_nifti(native.segmentation)
        write_nifti(folder / f"{native.name}.nii.gz", prediction, affine)
        reference = reference.astype(np.uint8)
        ml = float(np.prod(spacing_of(affine))) / 1000
        volumes = {
            f"{prefix}{name}_ml": ml * int((array == label).sum())
            for prefix, array in (("", reference), ("predicted_", prediction))
            for label, name in ((1, "kidney"), (2, "tumour"))
        }
        rows.append({"case": native.name, **kits19_score(prediction, reference), **volumes})
    return pd.DataFrame(rows)
