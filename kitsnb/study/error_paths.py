"""Controlled errors: a label map as a geometry, predictions that are wrong in one way and by a known amount, and their logits.

A path names an error (erosion, dilation, shift, missed tumour, false tumour) and grows it step by step, so that losses can
be compared on the same mistakes. Arrays are label maps [D, H, W]: 0 background, 1 kidney, 2 tumour; lengths are in mm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from kitsnb.data.cases import Case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import CaseError, spacing_of
from kitsnb.preprocessing.resampling import grid_size, reorient, resize
from kitsnb.simulation.phantom import simulate_case

CLASSES = 3


@dataclass(frozen=True)
class Geometry:
    """A patch of a label map around a tumour, its spacing in mm, and whether its anatomy is simulated."""

    name: str
    segmentation: np.ndarray
    spacing: np.ndarray
    simulated: bool

    @property
    def tumour_ml(self) -> float:
        return float((self.segmentation == 2).sum() * self.spacing.prod() / 1000)

    @property
    def shares_percent(self) -> list[float]:
        """Share of each class in the patch's voxels."""
        return [float(100 * (self.segmentation == label).mean()) for label in range(CLASSES)]


def real_geometry(case: Case, spacing: Sequence[float], extent: Sequence[float], accept: Accept | None = None) -> Geometry:
    """The label of a KiTS19 case at ``spacing`` (slice, height, width), cropped to ``extent`` mm around its tumour.

    ``accept`` must be what the case was checked with, since labels may be mapped.
    Raises ``CaseError`` for a label that cannot be read or holds no tumour.
    """
    _, segmentation, affine = read_case(case, imaging=False, accept=accept)
    segmentation, affine = reorient(segmentation, affine)
    size = grid_size(segmentation.shape, spacing_of(affine), spacing)
    used = spacing_of(affine) * segmentation.shape / size
    volume = torch.from_numpy(np.ascontiguousarray(segmentation))[None]
    if not (segmentation == 2).any():
        raise CaseError(case.name, "segmentation.nii.gz", "holds no tumour", "name another case")
    return Geometry(case.name, crop(resize(volume, size, labels=True)[0].numpy(), used, extent), used, simulated=False)


def phantom_geometry(seed: int, number: int, extent: Sequence[float]) -> Geometry:
    """The label of phantom ``number`` of ``seed`` on its own grid, cropped to ``extent`` mm around its tumour."""
    phantom = simulate_case(seed, number)
    segmentation, affine = reorient(phantom.segmentation, phantom.affine)
    spacing = spacing_of(affine)
    return Geometry(f"phantom {number}", crop(segmentation, spacing, extent), spacing, simulated=True)


def crop(segmentation: np.ndarray, spacing: Sequence[float], extent: Sequence[float]) -> np.ndarray:
    """A box of ``extent`` mm (or the whole axis, where that is shorter) around the centre of the tumour."""
    centre = np.argwhere(segmentation == 2).mean(0)
    box = []
    for middle, size, step, length in zip(centre, segmentation.shape, spacing, extent):
        width = min(size, max(1, round(length / step)))
        first = int(np.clip(round(middle - width / 2), 0, size - width))
        box.append(slice(first, first + width))
    return np.ascontiguousarray(segmentation[tuple(box)])


def erode(geometry: Geometry, distance: float) -> np.ndarray:
    """Kidney and tumour without what lies within ``distance`` mm of the background."""
    labels = geometry.segmentation
    return np.where(distance_transform_edt(labels > 0, geometry.spacing) > distance, labels, 0)


def dilate(geometry: Geometry, distance: float) -> np.ndarray:
    """Background within ``distance`` mm of the foreground takes the label nearest to it."""
    labels = geometry.segmentation
    away, nearest = distance_transform_edt(labels == 0, geometry.spacing, return_indices=True)
    return np.where(away <= distance, labels[tuple(nearest)], labels)


def shift(geometry: Geometry, distance: float) -> np.ndarray:
    """All labels moved to the patient's left by ``distance`` mm, rounded to whole voxels; background follows."""
    steps = round(distance / geometry.spacing[2])
    moved = np.roll(geometry.segmentation, steps, axis=2)
    moved[..., :steps] = 0
    return moved


def miss_tumour(geometry: Geometry, volume: float) -> np.ndarray:
    """``volume`` ml of the tumour called kidney, from its lowest slice upwards; all of it where there is no more."""
    labels = geometry.segmentation.copy()
    tumour = np.argwhere(labels == 2)[::-1]
    missed = tumour[: round(volume * 1000 / geometry.spacing.prod())]
    labels[tuple(missed.T)] = 1
    return labels


def invent_tumour(geometry: Geometry, volume: float) -> np.ndarray:
    """A ball of about ``volume`` ml called tumour, in the background as far as possible from kidney and border."""
    labels = geometry.segmentation.copy()
    free = np.pad(labels == 0, 1)
    away = distance_transform_edt(free, geometry.spacing)[1:-1, 1:-1, 1:-1]
    centre = np.unravel_index(away.argmax(), away.shape)
    grid = np.ogrid[tuple(slice(size) for size in labels.shape)]
    distance = sum(((axis - middle) * step) ** 2 for axis, middle, step in zip(grid, centre, geometry.spacing))
    ball = np.argsort(np.where(labels == 0, distance, np.inf), axis=None, kind="stable")
    labels.ravel()[ball[: round(volume * 1000 / geometry.spacing.prod())]] = 2
    return labels


@dataclass(frozen=True)
class Path:
    """A kind of error; ``make`` takes the geometry and the amount, from 0 (no error) to ``most(geometry)``, in ``unit``."""

    make: Callable[[Geometry, float], np.ndarray]
    unit: str
    most: Callable[[Geometry], float]

    def amounts(self, geometry: Geometry, steps: int) -> np.ndarray:
        return np.linspace(0, self.most(geometry), steps)


PATHS = {
    "erosion": Path(erode, "mm", lambda _: 16.0),
    "dilation": Path(dilate, "mm", lambda _: 16.0),
    "shift": Path(shift, "mm", lambda _: 32.0),
    "missed tumour": Path(miss_tumour, "ml", lambda geometry: geometry.tumour_ml),
    "false tumour": Path(invent_tumour, "ml", lambda geometry: geometry.tumour_ml),
}


def soft_logits(labels: np.ndarray, spacing: Sequence[float], softness: float = 2.0, most: float = 5.0) -> Tensor:
    """Logits [1, 3, D, H, W] of a prediction that is unsure at borders and sure elsewhere.

    Of each class: the signed distance to its border in units of ``softness`` mm, positive inside, cut to +-``most``. A
    class without a voxel has -``most`` everywhere.
    """
    logits = np.full((CLASSES, *labels.shape), -most, np.float32)
    for label in range(CLASSES):
        inside = labels == label
        if inside.all():
            logits[label] = most
        elif inside.any():
            signed = distance_transform_edt(inside, spacing) - distance_transform_edt(~inside, spacing)
            logits[label] = np.clip(signed / softness, -most, most)
    return torch.from_numpy(logits)[None]
