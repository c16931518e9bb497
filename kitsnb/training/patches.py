"""Training patches, cut and augmented in one resampling, on the device that trains.

Crop, scaling, rotation, elastic deformation and mirror are one coordinate grid, so a patch is interpolated once,
straight from the volume; brightness, contrast, gamma and noise follow. The few control points of a patch are drawn on
the CPU, and with them the box of voxels that it needs; all else happens on the device, which is asked for no value.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from kitsnb.training.settings import Augmentation, Training
from kitsnb.training.volumes import Volume


class PatchSampler:
    """Batches of patches, drawn from (``settings.seed``, step): a resumed run sees the same ones again.

    A share ``foreground`` of them is centred on foreground, ``tumour`` of these on tumour; a case that lacks the class
    falls back to the other, then to any place. Of the others, a share ``body`` lies in the body, where that was loaded.
    """

    def __init__(self, volumes: list[Volume], settings: Training, device: str | torch.device = "cpu"):
        self.volumes = volumes
        self.settings = settings
        self.device = torch.device(device)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw imaging [B, 1, *patch] float32 and segmentation [B, *patch] uint8, on the sampler's device."""
        seed = (self.settings.seed * 1_000_003 + step) * 4096 % 2**63
        random = torch.Generator().manual_seed(seed)
        patches = [self.patch(random) for _ in range(self.settings.batch_size)]
        imaging, segmentation = zip(*patches)
        return torch.stack(imaging)[:, None], torch.stack(segmentation)

    def patch(self, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw one patch: imaging and segmentation, [*patch] each."""
        size = self.settings.patch_size
        augmentation = self.settings.augmentation
        volume = self.volumes[int(torch.randint(len(self.volumes), (), generator=random))]
        points = control_points(size, self.centre(volume, random), augmentation, random)
        imaging, segmentation = sample(volume, points, size, self.device)
        if augmentation:
            imaging = change_intensity(imaging, augmentation, random)
        return imaging, segmentation

    def centre(self, volume: Volume, random: torch.Generator) -> Tensor:
        """Draw the centre [3] of a patch in voxels, moved inwards so that it lies in the volume where it fits."""
        settings = self.settings
        shape = torch.tensor(volume.imaging.shape, dtype=torch.float32)
        half = torch.tensor(settings.patch_size) / 2
        centre = torch.rand(3, generator=random) * shape
        kind, label, which = torch.rand(3, generator=random)
        foreground = [found for found in volume.centres if found]
        voxels = None
        if kind < settings.foreground and foreground:
            wanted = 2 if label < settings.tumour else 1
            voxels = volume.centres.get(wanted, volume.centres[min(foreground)])
        elif label < settings.body:
            voxels = volume.centres.get(0)
        if voxels is not None:
            shift = (torch.rand(3, generator=random) - 0.5) * half
            centre = voxels[int(which * len(voxels))].float() + shift
        inside = torch.minimum(torch.maximum(centre, half - 0.5), shape - half - 0.5)
        around = half - 0.5 - (2 * half - shape).floor_divide(2)  # where ``pad_to`` would put a volume that is thinner
        return torch.where(shape > 2 * half, inside, around)


def fixed_patches(volumes: list[Volume], settings: Training, device: str | torch.device = "cpu") -> list[tuple]:
    """Cut the validation batches on ``device``: one patch per case on its foreground, always the same."""
    plain = settings.changed(batch_size=1, foreground=1.0, tumour=1.0, augmentation=None, seed=0)
    patches = [PatchSampler([volume], plain, device).batch(0) for volume in volumes]
    imaging, segmentation = (torch.cat(parts) for parts in zip(*patches))
    return list(zip(imaging.split(settings.batch_size), segmentation.split(settings.batch_size)))


def control_points(
    size: Sequence[int], centre: Tensor, augmentation: Augmentation | None, random: torch.Generator
) -> Tensor:
    """Draw the voxel coordinates [a, b, c, 3] of a patch's control points: crop, scale, rotation, mirror, elastic.

    They span the patch from its first voxel to its last along each axis; what lies between is interpolated, so the
    corners are enough unless the patch is bent.
    """
    half = (torch.tensor(size) - 1) / 2
    matrix = torch.eye(3)
    counts = [2, 2, 2]
    shift = torch.zeros(())
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
            matrix = matrix * torch.tensor([1.0 - 2.0 * chance(0.5, random) for _ in range(3)])
        if augmentation.elastic and chance(augmentation.probability, random):
            counts = [max(4, math.ceil(n / augmentation.elastic_spacing) + 1) for n in size]
            shift = torch.randn(3, *counts, generator=random).movedim(0, -1) * augmentation.elastic
    axes = [torch.linspace(-float(end), float(end), count) for end, count in zip(half, counts)]
    lattice = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    return lattice @ matrix.T + shift + centre


def chance(probability: float, random: torch.Generator) -> bool:
    return float(torch.rand((), generator=random)) < probability


def uniform(low: float, high: float, random: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=random))


def sample(
    volume: Volume, points: Tensor, size: Sequence[int], device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor]:
    """Read a patch of ``size`` between control ``points``: imaging (linear, float32), segmentation (nearest, uint8).

    What lies outside the volume has its lowest value and label 0, as in a volume that ``pad_to`` has padded.
    """
    last = torch.tensor(volume.imaging.shape) - 1
    # A voxel more on each side makes rounding harmless. Never empty: outside the volume, the nearest voxel.
    first = (points.amin((0, 1, 2)).floor().long() - 1).clamp(torch.zeros_like(last), last)
    stop = (points.amax((0, 1, 2)).ceil().long() + 2).clamp(first + 1, last + 1)
    box = tuple(slice(start, end) for start, end in zip(first.tolist(), stop.tolist()))
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


def move(part: Tensor, device: str | torch.device) -> Tensor:
    """Move ``part`` to ``device``; to a GPU from pinned memory, since only such a copy leaves the CPU free."""
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu and part.device.type == "cpu":
        part = part.contiguous().pin_memory()
    return part.to(device, non_blocking=on_gpu)


def pad_to(volume: Tensor, size: Sequence[int]) -> Tensor:
    """Pad ``volume`` [D, H, W] with its lowest value to at least ``size``, half of what is missing on each side.

    Of an odd number of missing voxels the smaller half comes before the volume, the larger one after it.
    """
    amounts = []
    for side, wanted in zip(reversed(volume.shape), reversed(size)):
        missing = max(0, wanted - side)
        amounts += [missing // 2, missing - missing // 2]
    return F.pad(volume, amounts, value=float(volume.min()))


def change_intensity(imaging: Tensor, augmentation: Augmentation, random: torch.Generator) -> Tensor:
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
        own = torch.Generator(imaging.device).manual_seed(int(torch.randint(2**62, (), generator=random)))
        imaging = imaging + sd * torch.randn(imaging.shape, generator=own, device=imaging.device)
    return imaging
