"""Preprocessed cases as tensors: on the GPU where they fit, else mapped, and moved patch by patch."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from kitsnb.data.cases import Case
from kitsnb.preprocessing.arrays import ORGANS, hu_scale, read_array, read_arrays

#: Foreground voxels remembered a class and case: enough to centre patches on, few enough to keep for every case.
MAX_CENTRES = 4096
#: Left free on a GPU for the training step: the paper's, in float32, on a patch of 80 x 80 x 80, rounded up.
RESERVE = 4 << 30


@dataclass
class Volume:
    """One case: imaging [D, H, W] float16, segmentation [D, H, W] uint8, and centres, one [n, 3] a label.

    Centres (voxels, int16) are always on the CPU, so that a place is drawn without waiting for the device. Where HU are
    to be drawn anew, there are ``organs``, as segmentation, and ``hu_scale``, as ``arrays.hu_scale`` has it.
    """

    name: str
    imaging: Tensor
    segmentation: Tensor
    centres: dict[int, Tensor]
    organs: Tensor | None = None
    hu_scale: tuple[float, float, float, float] | None = None

    @property
    def parts(self) -> dict[str, Tensor]:
        """What is kept on the device."""
        return {name: part for name, part in vars(self).items() if isinstance(part, Tensor)}


def load_volumes(
    cases: Iterable[Case], device: str | torch.device = "cpu", *, organs: bool = False, body: bool = False
) -> list[Volume]:
    """Preprocessed cases as ``Volume``s, with up to ``MAX_CENTRES`` coordinates of each class, always the same.

    With ``body`` as many, as those of class 0, of all that is denser than the window's lower end, air and fat.
    Files are mapped, labels checked. On a CUDA ``device`` with room for all of them beside ``RESERVE``, they are moved
    there. With ``organs``, their maps, too. Raises CaseError for a file that cannot be used.
    """
    device, volumes = torch.device(device), []
    for case in cases:
        imaging, segmentation = map(torch.from_numpy, read_arrays(case).values())
        random = torch.Generator().manual_seed(case.number)
        centres = {label: _some(segmentation == label, random) for label in (1, 2)}
        volume = Volume(case.name, imaging, segmentation, {label: some for label, some in centres.items() if len(some)})
        if organs:
            volume.organs, volume.hu_scale = torch.from_numpy(read_array(case, ORGANS)), hu_scale(case)
        if body:
            dense = imaging > imaging.min() + 0.05 * (imaging.max() - imaging.min())
            volume.centres[0] = _some(dense, random.manual_seed(case.number))
        volumes.append(volume)
    if device.type == "cuda" and has_room(volumes, device):
        for volume in volumes:
            for name, part in volume.parts.items():
                setattr(volume, name, part.to(device))
    return volumes


def has_room(volumes: list[Volume], device: torch.device) -> bool:
    """Do ``volumes`` fit on ``device``, of which a step gets half at least? Where not, that is printed."""
    needed = sum(part.nbytes for volume in volumes for part in volume.parts.values())
    free = torch.cuda.mem_get_info(device)[0]
    room = free - min(RESERVE, free // 2)
    if needed > room:
        print(f"{len(volumes)} cases need {needed / 1e9:.1f} GB, {device} has {room / 1e9:.1f} GB for them: "
              f"they stay in mapped files, and patches are moved one by one", flush=True)
    return needed <= room


def _some(mask: Tensor, random: torch.Generator) -> Tensor:
    """Coordinates of some voxels of ``mask``, [n, 3]."""
    found = torch.nonzero(mask)
    return found[torch.randperm(len(found), generator=random)[:MAX_CENTRES]].to(torch.int16)
