"""Label maps [D, H, W] that are wrong in a known way, by a known amount in mm or ml: losses are probed with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from scipy.ndimage import distance_transform_edt, find_objects
from torch import Tensor

from kitsnb.data.geometry import spacing_of
from kitsnb.preprocessing.resampling import grid_size, reorient, resize_labels
from kitsnb.simulation.phantom import simulate_case

CLASSES = ("background", "kidney", "tumour")
SOFTNESS = 2.0  # mm over which a prediction is unsure by one logit
MOST = 5.0  # its largest logit


@dataclass(frozen=True)
class Geometry:
    """A patch of a label map around a tumour, its spacing in mm, and whether its anatomy is simulated."""

    name: str
    segmentation: ndarray
    spacing: ndarray
    simulated: bool

    @property
    def tumour_ml(self) -> float:
        return np.count_nonzero(self.segmentation == 2) * float(self.spacing.prod()) / 1000

    def voxels(self, volume: float) -> int:  # of so many ml
        return round(1000 * volume / self.spacing.prod())

    @property
    def target(self) -> Tensor:  # [1, D, H, W]
        return torch.from_numpy(self.segmentation).long()[None]

    def __str__(self) -> str:
        kind = "simulated anatomy" if self.simulated else "real label"
        return f"{self.name.replace('_', ' ')}, {kind}"


def around_tumour(
    name: str, labels: ndarray, affine: ndarray, extent: Sequence[float], spacing: Sequence[float] | None,
    simulated: bool,
) -> Geometry:
    """Bring ``labels`` to ``spacing``, if any, and cut ``extent`` mm around the tumour; ValueError without one."""
    labels, affine = reorient(labels, affine)
    native = spacing_of(affine)
    size = grid_size(labels.shape, native, native if spacing is None else spacing)
    used = native * labels.shape / size
    labels = resize_labels(labels, size).numpy()
    half = extent / used / 2
    places = np.argwhere(labels == 2)
    if not len(places):
        raise ValueError(f"{name} holds no tumour; name another case as losses.case")
    centre = places.mean(axis=0).clip(half, np.maximum(half, size - half))  # the patch stays inside
    first, last = np.rint([centre - half, centre + half]).astype(int)
    box = tuple(map(slice, first, last))
    return Geometry(name, labels[box].copy(), used, simulated)


def phantom_geometry(seed: int, number: int, extent: Sequence[float]) -> Geometry:
    """Cut ``extent`` mm around the tumour of phantom ``number`` of ``seed``, on its own grid."""
    phantom = simulate_case(seed, number)
    return around_tumour(f"phantom {number}", phantom.segmentation, phantom.affine, extent, None, simulated=True)


def erode(geometry: Geometry, distance: float) -> ndarray:
    """Take away from kidney and tumour what lies within ``distance`` mm of the background."""
    depth = distance_transform_edt(geometry.segmentation > 0, geometry.spacing)
    return np.where(depth > distance, geometry.segmentation, 0)


def dilate(geometry: Geometry, distance: float) -> ndarray:
    """Give background within ``distance`` mm of the foreground the label nearest to it."""
    labels = geometry.segmentation
    away, nearest = distance_transform_edt(labels == 0, geometry.spacing, return_indices=True)
    return np.where(away <= distance, labels[tuple(nearest)], labels)


def miss_tumour(geometry: Geometry, volume: float) -> ndarray:
    """Call ``volume`` ml of the tumour kidney, from its lowest slice upwards."""
    labels = geometry.segmentation.copy()
    missed = np.flatnonzero(labels == 2)[::-1]
    labels.flat[missed[: geometry.voxels(volume)]] = 1
    return labels


def invent_tumour(geometry: Geometry, volume: float) -> ndarray:
    """Call a ball of about ``volume`` ml tumour, in the background as far as possible from kidney and border."""
    labels = geometry.segmentation.copy()
    padded = np.pad(labels == 0, 1)
    away = distance_transform_edt(padded, geometry.spacing)[1:-1, 1:-1, 1:-1]
    elsewhere = np.ones(labels.shape, bool)
    elsewhere.flat[away.argmax()] = False
    distance = distance_transform_edt(elsewhere, geometry.spacing)
    distance[labels > 0] = np.inf
    ball = np.argsort(distance, axis=None, kind="stable")
    labels.flat[ball[: geometry.voxels(volume)]] = 2
    return labels


class ErrorPath(NamedTuple):
    """A kind of error: ``make`` takes a geometry and an amount in ``unit``, up to ``most``, else the tumour's ml."""

    make: Callable[[Geometry, float], ndarray]
    unit: str
    most: float | None = None

    def amounts(self, geometry: Geometry, steps: int) -> ndarray:
        return np.linspace(0, self.most or geometry.tumour_ml, steps)


PATHS = {
    "erosion": ErrorPath(erode, "mm", 16.0),
    "dilation": ErrorPath(dilate, "mm", 16.0),
    "missed tumour": ErrorPath(miss_tumour, "ml"),
    "false tumour": ErrorPath(invent_tumour, "ml"),
}


def soft_logits(labels: ndarray, spacing: Sequence[float]) -> Tensor:
    """Return logits [1, 3, D, H, W]: signed distance to a class's border over SOFTNESS, cut to +-MOST."""
    logits = np.full((3, *labels.shape), -MOST, np.float32)
    logits[0] = MOST
    reach = np.ceil(SOFTNESS * MOST / np.asarray(spacing)).astype(int) + 1  # beyond it no logit changes
    for sides in find_objects((labels > 0).astype(int)):
        near = tuple(slice(max(0, side.start - pad), side.stop + pad) for side, pad in zip(sides, reach))
        for label in np.unique(labels[near]):
            inside = labels[near] == label
            signed = distance_transform_edt(inside, spacing) - distance_transform_edt(~inside, spacing)
            logits[label][near] = np.clip(signed / SOFTNESS, -MOST, MOST)
    return torch.from_numpy(logits)[None]


def predict_errors(geometry: Geometry, steps: int) -> dict[str, dict[float, Tensor]]:
    """Return ``soft_logits`` of every path, by amount, in so many ``steps``."""
    logits = {}
    for name, path in PATHS.items():
        logits[name] = {}
        for amount in path.amounts(geometry, steps):
            labels = path.make(geometry, amount)
            logits[name][amount] = soft_logits(labels, geometry.spacing)
    return logits
