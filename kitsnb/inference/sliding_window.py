"""Prediction on the working grid: torchio cuts overlapping patches, and blends them by a Hann window."""

from collections.abc import Sequence

import torch
import torchio as tio
from torch import Tensor, nn

from kitsnb.messages import progress
from kitsnb.training.patches import pad_to

#: Patches at a time. A single one takes a way through oneDNN that is several times slower on one thread.
BATCH = 2


@torch.inference_mode()
def predict_probabilities(network: nn.Module, volume: Tensor, patch_size: Sequence[int],
                          overlap: Sequence[int]) -> Tensor:
    """Return class probabilities [3, D, H, W] (float32, on the CPU) of one preprocessed ``volume`` [D, H, W].

    ``network`` runs on its own device, and is left in evaluation mode. Short axes are padded as in training.
    """
    network.eval()
    device = next(network.parameters()).device
    padded = pad_to(volume.float(), patch_size)
    sampler = tio.GridSampler(tio.Subject(imaging=tio.ScalarImage(tensor=padded[None])), patch_size, overlap)
    aggregator = tio.GridAggregator(sampler, overlap_mode="hann")
    for batch in progress(tio.SubjectsLoader(sampler, batch_size=BATCH), "patches"):
        logits = network(batch["imaging"][tio.DATA].to(device))
        aggregator.add_batch(logits.float().softmax(1), batch[tio.LOCATION])
    result = aggregator.get_output_tensor()
    for axis, length in enumerate(volume.shape, start=1):
        before = (result.shape[axis] - length) // 2
        result = result.narrow(axis, before, length)
    return result
