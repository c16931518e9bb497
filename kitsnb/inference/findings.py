"""What a prediction holds, as a doctor would check it: pieces, their side, volumes and HU, and what no patient has.

Places are told from the middle of the body, which is found in the CT itself, so that any field of view will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from kitsnb.data.nifti import spacing_of, voxel_ml
from kitsnb.metric.labels import foreground_box

#: Where the centre of a kidney lies, as shares of half the body from its middle: sideways at most, from front to back.
SIDEWAYS, BEHIND = 0.7, (-0.25, 0.85)
#: Ml of two kidneys, at most; those of healthy adults have 310 (women) to 400 (men) on average (Cheong et al. 2007).
MOST_ML = 600.0
#: Mean HU of a kidney, from unenhanced to the arterial phase; below lies fat, above bone.
KIDNEY_HU = (5.0, 300.0)
#: Ml of a piece, at least, that could be taken for a kidney; below, it is a speck.
KIDNEY_ML, SPECK_ML = 20.0, 1.0


@dataclass(frozen=True)
class Body:
    """A body on the working grid (axes IPL): the grid's affine, and along height and width the body's middle (voxels)
    and half its extent (mm)."""

    affine: np.ndarray
    middle: tuple[float, float]
    half: tuple[float, float]

    def place(self, world: ArrayLike) -> tuple[float, float]:
        """How far ``world`` (mm, RAS) lies behind the middle of the body, and to the right of it, in mm."""
        _, high, wide = (np.linalg.inv(self.affine) @ [*world, 1])[:3]
        _, height, width = spacing_of(self.affine)
        return (high - self.middle[0]) * height, (self.middle[1] - wide) * width


def find_body(grid: np.ndarray, affine: np.ndarray) -> Body:
    """The body in a volume [D, H, W] on the working grid: what is denser than the window's lower end, air or fat."""
    low, high = float(grid.min()), float(grid.max())
    dense, spacing = grid > low + 0.05 * (high - low), spacing_of(affine)
    ends = [np.interp([0.03, 0.5, 0.97], share / share[-1], np.arange(len(share)))
            for share in (dense.sum((0, 2)).cumsum(), dense.sum((0, 1)).cumsum())]
    (top, middle, bottom), (left, centre, right) = ends
    return Body(affine, (middle, centre), ((bottom - top) / 2 * spacing[1], (right - left) / 2 * spacing[2]))


@dataclass(frozen=True)
class Piece:
    """A piece of kidney and tumour: its number, ml and mean HU (NaN where there is none) of both, and where its centre
    lies, in mm behind the middle of the body and to the right of it. ``away``: where no kidney lies.
    """

    number: int
    kidney_ml: float
    tumour_ml: float
    kidney_hu: float
    tumour_hu: float
    behind: float
    right: float
    away: bool

    @property
    def ml(self) -> float:
        return self.kidney_ml + self.tumour_ml

    @property
    def side(self) -> str:
        return "right" if self.right > 0 else "left"

    def __str__(self) -> str:
        parts = [f"{name} {ml:.1f} ml ({hu:.0f} HU)" for name, ml, hu in (
            ("kidney", self.kidney_ml, self.kidney_hu), ("tumour", self.tumour_ml, self.tumour_hu)) if ml]
        return f"{self.side} {' with '.join(parts)}"


def find_pieces(
    labels: np.ndarray, imaging: np.ndarray, affine: np.ndarray, body: Body
) -> tuple[list[Piece], np.ndarray]:
    """The pieces of ``labels`` (3D, any orientation), the largest first, and the piece of each voxel in their box.

    Kidney and tumour count as one foreground, voxels that touch by a corner (26 neighbours) as one piece, so that a
    kidney and its tumour stay together. ``imaging`` (HU) and ``labels`` lie alike.
    """
    box, unit = foreground_box(labels), voxel_ml(affine)
    if not labels[box].size:
        return [], np.zeros((0, 0, 0), np.uint32)
    found = labels[box] > 0
    numbers, count = ndimage.label(found, np.ones((3, 3, 3)))
    centres = np.array(ndimage.center_of_mass(found, numbers, range(1, count + 1))) + [part.start for part in box]
    places = np.nonzero(numbers)
    number, label, hu = numbers[places], labels[box][places], imaging[box][places].astype(float)
    voxels = [np.bincount(number, label == kind, count + 1) for kind in (1, 2)]
    with np.errstate(invalid="ignore"):  # no voxel, no mean
        means = [np.bincount(number, np.where(label == kind, hu, 0), count + 1) / voxels[kind - 1] for kind in (1, 2)]
    pieces = []
    for n, centre in enumerate(centres, 1):
        behind, right = body.place((affine @ [*centre, 1])[:3])
        deep, wide = behind / max(body.half[0], 1.0), right / max(body.half[1], 1.0)
        away = abs(wide) > SIDEWAYS or not BEHIND[0] <= deep <= BEHIND[1]
        pieces.append(Piece(n, voxels[0][n] * unit, voxels[1][n] * unit, means[0][n], means[1][n], behind, right, away))
    return sorted(pieces, key=lambda piece: -piece.ml), numbers


def chosen(pieces: Sequence[Piece], keep: int) -> list[Piece]:
    """The ``keep`` largest of ``pieces`` that lie where kidneys do; of all, where none does. ValueError below 1."""
    if keep < 1:
        raise ValueError(f"keep at least one piece, not {keep}")
    return sorted([piece for piece in pieces if not piece.away] or pieces, key=lambda piece: -piece.ml)[:keep]


def kept_only(labels: np.ndarray, numbers: np.ndarray, pieces: Sequence[Piece]) -> np.ndarray:
    """``labels``, whose pieces have these ``numbers``, with ``pieces`` alone; all else becomes background."""
    result, box = np.zeros_like(labels), foreground_box(labels)
    np.copyto(result[box], labels[box], where=np.isin(numbers, [piece.number for piece in pieces]))
    return result


def description(pieces: Sequence[Piece]) -> str:
    """``pieces`` in one line, specks together."""
    shown = [str(piece) for piece in pieces if piece.ml >= SPECK_ML]
    if specks := [piece.ml for piece in pieces if piece.ml < SPECK_ML]:
        shown.append(f"{len(specks)} below {SPECK_ML:.0f} ml, {sum(specks):.1f} ml together")
    return "; ".join(shown) or "no kidney and no tumour"


def doubts(pieces: Sequence[Piece]) -> list[str]:
    """What a doctor would not believe of ``pieces``."""
    large = [piece for piece in pieces if piece.ml >= KIDNEY_ML]
    kidney, tumour = sum(piece.kidney_ml for piece in pieces), sum(piece.tumour_ml for piece in pieces)
    found = [f"{len(large)} pieces of {KIDNEY_ML:.0f} ml or more: a patient has two kidneys"] if len(large) > 2 else []
    if kidney > MOST_ML and not tumour:
        found.append(f"{kidney:.0f} ml of kidney without a tumour: {MOST_ML:.0f} ml would be much")
    for piece in large:
        if not KIDNEY_HU[0] <= piece.kidney_hu <= KIDNEY_HU[1] and piece.kidney_ml >= KIDNEY_ML:
            found.append(f"{piece.kidney_ml:.1f} ml of kidney on the {piece.side} have {piece.kidney_hu:.0f} HU, as no "
                         "kidney has")
    for piece in pieces:
        if piece.away and piece.ml >= SPECK_ML:
            depth = f"{abs(piece.behind):.0f} mm {'behind' if piece.behind > 0 else 'in front of'} it"
            found.append(f"{piece.ml:.1f} ml lie {abs(piece.right):.0f} mm {piece.side} of the body's middle and "
                         f"{depth}, where no kidney lies")
    return found
