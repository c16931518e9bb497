"""Preprocessed cases as tensors: on the GPU where they fit, else mapped, and moved patch by patch."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from kitsnb.data.cases import Case
from kitsnb.preprocessing.arrays import read_arrays

MAX_CENTRES = 4096  # voxels remembered per class and case, to centre patches on
AIR = 0.05  # share of the window, from its lower end, that holds air and fat


@dataclass
class Volume:
    """One case: imaging [D, H, W] float16, segmentation [D, H, W] uint8, and voxels [n, 3] int16 per label."""

    imaging: Tensor
    segmentation: Tensor
    centres: dict[int, Tensor]  # on the CPU, which draws without waiting for the device

    def __post_init__(self):
        self.lowest = float(self.imaging.min())


def load_volumes(cases: Iterable[Case], device: str = "cpu", *, body: bool = False) -> list[Volume]:
    """Map preprocessed cases; move them to a CUDA ``device`` where they fill at most half of its free memory.

    With ``body``, voxels denser than air and fat are centres of class 0. CaseError for a file that cannot be used.
    """
    volumes = [load_volume(case, body) for case in cases]
    if device == "cuda":
        needed = sum(volume.imaging.nbytes + volume.segmentation.nbytes for volume in volumes)
        free, _ = torch.cuda.mem_get_info()
        if needed <= free / 2:
            for volume in volumes:
                volume.imaging = volume.imaging.to(device)
                volume.segmentation = volume.segmentation.to(device)
    return volumes


def load_volume(case: Case, body: bool) -> Volume:
    arrays = read_arrays(case)
    segmentation = torch.from_numpy(arrays["segmentation"])
    volume = Volume(torch.from_numpy(arrays["imaging"]), segmentation, {})
    masks = {1: segmentation == 1, 2: segmentation == 2}
    if body:
        window = float(volume.imaging.max()) - volume.lowest
        masks[0] = volume.imaging > volume.lowest + AIR * window
    random = torch.Generator().manual_seed(case.number)
    for label, mask in masks.items():
        found = torch.nonzero(mask)
        if len(found):
            chosen = torch.randperm(len(found), generator=random)[:MAX_CENTRES]
            volume.centres[label] = found[chosen].to(torch.int16)
    return volume
