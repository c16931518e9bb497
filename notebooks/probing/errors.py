"""Label maps [D, H, W] that are wrong in a known way, by a known amount in mm or ml: losses are probed with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, find_objects
from torch import Tensor

from kitsnb.data.nifti import spacing_of
from kitsnb.preprocessing.resampling import grid_size, reorient, resize_labels
from kitsnb.simulation.phantom import simulate_case

CLASSES = ("background", "kidney", "tumour")
#: mm over which a prediction is unsure by one logit, and its largest logit.
SOFTNESS = 2.0
MOST = 5.0


@dataclass(frozen=True)
class Geometry:
    """A patch of a label map around a tumour, its spacing in mm, and whether its anatomy is simulated."""

    name: str
    segmentation: np.ndarray
    spacing: np.ndarray
    simulated: bool

    @property
    def voxel_ml(self) -> float:
        return float(self.spacing.prod() / 1000)

    @property
    def tumour_ml(self) -> float:
        return float((self.segmentation == 2).sum() * self.voxel_ml)

    @property
    def target(self) -> Tensor:
        """Return the labels as losses take them, [1, D, H, W]."""
        return torch.from_numpy(self.segmentation.astype(np.int64))[None]

    def __str__(self) -> str:
        kind = "simulated anatomy" if self.simulated else "real label"
        return f"{self.name.replace('_', ' ')}, {kind}"


def around_tumour(name: str, labels: np.ndarray, affine: np.ndarray, extent: Sequence[float],
                  spacing: Sequence[float], simulated: bool) -> Geometry:
    """Bring ``labels`` to ``spacing`` and cut ``extent`` mm around the tumour; without one, raise ValueError."""
    if not (labels == 2).any():
        raise ValueError(f"{name} holds no tumour; name another case as losses.case")
    labels, affine = reorient(labels, affine)
    size = grid_size(labels.shape, spacing_of(affine), spacing)
    used = spacing_of(affine) * labels.shape / size
    labels = resize_labels(labels, size).numpy()
    half = np.divide(extent, used) / 2
    middle = np.argwhere(labels == 2).mean(axis=0).clip(half, np.maximum(half, size - half))  # the patch stays inside
    box = tuple(slice(round(at - reach), round(at + reach)) for at, reach in zip(middle, half))
    return Geometry(name, labels[box].copy(), used, simulated)


def phantom_geometry(seed: int, number: int, extent: Sequence[float]) -> Geometry:
    """Cut ``extent`` mm around the tumour of phantom ``number`` of ``seed``, on its own grid."""
    phantom = simulate_case(seed, number)
    labels, affine = reorient(phantom.segmentation, phantom.affine)
    return around_tumour(f"phantom {number}", labels, affine, extent, spacing_of(affine), simulated=True)


def erode(geometry: Geometry, distance: float) -> np.ndarray:
    """Take away from kidney and tumour what lies within ``distance`` mm of the background."""
    depth = distance_transform_edt(geometry.segmentation > 0, geometry.spacing)
    return np.where(depth > distance, geometry.segmentation, 0)


def dilate(geometry: Geometry, distance: float) -> np.ndarray:
    """Give background within ``distance`` mm of the foreground the label nearest to it."""
    labels = geometry.segmentation
    away, nearest = distance_transform_edt(labels == 0, geometry.spacing, return_indices=True)
    return np.where(away <= distance, labels[tuple(nearest)], labels)


def miss_tumour(geometry: Geometry, volume: float) -> np.ndarray:
    """Call ``volume`` ml of the tumour kidney, from its lowest slice upwards."""
    labels = geometry.segmentation.copy()
    missed = np.flatnonzero(labels == 2)[::-1]
    labels.flat[missed[: round(volume / geometry.voxel_ml)]] = 1
    return labels


def invent_tumour(geometry: Geometry, volume: float) -> np.ndarray:
    """Call a ball of about ``volume`` ml tumour, in the background as far as possible from kidney and border."""
    labels = geometry.segmentation.copy()
    away = distance_transform_edt(np.pad(labels == 0, 1), geometry.spacing)[1:-1, 1:-1, 1:-1]
    elsewhere = np.ones(labels.shape, bool)
    elsewhere.flat[away.argmax()] = False
    distance = distance_transform_edt(elsewhere, geometry.spacing)
    distance[labels > 0] = np.inf
    ball = np.argsort(distance, axis=None, kind="stable")
    labels.flat[ball[: round(volume / geometry.voxel_ml)]] = 2
    return labels


class ErrorPath(NamedTuple):
    """A kind of error: ``make`` takes a geometry and an amount in ``unit``, up to ``most``, else the tumour's ml."""

    make: Callable[[Geometry, float], np.ndarray]
    unit: str
    most: float | None = None

    def amounts(self, geometry: Geometry, steps: int) -> np.ndarray:
        return np.linspace(0, self.most or geometry.tumour_ml, steps)


PATHS = {
    "erosion": ErrorPath(erode, "mm", 16.0),
    "dilation": ErrorPath(dilate, "mm", 16.0),
    "missed tumour": ErrorPath(miss_tumour, "ml"),
    "false tumour": ErrorPath(invent_tumour, "ml"),
}


def soft_logits(labels: np.ndarray, spacing: Sequence[float]) -> Tensor:
    """Return logits [1, 3, D, H, W] of a prediction that is unsure at the borders of ``labels`` and sure elsewhere.

    Of each class: the signed distance to its border over ``SOFTNESS``, positive inside, cut to +-``MOST``.
    """
    logits = np.full((len(CLASSES), *labels.shape), -MOST, np.float32)
    logits[0] = MOST
    reach = np.ceil(SOFTNESS * MOST / np.asarray(spacing)).astype(int) + 1  # beyond it no logit changes
    for sides in find_objects((labels > 0).astype(np.uint8)):
        near = tuple(slice(max(0, side.start - pad), side.stop + pad) for side, pad in zip(sides, reach))
        for label in np.unique(labels[near]):
            inside = labels[near] == label
            signed = distance_transform_edt(inside, spacing) - distance_transform_edt(~inside, spacing)
            logits[label][near] = np.clip(signed / SOFTNESS, -MOST, MOST)
    return torch.from_numpy(logits)[None]
