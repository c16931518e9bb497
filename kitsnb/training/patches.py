"""Training patches: crop, scaling, rotation, mirror and elastic deformation in one resampling, then intensity.

Control points are drawn on the CPU; all else happens on the device that trains, which is asked for no value.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Generator, Tensor

from kitsnb.training.settings import Augmentation, Training
from kitsnb.training.volumes import Volume

Batch = tuple[Tensor, Tensor]  # imaging and segmentation


class PatchSampler:
    """Batches of patches, drawn from (``settings.seed``, step): a resumed run sees the same ones again."""

    def __init__(self, volumes: list[Volume], settings: Training, device: str = "cpu"):
        self.volumes = volumes
        self.settings = settings
        self.device = device

    def batch(self, step: int) -> Batch:
        """Draw imaging [B, 1, *patch] float32 and segmentation [B, *patch] uint8, on the sampler's device."""
        settings = self.settings
        augmentation = settings.augmentation
        high, low = divmod(settings.seed * 1_000_003 + step, 2**20)
        random = Generator().manual_seed(low * 2**12 + high % 2**12)  # torch's generator takes 32 bits, and no more
        imaging = []
        segmentation = []
        for _ in range(settings.batch_size):
            volume = self.volumes[torch.randint(len(self.volumes), (), generator=random)]
            points = control_points(settings.patch_size, self.centre(volume, random), augmentation, random)
            patch, labels = sample(volume, points, settings.patch_size, self.device)
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
            voxels = volume.centres.get(wanted, volume.centres.get(3 - wanted))  # a case may lack either
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
    """Cut the validation batches: one patch per case on its foreground, always the same."""
    plain = settings.changed(batch_size=1, foreground=1.0, tumour=1.0, augmentation=None, seed=0)
    patches = [PatchSampler([volume], plain, device).batch(0) for volume in volumes]
    imaging, segmentation = [torch.cat(parts).split(settings.batch_size) for parts in zip(*patches)]
    return list(zip(imaging, segmentation))


def control_points(size: Sequence[int], centre: Tensor, augmentation: Augmentation | None, random: Generator) -> Tensor:
    """Draw the voxel coordinates [a, b, c, 3] of a patch's control points, from its first voxel to its last."""
    half = (torch.tensor(size) - 1) / 2
    if augmentation is None:
        centre = (centre - half).round() + half  # whole voxels: nothing is interpolated
        return lattice(half, [2, 2, 2]) + centre
    matrix = draw_matrix(augmentation, random)
    if not augmentation.elastic or not chance(augmentation, random):
        return lattice(half, [2, 2, 2]) @ matrix.T + centre
    counts = [max(4, math.ceil(side / augmentation.elastic_spacing) + 1) for side in size]
    bend = torch.randn(3, *counts, generator=random).movedim(0, -1)
    return lattice(half, counts) @ matrix.T + bend * augmentation.elastic + centre


def lattice(half: Tensor, counts: Sequence[int]) -> Tensor:
    """Return evenly spaced points [*counts, 3] from -``half`` to ``half``."""
    axes = [torch.linspace(-end, end, count) for end, count in zip(half.tolist(), counts)]
    return torch.cartesian_prod(*axes).reshape(*counts, 3)


def draw_matrix(augmentation: Augmentation, random: Generator) -> Tensor:
    """Draw scaling, rotation and mirror [3, 3] from patch to volume."""
    matrix = torch.eye(3)
    if chance(augmentation, random):
        matrix = matrix / uniform(augmentation.scaling, random)
    if chance(augmentation, random):
        angles = [uniform((-1, 1), random) * augmentation.rotation for _ in range(3)]
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        matrix = matrix @ torch.tensor(turn, dtype=torch.float32)
    if augmentation.mirror:
        signs = [-1.0 if uniform((0, 1), random) < 0.5 else 1.0 for _ in range(3)]
        matrix = matrix * torch.tensor(signs)
    return matrix


def chance(augmentation: Augmentation, random: Generator) -> bool:
    return uniform((0, 1), random) < augmentation.probability


def uniform(ends: tuple[float, float], random: Generator) -> float:
    low, high = ends
    return low + (high - low) * float(torch.rand((), generator=random))


def sample(volume: Volume, points: Tensor, size: Sequence[int], device: str = "cpu") -> Batch:
    """Read a patch of ``size`` between control ``points``: imaging (linear, float32), segmentation (nearest, uint8)."""
    shape = torch.tensor(volume.imaging.shape)
    low, high = points.flatten(0, 2).aminmax(dim=0)
    # A voxel more on each side makes rounding harmless. Never empty: outside the volume, the nearest voxel.
    first = (low.floor().long() - 1).clamp(0 * shape, shape - 1)
    stop = (high.ceil().long() + 2).clamp(first + 1, shape)
    box = tuple(map(slice, first.tolist(), stop.tolist()))
    faces = (2 * (points - first) + 1) / (stop - first) - 1  # of the box: at -1 and 1
    faces = faces.flip(-1).to(device, non_blocking=True)  # grid_sample counts (width, height, slice)
    grid = spread(faces, size)[None]
    parts = (volume.imaging, volume.segmentation)
    imaging, labels = [part[box].to(device, non_blocking=True).float()[None, None] for part in parts]
    # Outside of the box lies 0 for grid_sample, so the volume's lowest value, as in ``pad_to``.
    imaging = F.grid_sample(imaging - volume.lowest, grid, align_corners=False) + volume.lowest
    labels = F.grid_sample(labels, grid, mode="nearest", align_corners=False)
    return imaging[0, 0], labels[0, 0].byte()


def spread(points: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate control points [a, b, c, 3] linearly to [*size, 3], an axis at a time."""
    for axis in (2, 1, 0):
        last = points.shape[axis] - 1
        place = torch.linspace(0, last, size[axis], device=points.device)
        before = place.long().clamp(max=last - 1)
        weight = (place - before).reshape(-1, *[1] * (3 - axis))
        points = torch.lerp(points.index_select(axis, before), points.index_select(axis, before + 1), weight)
    return points


def pad_to(volume: Tensor, size: Sequence[int]) -> Tensor:
    """Pad ``volume`` [D, H, W] with its lowest value to at least ``size``, as much before as after (or one less)."""
    amounts = []
    for side, wanted in zip(volume.shape[::-1], size[::-1]):
        missing = max(0, wanted - side)
        amounts += [missing // 2, missing - missing // 2]
    return F.pad(volume, amounts, value=float(volume.min()))


def change_intensity(imaging: Tensor, augmentation: Augmentation, random: Generator) -> Tensor:
    """Change brightness (factor), contrast (about the mean), gamma (on the range) and noise, where drawn."""
    if chance(augmentation, random):
        imaging = imaging * uniform(augmentation.brightness, random)
    if chance(augmentation, random):
        mean = imaging.mean()
        imaging = (imaging - mean) * uniform(augmentation.contrast, random) + mean
    if chance(augmentation, random):
        low, high = imaging.aminmax()
        extent = (high - low).clamp(min=1e-6)
        share = (imaging - low) / extent
        imaging = share ** uniform(augmentation.gamma, random) * extent + low
    if augmentation.noise and chance(augmentation, random):
        sd = math.sqrt(uniform((0, augmentation.noise), random))
        own = Generator(imaging.device).manual_seed(int(torch.randint(2**62, (), generator=random)))
        imaging = imaging + sd * torch.randn(imaging.shape, generator=own, device=imaging.device)
    return imaging
