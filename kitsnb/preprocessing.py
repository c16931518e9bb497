"""From native geometry to the working grid, and back.

Forward: axes to (slice, height, width) by the affine, optional resize in-plane, clip, resample, z-score. Everything is a
function on a ``torchio.Subject``, so any torchio transform can be put between. Backward: class probabilities on the
working grid to labels in native geometry, interpolated before argmax (resampling labels instead costs up to 0.05 Dice).
"""

import json
import shutil
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel.orientations as orientations
import numpy as np
import torch
import torch.nn.functional as F
import torchio as tio
from torch import Tensor

from kitsnb.cases import Case
from kitsnb.checks import load_subject
from kitsnb.metric import kits19_score
from kitsnb.nifti import CaseError, orientation_of, spacing_of, write_nifti

#: Axes of the working grid: (slice, height, width) as KiTS19 stores them, pointing inferior, posterior, left.
ORIENTATION = "IPL"


@dataclass(frozen=True)
class Preprocessing:
    """Settings of the forward way; the defaults are the paper's (section 4.2)."""

    spacing: Sequence[float] = (3.22, 1.62, 1.62)  # mm: slice, height, width
    clip: Sequence[float] = (-79.0, 304.0)  # HU
    resize_in_plane: Sequence[int] | None = (256, 256)  # pixels, before resampling; None: go there directly

    def __post_init__(self):
        if len(self.spacing) != 3 or min(self.spacing) <= 0:
            raise ValueError(f"spacing must be three positive numbers in mm (slice, height, width), got {self.spacing}")
        if len(self.clip) != 2 or self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip must be [low, high] in HU, got {self.clip}")


def reorient(array: np.ndarray, affine: np.ndarray, wanted: str = ORIENTATION) -> tuple[np.ndarray, np.ndarray]:
    """``array`` (3D) with its axes permuted and flipped to point along ``wanted``, and the affine that belongs to it."""
    change = orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt(wanted))
    return orientations.apply_orientation(array, change), affine @ orientations.inv_ornt_aff(change, array.shape)


def grid_size(shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> tuple[int, ...]:
    """Voxels an axis (at least one) that cover the same extent at about the ``wanted`` spacing."""
    return tuple(max(1, round(n * s / w)) for n, s, w in zip(shape, spacing, wanted))


def resize(volume: Tensor, size: Sequence[int], *, labels: bool = False) -> Tensor:
    """[C, D, H, W] resampled to ``size`` over the same extent: linear, or nearest for ``labels``; the dtype is kept."""
    if tuple(volume.shape[1:]) == tuple(size):
        return volume
    if labels:
        return F.interpolate(volume[None], tuple(size), mode="nearest-exact")[0]
    return F.interpolate(volume[None].float(), tuple(size), mode="trilinear", align_corners=False)[0]


def resized_affine(affine: np.ndarray, old: Sequence[int], new: Sequence[int]) -> np.ndarray:
    """Affine after ``resize``: the outer faces of the volume stay where they are in the world."""
    ratio = np.asarray(old, float) / np.asarray(new, float)
    result = affine.copy()
    result[:3, :3] = affine[:3, :3] * ratio
    result[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((ratio - 1) / 2)
    return result


def preprocess(subject: tio.Subject, settings: Preprocessing) -> tio.Subject:
    """The subject on the working grid: ``imaging`` float32 z-scored after clipping, ``segmentation`` uint8, if it has one."""
    images = {}
    for name, image in subject.get_images_dict(intensity_only=False).items():
        array, affine = reorient(image.numpy()[0], image.affine)
        labels = isinstance(image, tio.LabelMap)
        volume = torch.from_numpy(np.ascontiguousarray(array))[None]
        if not labels:
            volume = volume.float().clamp(*settings.clip)
        sizes = [(volume.shape[1], *settings.resize_in_plane)] if settings.resize_in_plane else []
        sizes.append(grid_size(volume.shape[1:], spacing_of(affine), settings.spacing))
        for size in sizes:
            affine = resized_affine(affine, volume.shape[1:], size)
            volume = resize(volume, size, labels=labels)
        images[name] = (tio.LabelMap if labels else tio.ScalarImage)(tensor=volume, affine=affine)
    prepared = tio.Subject(**images, name=subject["name"])
    imaging = prepared["imaging"].data
    if not float(imaging.max()) > float(imaging.min()):
        raise CaseError(subject["name"], "imaging.nii.gz", f"all voxels are {float(imaging.min()):g} HU after clipping to "
                        f"{list(settings.clip)}", "check that the values are Hounsfield units")
    prepared["imaging"].set_data((imaging - imaging.mean()) / imaging.std())
    return prepared


def to_native(probabilities: Tensor, native_shape: Sequence[int], native_affine: np.ndarray) -> np.ndarray:
    """Labels (uint8, ``native_shape``) from class probabilities [C, *working grid].

    Linear interpolation of the probabilities, then argmax, one slab of slices after the other, so that memory stays
    bounded on volumes of a thousand slices; then the axes go back to the file's own order and direction.
    """
    start = orientations.io_orientation(native_affine)
    change = orientations.ornt_transform(start, orientations.axcodes2ornt(ORIENTATION))
    axes = np.argsort(change[:, 0])
    depth, *in_plane = (native_shape[axis] for axis in axes)
    labels = np.empty((depth, *in_plane), np.uint8)
    grid_depth = probabilities.shape[1]
    position = ((torch.arange(depth) + 0.5) * grid_depth / depth - 0.5).clamp(0, grid_depth - 1)
    low = position.long()
    high, weight = (low + 1).clamp(max=grid_depth - 1), position - low
    for slab in torch.arange(depth).split(16):
        below, above, w = low[slab], high[slab], weight[slab, None, None].to(probabilities)
        mixed = probabilities[:, below] * (1 - w) + probabilities[:, above] * w
        full = F.interpolate(mixed, tuple(in_plane), mode="bilinear", align_corners=False)
        labels[slab.numpy()] = full.argmax(0).byte().cpu().numpy()
    back = orientations.ornt_transform(orientations.axcodes2ornt(ORIENTATION), start)
    return np.ascontiguousarray(orientations.apply_orientation(labels, back))


def one_hot(labels: Tensor, classes: int = 3) -> Tensor:
    """[1, D, H, W] labels as float [classes, D, H, W]."""
    return F.one_hot(labels[0].long(), classes).movedim(-1, 0).float()


def grid_ceiling(native: np.ndarray, affine: np.ndarray, prepared: tio.Subject) -> dict[str, float]:
    """Best score that a perfect network could reach on this grid: the working grid's own labels, brought back."""
    return kits19_score(to_native(one_hot(prepared["segmentation"].data), native.shape, affine), native)


def preprocess_cases(cases: Iterable[Case], folder: Path, settings: Preprocessing) -> dict:
    """Write every case on the working grid below ``folder``, in KiTS19's folder format, and ``report.json``.

    A case that cannot be used is refused by name, with the reason, and the others go on. Returns the report.
    """
    cases = list(cases)
    rows, refused = {}, {}
    for case in cases:
        try:
            rows[case.name] = _write_case(case, folder / case.name, settings)
        except CaseError as error:
            warnings.warn(f"refused: {error}", stacklevel=2)
            refused[case.name] = f"{error.file}: {error.reason}; {error.advice}"
    for stale in folder.glob("case_*"):
        if stale.name not in rows:
            shutil.rmtree(stale)
    report = {
        "settings": asdict(settings),
        "spacing": list(settings.spacing),
        "source": str(cases[0].folder.parent) if cases else None,
        "cases": len(rows),
        "refused": refused,
        "rows": rows,
        "ceiling": {score: float(np.nanmean([row["ceiling"][score] for row in rows.values()]))
                    for score in ("kidney_and_tumour", "kidney", "tumour")} if rows else {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    return report


def _write_case(case: Case, folder: Path, settings: Preprocessing) -> dict:
    subject = load_subject(case)
    prepared = preprocess(subject, settings)
    imaging, segmentation = prepared["imaging"], prepared["segmentation"]
    write_nifti(folder / "imaging.nii.gz", imaging.numpy()[0], imaging.affine)
    write_nifti(folder / "segmentation.nii.gz", segmentation.numpy()[0], segmentation.affine)
    native = subject["segmentation"]
    return {
        "orientation": orientation_of(native.affine),
        "native_shape": list(native.spatial_shape),
        "native_spacing": spacing_of(native.affine).round(4).tolist(),
        "shape": list(imaging.spatial_shape),
        "ceiling": grid_ceiling(native.numpy()[0], native.affine, prepared),
    }
