"""Training patches, cut and augmented in one resampling, on the device that holds the volumes.

Crop, scaling, rotation, elastic deformation and mirror are one coordinate grid, so a patch is interpolated once, straight
from the full volume; brightness, contrast, gamma and noise follow. There are no worker processes, queues or pickles.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kitsnb.cases import Case
from kitsnb.nifti import read_nifti

#: Foreground voxels remembered a class and case: enough to centre patches on, few enough to keep for every case.
MAX_CENTRES = 4096


@dataclass(frozen=True)
class Augmentation:
    """Strength of each augmentation; each is applied to a patch with ``probability``, the mirror to each axis with 1/2.

    The defaults follow the batchgenerators settings of MIScnn that the paper names; 0 (or a range of one value) is off.
    """

    probability: float = 0.15
    scaling: Sequence[float] = (0.85, 1.25)  # factor of size
    rotation: float = 15.0  # largest angle about each axis, degrees
    elastic: float = 4.0  # SD of the displacement, voxels
    elastic_spacing: int = 16  # voxels between control points of the displacement
    mirror: bool = True
    brightness: Sequence[float] = (0.5, 2.0)  # factor
    contrast: Sequence[float] = (0.75, 1.25)  # factor about the patch's mean
    gamma: Sequence[float] = (0.7, 1.5)  # exponent on the patch's range
    noise: float = 0.05  # largest variance of Gaussian noise

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (list, tuple)) and not (len(value) == 2 and 0 < value[0] <= value[1]):
                raise ValueError(f"augmentation {field.name} must be [low, high] with 0 < low <= high, got {value}")


@dataclass
class Volume:
    """One case on the device: imaging [D, H, W] float, segmentation [D, H, W] uint8, and centres, one [n, 3] a label > 0."""

    name: str
    imaging: Tensor
    segmentation: Tensor
    centres: dict[int, Tensor]


def load_volumes(cases: Iterable[Case], device: str | torch.device = "cpu", seed: int = 0) -> list[Volume]:
    """Preprocessed cases as tensors on ``device``, with up to ``MAX_CENTRES`` foreground coordinates a class."""
    volumes = []
    for case in cases:
        imaging, segmentation = (torch.from_numpy(read_nifti(p)[0].copy()) for p in (case.imaging, case.segmentation))
        generator = torch.Generator().manual_seed(seed * 100_003 + case.number)
        centres = {}
        for label in (1, 2):
            found = torch.nonzero(segmentation == label)
            if len(found):
                chosen = torch.randperm(len(found), generator=generator)[:MAX_CENTRES]
                centres[label] = found[chosen].to(device)
        volumes.append(Volume(case.name, imaging.float().to(device), segmentation.byte().to(device), centres))
    return volumes


class PatchSampler:
    """Batches of augmented patches: ``sampler.batch(step)`` -> imaging [B, 1, *patch], segmentation [B, *patch].

    A share ``foreground`` of the patches is centred on a foreground voxel, ``tumour`` of these on a tumour voxel; a case
    that lacks the class falls back to the other, then to a random place. Everything is drawn from (``seed``, step, ``rank``),
    so a resumed run sees the same patches, and each process of a run others. ``augmentation=None`` cuts patches without
    changing them.
    """

    def __init__(
        self,
        volumes: list[Volume],
        patch_size: Sequence[int],
        batch_size: int,
        *,
        foreground: float = 2 / 3,
        tumour: float = 0.6,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        rank: int = 0,
    ):
        if not volumes:
            raise ValueError("there are no training cases; check the split and run the preprocessing notebook")
        self.volumes, self.patch_size, self.batch_size = volumes, tuple(patch_size), batch_size
        self.foreground, self.tumour, self.augmentation, self.seed = foreground, tumour, augmentation, seed
        self.rank = rank

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(((self.seed * 1_000_003 + step) * 4096 + self.rank) % 2**63)
        patches = [self._patch(random) for _ in range(self.batch_size)]
        imaging, segmentation = (torch.stack(parts) for parts in zip(*patches))
        return imaging[:, None], segmentation

    def _patch(self, random: torch.Generator) -> tuple[Tensor, Tensor]:
        volume = self.volumes[int(torch.randint(len(self.volumes), (), generator=random))]
        centre = self.centre(volume, random)
        grid = patch_grid(self.patch_size, centre, self.augmentation, random)
        imaging, segmentation = sample(volume, grid)
        if self.augmentation:
            imaging = change_intensity(imaging, self.augmentation, random)
        return imaging, segmentation

    def centre(self, volume: Volume, random: torch.Generator) -> Tensor:
        """Centre [3] of a patch in voxels, drawn, then moved inwards so that the patch lies inside the volume where it fits."""
        shape = torch.tensor(volume.imaging.shape, dtype=torch.float32)
        half = torch.tensor(self.patch_size) / 2
        centre = torch.rand(3, generator=random) * shape
        draw = torch.rand(3, generator=random)
        if draw[0] < self.foreground and volume.centres:
            wanted = 2 if draw[1] < self.tumour else 1
            voxels = volume.centres.get(wanted, volume.centres[min(volume.centres)])
            centre = voxels[int(draw[2] * len(voxels))].float().cpu() + (torch.rand(3, generator=random) - 0.5) * half
        inside = torch.minimum(torch.maximum(centre, half - 0.5), shape - half - 0.5)
        return torch.where(shape > 2 * half, inside, (shape - 1) / 2)


def _chance(probability: float, random: torch.Generator) -> bool:
    return float(torch.rand((), generator=random)) < probability


def _uniform(low: float, high: float, random: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=random))


def patch_grid(size: Sequence[int], centre: Tensor, augmentation: Augmentation | None, random: torch.Generator) -> Tensor:
    """Voxel coordinates [*size, 3] in the volume at which a patch is read: crop, scale, rotation, elastic and mirror."""
    if not augmentation:
        first = (centre - (torch.tensor(size) - 1) / 2).round()  # whole voxels: nothing is interpolated
        return lattice([start + torch.arange(n) for start, n in zip(first, size)], torch.eye(3))
    matrix = torch.eye(3)
    if _chance(augmentation.probability, random):
        matrix = matrix / _uniform(*augmentation.scaling, random)
    if _chance(augmentation.probability, random):
        matrix = matrix @ rotation_matrix([_uniform(-1, 1, random) * augmentation.rotation for _ in range(3)])
    if augmentation.mirror:
        matrix = matrix * torch.tensor([1.0 - 2.0 * _chance(0.5, random) for _ in range(3)])
    shift = torch.zeros(())
    if augmentation.elastic and _chance(augmentation.probability, random):
        control = [max(4, math.ceil(n / augmentation.elastic_spacing) + 1) for n in size]
        coarse = torch.randn(1, 3, *control, generator=random) * augmentation.elastic
        shift = F.interpolate(coarse, tuple(size), mode="trilinear", align_corners=True)[0].movedim(0, -1)
    return lattice([torch.arange(n) - (n - 1) / 2 for n in size], matrix) + shift + centre


def lattice(axes: Sequence[Tensor], matrix: Tensor) -> Tensor:
    """``matrix`` [3, 3] times every point whose coordinates are on the three ``axes``: [D, H, W, 3].

    Sums of a line an axis, which costs a quarter of multiplying every point.
    """
    depth, height, width = (axis[:, None] * column for axis, column in zip(axes, matrix.T))
    return (depth[:, None] + height)[:, :, None] + width


def rotation_matrix(degrees: Sequence[float]) -> Tensor:
    """Rotation [3, 3] by three angles about the three axes, in turn."""
    result = torch.eye(3)
    for axis, angle in enumerate(degrees):
        i, j = [other for other in range(3) if other != axis]
        turn = torch.eye(3)
        turn[i, i] = turn[j, j] = math.cos(math.radians(angle))
        turn[i, j], turn[j, i] = -math.sin(math.radians(angle)), math.sin(math.radians(angle))
        result = turn @ result
    return result


def sample(volume: Volume, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Imaging (linear, the border continued outside) and segmentation (nearest, 0 outside) at voxel coordinates ``grid``."""
    grid = grid.to(volume.imaging.device)
    shape = torch.tensor(volume.imaging.shape, device=grid.device)
    normalized = ((2 * grid + 1) / shape - 1).flip(-1)  # grid_sample counts (width, height, slice), faces at -1 and 1
    imaging = F.grid_sample(volume.imaging[None, None], normalized[None], padding_mode="border", align_corners=False)[0, 0]
    place, outside = 0, torch.zeros(grid.shape[:-1], dtype=torch.bool, device=grid.device)
    for axis, n in enumerate(volume.segmentation.shape):  # one index into the flat volume is a third of the work of three
        index = grid[..., axis].round()
        inside = index.clamp(0, n - 1)
        outside |= index != inside
        place = place * n + inside.long()
    return imaging, volume.segmentation.flatten()[place].masked_fill_(outside, 0)


def change_intensity(imaging: Tensor, augmentation: Augmentation, random: torch.Generator) -> Tensor:
    """Brightness (factor), contrast (about the mean), gamma (on the range) and Gaussian noise."""
    if _chance(augmentation.probability, random):
        imaging = imaging * _uniform(*augmentation.brightness, random)
    if _chance(augmentation.probability, random):
        mean = imaging.mean()
        imaging = (imaging - mean) * _uniform(*augmentation.contrast, random) + mean
    if _chance(augmentation.probability, random):
        low, high = imaging.min(), imaging.max()
        extent = (high - low).clamp(min=1e-6)
        imaging = ((imaging - low) / extent) ** _uniform(*augmentation.gamma, random) * extent + low
    if augmentation.noise and _chance(augmentation.probability, random):
        sd = math.sqrt(_uniform(0, augmentation.noise, random))
        imaging = imaging + sd * torch.randn(imaging.shape, generator=random).to(imaging.device)
    return imaging


def fixed_patches(
    volumes: list[Volume], patch_size: Sequence[int], batch_size: int, seed: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """The validation batches: one patch a case on its foreground, without augmentation, always the same."""
    patches = []
    for volume in volumes:
        sampler = PatchSampler([volume], patch_size, 1, foreground=1.0, tumour=1.0, seed=seed)
        patches.append(sampler.batch(0))
    batches = [patches[start : start + batch_size] for start in range(0, len(patches), batch_size)]
    return [tuple(torch.cat(parts) for parts in zip(*batch)) for batch in batches]


def cases_below(folder: Path, wanted: Iterable[Case]) -> list[Case]:
    """The preprocessed counterparts of ``wanted`` in ``folder``; refused ones, which have none, are left out."""
    return [Case(folder / case.name) for case in wanted if (folder / case.name / "imaging.nii.gz").exists()]
