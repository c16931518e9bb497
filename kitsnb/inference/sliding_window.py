"""Prediction on the working grid: overlapping patches, blended; in the whole volume, or where the kidneys are."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kitsnb.data.nifti import spacing_of
from kitsnb.inference.findings import KIDNEY_ML, chosen, find_body, find_pieces, kept_only
from kitsnb.inference.window import Window
from kitsnb.messages import progress
from kitsnb.metric.labels import foreground_box

#: Around kidneys that were located, in mm: what the coarse pass may have missed of them.
MARGIN = 30.0
#: Background, kidney and tumour.
CLASSES = 3
#: First voxel and the one after the last along each axis.
Box = tuple[slice, slice, slice]


def blending_weights(side: int) -> Tensor:
    """A Gaussian along a patch of ``side``, at least 1e-3, with nnU-Net's sigma of an eighth of it."""
    x = (torch.arange(side) - (side - 1) / 2) / (side / 8)
    return torch.exp(-0.5 * x**2).clamp(min=1e-3)


def summed_weights(weights: Tensor, starts: Sequence[int]) -> Tensor:
    """Sum of the ``weights`` of one axis over patches that begin at ``starts``, [starts[-1] + side].

    Patches stand on a product grid, so the product of these sums along the axes normalises a voxel.
    """
    total = torch.zeros(starts[-1] + len(weights))
    for start in starts:
        total[start : start + len(weights)] += weights
    return total


@torch.inference_mode()
def slide(
    function: Callable[[Tensor], Tensor], volume: Tensor, window: Window, classes: int, box: Box | None = None
) -> Tensor:
    """``function`` of overlapping patches [B, 1, *patch] -> [B, classes, *patch], blended: [classes, D, H, W].

    ``volume`` is [D, H, W]; thinner than the patch, it is padded with its own smallest value and the result cut back.
    All is float32 on the CPU; beyond the result and one batch, no memory is needed. With ``box``, only what lies in
    that is worked out, as it would be without, and the rest is of no use.
    """
    padded, inside = _padded(volume.float(), window.patch_size)
    starts = window.starts(padded.shape)
    sides = [blending_weights(side) for side in window.patch_size]
    weights = sides[0][:, None, None] * sides[1][:, None] * sides[2]
    total = torch.zeros(classes, *padded.shape)
    boxes = [tuple(slice(s, s + p) for s, p in zip(start, window.patch_size)) for start in itertools.product(*starts)]
    if box:
        wanted = [(w.start + i.start, w.stop + i.start) for w, i in zip(box, inside)]
        boxes = [b for b in boxes if all(s.start < stop and s.stop > start for s, (start, stop) in zip(b, wanted))]
    for first in progress(range(0, len(boxes), window.at_a_time), "patches"):
        batch = boxes[first : first + window.at_a_time]
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


def predict_probabilities(network: nn.Module, volume: Tensor, window: Window, box: Box | None = None) -> Tensor:
    """Class probabilities [3, D, H, W] (float32, on the CPU) of one preprocessed volume [D, H, W].

    ``network`` is left in evaluation mode; it runs on its own device. With ``box``, all outside of that is background.
    """
    network.eval()
    device = next(network.parameters()).device
    found = slide(lambda patches: network(patches.to(device)).float().softmax(1).cpu(), volume, window, CLASSES, box)
    return only_in(found, box) if box else found


def locate(network: nn.Module, volume: Tensor, affine: np.ndarray, window: Window) -> Box | None:
    """The box of a preprocessed ``volume`` [D, H, W] (``affine``: its grid's) that holds the kidneys, if there are any.

    Decided by a coarse pass, of patches that do not overlap: its two largest pieces that lie where kidneys do, and
    ``MARGIN`` mm around them.
    """
    array = volume.float().numpy()
    labels = predict_probabilities(network, volume, window.changed(overlap=(0, 0, 0))).argmax(0).byte().numpy()
    pieces, numbers = find_pieces(labels, array, affine, find_body(array, affine))
    found = [piece for piece in pieces if not piece.away and piece.ml >= KIDNEY_ML]
    if not found:
        return None
    margin = np.ceil(MARGIN / spacing_of(affine)).astype(int)
    box = foreground_box(kept_only(labels, numbers, chosen(found, 2)))
    return tuple(slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(box, margin, labels.shape))


def only_in(probabilities: Tensor, box: Box) -> Tensor:
    """``probabilities`` [C, D, H, W], with background alone outside of ``box``."""
    result = torch.zeros_like(probabilities)
    result[0] = 1
    result[(slice(None), *box)] = probabilities[(slice(None), *box)]
    return result
