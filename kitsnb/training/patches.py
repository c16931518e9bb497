"""Training patches, cut and augmented in one resampling, on the device that trains.

Crop, scaling, rotation, elastic deformation and mirror are one coordinate grid, so a patch is interpolated once,
straight from the volume; brightness, contrast, gamma and noise follow.

Wherever a volume is kept, the few control points of a patch are drawn on the CPU, from which follows the box of voxels
that it needs; the box goes to the device, and all else happens there, without a value that the CPU would wait for.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kitsnb.training.settings import Augmentation, Training
from kitsnb.training.volumes import Volume


class PatchSampler:
    """Batches of patches, drawn from (``settings.seed``, step): a resumed run sees the same ones again.

    A share ``foreground`` of the patches is centred on a foreground voxel, ``tumour`` of these on a tumour voxel; a
    case that lacks the class falls back to the other, then to a random place. Of the other patches, a share ``body`` is
    centred in the body, where volumes were loaded with that.
    """

    def __init__(self, volumes: list[Volume], settings: Training, device: str | torch.device = "cpu"):
        if not volumes:
            raise ValueError("there are no training cases; check the split and run the preprocessing notebook")
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
        """Draw the centre [3] of a patch in voxels, moved inwards so that the patch lies in the volume where it fits."""
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


def chance(probability: float, random: torch.Generator) -> bool:
    return float(torch.rand((), generator=random)) < probability


def uniform(low: float, high: float, random: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=random))


def control_points(size: Sequence[int], centre: Tensor, augmentation: Augmentation | None,
                   random: torch.Generator) -> Tensor:
    """Voxel coordinates [a, b, c, 3] of a patch's control points: crop, scale, rotation, elastic and mirror.

    They span the patch from its first voxel to its last along each axis, and ``spread`` interpolates between them: the
    corners are enough unless the patch is bent.
    """
    if not augmentation:
        first = (centre - (torch.tensor(size) - 1) / 2).round()  # whole voxels: nothing is interpolated
        return lattice([torch.stack([start, start + n - 1]) for start, n in zip(first, size)], torch.eye(3))
    matrix = torch.eye(3)
    if chance(augmentation.probability, random):
        matrix = matrix / uniform(*augmentation.scaling, random)
    if chance(augmentation.probability, random):
        matrix = matrix @ rotation_matrix([uniform(-1, 1, random) * augmentation.rotation for _ in range(3)])
    if augmentation.mirror:
        matrix = matrix * torch.tensor([1.0 - 2.0 * chance(0.5, random) for _ in range(3)])
    counts, shift = [2, 2, 2], torch.zeros(())
    if augmentation.elastic and chance(augmentation.probability, random):
        counts = [max(4, math.ceil(n / augmentation.elastic_spacing) + 1) for n in size]
        shift = torch.randn(3, *counts, generator=random).movedim(0, -1) * augmentation.elastic
    axes = [torch.linspace(-(n - 1) / 2, (n - 1) / 2, count) for n, count in zip(size, counts)]
    return lattice(axes, matrix) + shift + centre


def spread(points: Tensor, size: Sequence[int]) -> Tensor:
    """Control points [a, b, c, 3] interpolated linearly to [*size, 3], the first and the last of each axis kept.

    An axis at a time, the largest result last. No matrix product: autocast or TF32 would round the coordinates.
    """
    for axis in (2, 1, 0):
        last = points.shape[axis] - 1
        place = torch.linspace(0, last, size[axis], device=points.device)
        before = place.long().clamp(max=last - 1)
        weight = (place - before).reshape(-1, *[1] * (3 - axis))
        points = torch.lerp(points.index_select(axis, before), points.index_select(axis, before + 1), weight)
    return points


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


def pad_to(volume: Tensor, size: Sequence[int]) -> Tensor:
    """Pad ``volume`` [D, H, W] with its lowest value to at least ``size``, half of what is missing on each side.

    Of an odd number of missing voxels the smaller half comes before the volume, the larger one after it.
    """
    amounts = []
    for side, wanted in zip(reversed(volume.shape), reversed(size)):
        missing = max(0, wanted - side)
        amounts += [missing // 2, missing - missing // 2]
    return F.pad(volume, amounts, value=float(volume.min()))


def box_of(points: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """First voxel and the one after the last, [3] each, of the part of a volume that ``points`` [a, b, c, 3] read from.

    A voxel more on each side makes rounding harmless. Never empty: of a patch outside the volume, the nearest voxels.
    """
    last = torch.tensor(shape) - 1
    low, high = points.amin((0, 1, 2)).floor().long() - 1, points.amax((0, 1, 2)).ceil().long() + 1
    first = torch.minimum(low.clamp(min=0), last)
    return first, torch.minimum(torch.maximum(high, first), last) + 1


def sample(
    volume: Volume, points: Tensor, size: Sequence[int], device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor]:
    """Read a patch of ``size`` between control ``points``: imaging (linear, float32), segmentation (nearest, uint8).

    What lies outside the volume has its lowest value and label 0, as in a volume that ``pad_to`` has padded.
    """
    first, stop = box_of(points, volume.imaging.shape)
    box = tuple(slice(start, end) for start, end in zip(first.tolist(), stop.tolist()))
    faces = (2 * (points - first) + 1) / (stop - first) - 1  # of the box: at -1 and 1
    grid = spread(move(faces.flip(-1), device), size)[None]  # grid_sample counts (width, height, slice)
    imaging = move(volume.imaging[box], device).float()[None, None]
    labels = move(volume.segmentation[box], device).float()[None, None]
    # The box ends inside the volume only where no voxel beyond it is read, so what lies outside is the volume's outside:
    # grid_sample's zeros, which are the lowest value where that was taken away before.
    imaging = F.grid_sample(imaging - volume.lowest, grid, align_corners=False) + volume.lowest
    labels = F.grid_sample(labels, grid, mode="nearest", align_corners=False)
    return imaging[0, 0], labels[0, 0].byte()


def move(part: Tensor, device: str | torch.device) -> Tensor:
    device = torch.device(device)
    if device.type == "cuda" and part.device.type == "cpu":  # only from pinned memory does a copy leave the CPU free
        part = torch.empty(part.shape, dtype=part.dtype, pin_memory=True).copy_(part)
    return part.to(device, non_blocking=device.type == "cuda")


def change_intensity(imaging: Tensor, augmentation: Augmentation, random: torch.Generator) -> Tensor:
    """Brightness (factor), contrast (about the mean), gamma (on the range) and Gaussian noise, if drawn."""
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


def fixed_patches(
    volumes: list[Volume], settings: Training, device: str | torch.device = "cpu"
) -> list[tuple[Tensor, Tensor]]:
    """Cut the validation batches on ``device``: one patch per case on its foreground, always the same."""
    plain = settings.changed(batch_size=1, foreground=1.0, tumour=1.0, augmentation=None, seed=0)
    patches = [PatchSampler([volume], plain, device).batch(0) for volume in volumes]
    batches = []
    for start in range(0, len(patches), settings.batch_size):
        imaging, segmentation = zip(*patches[start : start + settings.batch_size])
        batches.append((torch.cat(imaging), torch.cat(segmentation)))
    return batches
