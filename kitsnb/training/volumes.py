"""Preprocessed cases as tensors: on the GPU where they fit, else mapped, and moved patch by patch."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from kitsnb.data.cases import Case
from kitsnb.preprocessing.arrays import read_arrays

#: Foreground voxels remembered a class and case: enough to centre patches on, few enough to keep for every case.
MAX_CENTRES = 4096
#: Share of the window, from its lower end, that holds air and fat.
AIR = 0.05
#: Left free on a GPU for the training step: the paper's, in float32, on a patch of 80 x 80 x 80, rounded up.
RESERVE = 4 << 30


@dataclass
class Volume:
    """One case: imaging [D, H, W] float16, segmentation [D, H, W] uint8, and centres, one [n, 3] per label.

    Centres (voxels, int16) are always on the CPU, so that a place is drawn without waiting for the device, and so is
    ``lowest``, the imaging's minimum: the window's lower end, which is taken for all that lies outside the volume.
    """

    name: str
    imaging: Tensor
    segmentation: Tensor
    centres: dict[int, Tensor]

    def __post_init__(self):
        self.lowest = float(self.imaging.min())


def load_volumes(cases: Iterable[Case], device: str | torch.device = "cpu", *, body: bool = False) -> list[Volume]:
    """Load preprocessed cases as ``Volume``s, with up to ``MAX_CENTRES`` coordinates of each class, always the same.

    With ``body`` there are as many, as those of class 0, of all that is denser than the window's lower end, air and
    fat. Files are mapped, labels checked. On a CUDA ``device`` with room for all of them beside ``RESERVE``, they are
    moved there. Raises CaseError for a file that cannot be used.
    """
    device = torch.device(device)
    volumes = []
    for case in cases:
        arrays = read_arrays(case)
        imaging = torch.from_numpy(arrays["imaging"])
        segmentation = torch.from_numpy(arrays["segmentation"])
        random = torch.Generator().manual_seed(case.number)
        centres = {}
        for label in (1, 2):
            found = some_voxels(segmentation == label, random)
            if len(found):
                centres[label] = found
        if body:
            dense = imaging > imaging.min() + AIR * (imaging.max() - imaging.min())
            centres[0] = some_voxels(dense, random.manual_seed(case.number))
        volumes.append(Volume(case.name, imaging, segmentation, centres))
    if device.type == "cuda" and has_room(volumes, device):
        for volume in volumes:
            volume.imaging = volume.imaging.to(device)
            volume.segmentation = volume.segmentation.to(device)
    return volumes


def has_room(volumes: list[Volume], device: torch.device) -> bool:
    """Say whether ``volumes`` fit on ``device`` beside a step, which gets half at least; print it where they do not."""
    needed = sum(volume.imaging.nbytes + volume.segmentation.nbytes for volume in volumes)
    free = torch.cuda.mem_get_info(device)[0]
    room = free - min(RESERVE, free // 2)
    if needed > room:
        print(f"{len(volumes)} cases need {needed / 1e9:.1f} GB, {device} has {room / 1e9:.1f} GB for them: "
              f"they stay in mapped files, and patches are moved one by one", flush=True)
    return needed <= room


def some_voxels(mask: Tensor, random: torch.Generator) -> Tensor:
    """Draw the coordinates, [n, 3], of up to ``MAX_CENTRES`` voxels of ``mask`` [D, H, W]."""
    found = torch.nonzero(mask)
    return found[torch.randperm(len(found), generator=random)[:MAX_CENTRES]].to(torch.int16)
