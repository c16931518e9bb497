"""Training patches, cut and augmented in one resampling, on the device that trains.

Crop, scaling, rotation, elastic deformation and mirror are one coordinate grid. Its few control points are drawn on the
CPU, and with them the box of voxels to read; all else happens on the device, which is asked for no value.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Generator, Tensor

from kitsnb.training.settings import Augmentation, Training
from kitsnb.training.volumes import Volume

#: Imaging and segmentation.
Batch = tuple[Tensor, Tensor]


class PatchSampler:
    """Batches of patches, drawn from (``settings.seed``, step): a resumed run sees the same ones again.

    A share ``foreground`` is centred on foreground, ``tumour`` of these on tumour; a case that lacks the class falls
    back to the other, then to any place. Of the others, a share ``body`` lies in the body, where that was loaded.
    """

    def __init__(self, volumes: list[Volume], settings: Training, device: str = "cpu"):
        self.volumes = volumes
        self.settings = settings
        self.device = device

    def batch(self, step: int) -> Batch:
        """Draw imaging [B, 1, *patch] float32 and segmentation [B, *patch] uint8, on the sampler's device."""
        seed = (self.settings.seed * 1_000_003 + step) * 4096 % 2**63
        random = Generator().manual_seed(seed)
        size = self.settings.patch_size
        augmentation = self.settings.augmentation
        imaging = []
        segmentation = []
        for _ in range(self.settings.batch_size):
            volume = self.volumes[int(torch.randint(len(self.volumes), (), generator=random))]
            points = control_points(size, self.centre(volume, random), augmentation, random)
            patch, labels = sample(volume, points, size, self.device)
            if augmentation:
                patch = change_intensity(patch, augmentation, random)
            imaging.append(patch)
            segmentation.append(labels)
        return torch.stack(imaging)[:, None], torch.stack(segmentation)

    def centre(self, volume: Volume, random: Generator) -> Tensor:
        """Draw the centre [3] of a patch in voxels, moved inwards so that it lies in the volume where it fits."""
        settings = self.settings
        size = torch.tensor(settings.patch_size)
        shape = torch.tensor(volume.imaging.shape)
        centre = torch.rand(3, generator=random) * shape
        kind, label, which = torch.rand(3, generator=random)
        voxels = None
        if kind < settings.foreground:
            wanted = 2 if label < settings.tumour else 1
            voxels = volume.centres.get(wanted, volume.centres.get(3 - wanted))
        if voxels is None and label < settings.body:
            voxels = volume.centres.get(0)
        if voxels is not None:
            shift = (torch.rand(3, generator=random) - 0.5) * size / 2
            centre = voxels[int(which * len(voxels))] + shift
        half = (size - 1) / 2
        inside = centre.clamp(half, shape - 1 - half)
        padded = half - (size - shape) // 2  # where ``pad_to`` would put a volume that is thinner
        return torch.where(shape > size, inside, padded)


def fixed_patches(volumes: list[Volume], settings: Training, device: str = "cpu") -> list[Batch]:
    """Cut the validation batches on ``device``: one patch per case on its foreground, always the same."""
    plain = settings.changed(batch_size=1, foreground=1.0, tumour=1.0, augmentation=None, seed=0)
    patches = [PatchSampler([volume], plain, device).batch(0) for volume in volumes]
    imaging, segmentation = (torch.cat(parts) for parts in zip(*patches))
    return list(zip(imaging.split(settings.batch_size), segmentation.split(settings.batch_size)))


def control_points(size: Sequence[int], centre: Tensor, augmentation: Augmentation | None, random: Generator) -> Tensor:
    """Draw the voxel coordinates [a, b, c, 3] of a patch's control points: crop, scale, rotation, mirror, elastic.

    They span the patch from first voxel to last; eight corners are enough unless it is bent.
    """
    half = (torch.tensor(size) - 1) / 2
    matrix = torch.eye(3)
    counts = [2, 2, 2]
    bend = 0.0
    if augmentation is None:
        centre = (centre - half).round() + half  # whole voxels: nothing is interpolated
    else:
        if chance(augmentation.probability, random):
            matrix = matrix / uniform(*augmentation.scaling, random)
        if chance(augmentation.probability, random):
            angles = [uniform(-1, 1, random) * augmentation.rotation for _ in range(3)]
            turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
            matrix = matrix @ torch.tensor(turn, dtype=torch.float32)
        if augmentation.mirror:
            matrix = matrix * torch.tensor([-1.0 if chance(0.5, random) else 1.0 for _ in range(3)])
        if augmentation.elastic and chance(augmentation.probability, random):
            counts = [max(4, math.ceil(side / augmentation.elastic_spacing) + 1) for side in size]
            bend = torch.randn(3, *counts, generator=random).movedim(0, -1) * augmentation.elastic
    axes = [torch.linspace(-end, end, count) for end, count in zip(half.tolist(), counts)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    return points @ matrix.T + bend + centre


def chance(probability: float, random: Generator) -> bool:
    return float(torch.rand((), generator=random)) < probability


def uniform(low: float, high: float, random: Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=random))


def sample(volume: Volume, points: Tensor, size: Sequence[int], device: str = "cpu") -> Batch:
    """Read a patch of ``size`` between control ``points``: imaging (linear, float32), segmentation (nearest, uint8).

    Outside the volume lie its lowest value and label 0, as ``pad_to`` pads it.
    """
    shape = torch.tensor(volume.imaging.shape)
    low, high = points.flatten(0, 2).aminmax(dim=0)
    # A voxel more on each side makes rounding harmless. Never empty: outside the volume, the nearest voxel.
    first = (low.floor().long() - 1).clamp(0 * shape, shape - 1)
    stop = (high.ceil().long() + 2).clamp(first + 1, shape)
    box = tuple(slice(*ends) for ends in zip(first.tolist(), stop.tolist()))
    faces = (2 * (points - first) + 1) / (stop - first) - 1  # of the box: at -1 and 1
    grid = spread(move(faces.flip(-1), device), size)[None]  # grid_sample counts (width, height, slice)
    imaging = move(volume.imaging[box], device).float()[None, None]
    labels = move(volume.segmentation[box], device).float()[None, None]
    # The box ends inside the volume only where no voxel beyond it is read, so its outside is the volume's: zero for
    # grid_sample, which is the lowest value where that was taken away before.
    imaging = F.grid_sample(imaging - volume.lowest, grid, align_corners=False) + volume.lowest
    labels = F.grid_sample(labels, grid, mode="nearest", align_corners=False)
    return imaging[0, 0], labels[0, 0].byte()


def spread(points: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate control points [a, b, c, 3] to [*size, 3], linearly: an axis at a time, faster than F.interpolate."""
    for axis in (2, 1, 0):
        last = points.shape[axis] - 1
        place = torch.linspace(0, last, size[axis], device=points.device)
        before = place.long().clamp(max=last - 1)
        weight = (place - before).reshape(-1, *[1] * (3 - axis))
        points = torch.lerp(points.index_select(axis, before), points.index_select(axis, before + 1), weight)
    return points


def move(part: Tensor, device: str) -> Tensor:
    """Move ``part`` to ``device``; to a GPU from pinned memory, since only such a copy leaves the CPU free."""
    if device == "cuda" and not part.is_cuda:
        part = part.contiguous().pin_memory()
    return part.to(device, non_blocking=device == "cuda")


def pad_to(volume: Tensor, size: Sequence[int]) -> Tensor:
    """Pad ``volume`` [D, H, W] with its lowest value to at least ``size``, the same on each side (or one more after)."""
    amounts = []
    for side, wanted in zip(reversed(volume.shape), reversed(size)):
        missing = max(0, wanted - side)
        amounts += [missing // 2, missing - missing // 2]
    return F.pad(volume, amounts, value=float(volume.min()))


def change_intensity(imaging: Tensor, augmentation: Augmentation, random: Generator) -> Tensor:
    """Change brightness (factor), contrast (about the mean), gamma (on the range) and noise, where drawn."""
    if chance(augmentation.probability, random):
        imaging = imaging * uniform(*augmentation.brightness, random)
    if chance(augmentation.probability, random):
        mean = imaging.mean()
        imaging = (imaging - mean) * uniform(*augmentation.contrast, random) + mean
    if chance(augmentation.probability, random):
        low, high = imaging.aminmax()
        extent = (high - low).clamp(min=1e-6)
        imaging = ((imaging - low) / extent) ** uniform(*augmentation.gamma, random) * extent + low
    if augmentation.noise and chance(augmentation.probability, random):
        sd = math.sqrt(uniform(0, augmentation.noise, random))
        own = Generator(imaging.device).manual_seed(int(torch.randint(2**62, (), generator=random)))
        imaging = imaging + sd * torch.randn(imaging.shape, generator=own, device=imaging.device)
    return imaging
