"""Losses probed on controlled errors: value and gradient on predictions that are wrong in a known way, no training.

Arrays are label maps [D, H, W]: 0 background, 1 kidney, 2 tumour; lengths are in mm. ``gradient`` always means
dL/dlogits, what a network gets to see; its size is the sum of magnitudes.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import distance_transform_edt, find_objects
from torch import Tensor, nn

from kitsnb.data.cases import Case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import CaseError, spacing_of
from kitsnb.losses import build_loss
from kitsnb.preprocessing.resampling import grid_size, reorient, resize_labels
from kitsnb.simulation.phantom import simulate_case

CLASSES = ("background", "kidney", "tumour")
#: Margin of the true class's logit over the others, by stage of an imagined training.
STAGES = {"untrained": 0.0, "half-trained": 4.0, "trained": 8.0}


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
    def shares_percent(self) -> dict[str, float]:
        """Share of each class in the patch's voxels."""
        return {name: float(100 * (self.segmentation == label).mean()) for label, name in enumerate(CLASSES)}

    @property
    def target(self) -> Tensor:
        """Labels [1, D, H, W] as losses take them."""
        return torch.from_numpy(self.segmentation.astype(np.int64))[None]

    def __str__(self) -> str:
        return f"{self.name.replace('_', ' ')}, {'simulated anatomy' if self.simulated else 'KiTS19 label'}"


def real_geometry(
    case: Case, spacing: Sequence[float], extent: Sequence[float], accept: Accept | None = None
) -> Geometry:
    """The label of a KiTS19 case at ``spacing`` (slice, height, width), cropped to ``extent`` mm around its tumour.

    Raises ``CaseError`` for a label that cannot be read or holds no tumour.
    """
    _, segmentation, affine = read_case(case, imaging=False, accept=accept)
    if not (segmentation == 2).any():
        raise CaseError(case.name, "segmentation.nii.gz", "holds no tumour", "name another case")
    segmentation, affine = reorient(segmentation, affine)
    size = grid_size(segmentation.shape, spacing_of(affine), spacing)
    used = spacing_of(affine) * segmentation.shape / size
    labels = resize_labels(segmentation, size).numpy()
    return Geometry(case.name, crop(labels, used, extent), used, simulated=False)


def phantom_geometry(seed: int, number: int, extent: Sequence[float]) -> Geometry:
    """The label of phantom ``number`` of ``seed`` on its own grid, cropped to ``extent`` mm around its tumour."""
    phantom = simulate_case(seed, number)
    segmentation, affine = reorient(phantom.segmentation, phantom.affine)
    spacing = spacing_of(affine)
    return Geometry(f"phantom {number}", crop(segmentation, spacing, extent), spacing, simulated=True)


def crop(segmentation: np.ndarray, spacing: Sequence[float], extent: Sequence[float]) -> np.ndarray:
    """A box of ``extent`` mm (or the whole axis, where that is shorter) around the centre of the tumour."""
    box = []
    for middle, size, step, length in zip(np.argwhere(segmentation == 2).mean(0), segmentation.shape, spacing, extent):
        width = min(size, max(1, round(length / step)))
        first = int(np.clip(round(middle - width / 2), 0, size - width))
        box.append(slice(first, first + width))
    return np.ascontiguousarray(segmentation[tuple(box)])


# ---- errors ----------------------------------------------------------------------------------------------------------


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
    missed = np.argwhere(labels == 2)[::-1][: round(volume / geometry.voxel_ml)]
    labels[tuple(missed.T)] = 1
    return labels


def invent_tumour(geometry: Geometry, volume: float) -> np.ndarray:
    """A ball of about ``volume`` ml called tumour, in the background as far as possible from kidney and border."""
    labels = geometry.segmentation.copy()
    away = distance_transform_edt(np.pad(labels == 0, 1), geometry.spacing)[1:-1, 1:-1, 1:-1]
    centre = np.unravel_index(away.argmax(), away.shape)
    grid = np.ogrid[tuple(slice(size) for size in labels.shape)]
    distance = sum(((axis - middle) * step) ** 2 for axis, middle, step in zip(grid, centre, geometry.spacing))
    ball = np.argsort(np.where(labels == 0, distance, np.inf), axis=None, kind="stable")
    labels.ravel()[ball[: round(volume / geometry.voxel_ml)]] = 2
    return labels


@dataclass(frozen=True)
class ErrorPath:
    """A kind of error; ``make`` takes a geometry and an amount in ``unit``, from 0 (none) to ``most(geometry)``."""

    make: Callable[[Geometry, float], np.ndarray]
    unit: str
    most: Callable[[Geometry], float]

    def amounts(self, geometry: Geometry, steps: int) -> np.ndarray:
        return np.linspace(0, self.most(geometry), steps)


PATHS = {
    "erosion": ErrorPath(erode, "mm", lambda _: 16.0),
    "dilation": ErrorPath(dilate, "mm", lambda _: 16.0),
    "shift": ErrorPath(shift, "mm", lambda _: 32.0),
    "missed tumour": ErrorPath(miss_tumour, "ml", lambda geometry: geometry.tumour_ml),
    "false tumour": ErrorPath(invent_tumour, "ml", lambda geometry: geometry.tumour_ml),
}


def soft_logits(labels: np.ndarray, spacing: Sequence[float], softness: float = 2.0, most: float = 5.0) -> Tensor:
    """Logits [1, 3, D, H, W] of a prediction that is unsure at borders and sure elsewhere.

    Of each class: the signed distance to its border in units of ``softness`` mm, positive inside, cut to +-``most``. A
    class without a voxel has -``most`` everywhere.
    """
    logits = np.full((len(CLASSES), *labels.shape), -most, np.float32)
    logits[0] = most
    reach = np.ceil(softness * most / np.asarray(spacing, float)).astype(int) + 1
    if found := find_objects((labels > 0).astype(np.uint8)):
        # Farther from the foreground than this no logit changes, and a distance transform costs by the voxel.
        near = tuple(slice(max(0, side.start - pad), side.stop + pad) for side, pad in zip(found[0], reach))
        for label in range(len(CLASSES)):
            inside = labels[near] == label
            if inside.any() and not inside.all():
                signed = distance_transform_edt(inside, spacing) - distance_transform_edt(~inside, spacing)
                logits[label][near] = np.clip(signed / softness, -most, most)
            else:
                logits[label][near] = most if inside.all() else -most
    return torch.from_numpy(logits)[None]


# ---- what losses make of them ----------------------------------------------------------------------------------------


def build_losses(rows: Sequence[Mapping]) -> dict[str, nn.Module]:
    """The losses of rows of Table 1 (``name``, ``loss``, ``parameters``), by name."""
    return {row["name"]: build_loss(row["loss"], **row.get("parameters") or {}) for row in rows}


def value_and_gradient(loss: nn.Module, logits: Tensor, target: Tensor) -> tuple[float, Tensor]:
    logits = logits.detach().requires_grad_()
    value = loss(logits, target)
    return float(value.detach()), torch.autograd.grad(value, logits)[0]


def measure(loss: nn.Module, logits: Tensor, target: Tensor) -> dict[str, float]:
    """``value`` of the loss, size of its ``gradient``, and the share of that size on voxels of each of ``CLASSES``."""
    value, gradient = value_and_gradient(loss, logits, target)
    size = gradient.double().abs().sum(1)
    on = torch.bincount(target.flatten(), size.flatten(), len(CLASSES))
    total = float(on.sum())
    shares = {name: float(part) / total if total else np.nan for name, part in zip(CLASSES, on)}
    return {"value": value, "gradient": total, **shares}


def along_paths(losses: Mapping[str, nn.Module], geometry: Geometry, steps: int = 7) -> pd.DataFrame:
    """Every loss on every error path: ``path``, ``amount``, ``unit``, ``loss``, what ``measure`` finds, ``relative``.

    ``relative`` is the value over that of a prediction which finds nothing, so that losses of different scale compare.
    Errors are measured beside each other, one a core.
    """
    target = geometry.target
    nothing = soft_logits(np.zeros_like(geometry.segmentation), geometry.spacing)
    lost = {name: float(loss(nothing, target)) for name, loss in losses.items()}

    def at(error: tuple[str, float]) -> list[dict]:
        name, amount = error
        logits = soft_logits(PATHS[name].make(geometry, amount), geometry.spacing)
        rows = []
        for key, loss in losses.items():
            found = measure(loss, logits, target)
            rows.append({"path": name, "amount": amount, "unit": PATHS[name].unit, "loss": key, **found,
                         "relative": found["value"] / lost[key]})
        return rows

    errors = [(name, amount) for name, path in PATHS.items() for amount in path.amounts(geometry, steps)]
    with ThreadPoolExecutor(os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()) as pool:
        return pd.DataFrame([row for rows in pool.map(at, errors) for row in rows])


def price_of_missing(table: pd.DataFrame) -> pd.Series:
    """By loss: what the first step of missed tumour costs over what as much false tumour does, from ``along_paths``."""
    costs = {}
    for path in ("missed tumour", "false tumour"):
        steps = table[table.path == path].pivot(index="amount", columns="loss", values="value")
        costs[path] = steps.iloc[1] - steps.iloc[0]
    return costs["missed tumour"] / costs["false tumour"]


def mixture(shares: Sequence[float], margin: float, voxels: int = 256 * 1024, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits [1, 3, 1, ``voxels``] and labels of independent voxels, the classes in ``shares`` (which sum to 1).

    Logits are standard normal; that of the true class is higher by ``margin``. Each class has a voxel at least.
    """
    counts = np.maximum(1, np.round(np.asarray(shares) * voxels).astype(int))
    counts[0] += voxels - counts.sum()
    target = torch.from_numpy(np.repeat(np.arange(len(CLASSES)), counts)).view(1, 1, voxels)
    logits = torch.randn(1, len(CLASSES), 1, voxels, generator=torch.Generator().manual_seed(seed))
    return logits.scatter_add(1, target[:, None], torch.full((1, 1, 1, voxels), float(margin))), target


def gradient_shares(losses: Mapping[str, nn.Module], shares: Sequence[float]) -> pd.DataFrame:
    """``measure`` of every loss on ``mixture`` at every stage: columns ``stage``, ``loss`` and those of ``measure``."""
    mixed = {stage: mixture(shares, margin) for stage, margin in STAGES.items()}
    return pd.DataFrame([{"stage": stage, "loss": name, **measure(loss, *drawn)}
                         for stage, drawn in mixed.items() for name, loss in losses.items()])


def without_tumour(losses: Mapping[str, nn.Module], geometry: Geometry, false_ml: float) -> pd.DataFrame:
    """What a patch without tumour costs when nothing is wrong and with ``false_ml`` of false tumour, by loss.

    ``clean`` and ``false`` are values, ``push`` the gradient's size on the invented voxels; ``pooled`` is the same push
    where the batch also holds the patch with its tumour, for losses that pool the batch.
    """
    bare = replace(geometry, segmentation=np.where(geometry.segmentation == 2, 1, geometry.segmentation))
    invented = invent_tumour(bare, false_ml)
    mask, target, both = torch.from_numpy(invented == 2), bare.target, torch.cat([bare.target, geometry.target])
    clean, wrong, other = (soft_logits(labels, geometry.spacing)
                           for labels in (bare.segmentation, invented, geometry.segmentation))
    rows = {}
    for name, loss in losses.items():
        rows[name] = {"clean": float(loss(clean, target)), "false": float(loss(wrong, target))}
        for column, logits, labels in (("push", wrong, target), ("pooled", torch.cat([wrong, other]), both)):
            gradient = value_and_gradient(loss, logits, labels)[1]
            rows[name][column] = float(gradient[0, :, mask].abs().sum())
    return pd.DataFrame.from_dict(rows, orient="index")
