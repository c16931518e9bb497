"""Distances between the surfaces of prediction and reference in mm: HD95 and normalized surface Dice of each region.

Both are the definitions of Nikolov et al. (2021, doi:10.2196/26151), by their package surface-distance: a surface
consists of elements between 2 x 2 x 2 voxels that are not all inside or all outside, and elements count by their area
in mm2, so that thick slices weigh neither more nor less than thin ones. Outside the volume is background.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kitsnb.metric.labels import foreground

#: Regions of the challenge's score, each with its smallest label. Kidney alone is none: its border with the tumour is
#: no surface of an organ.
REGIONS = {"kidney_and_tumour": 1, "tumour": 2}
#: Tolerances in mm of the challenge's next edition (KiTS21, ``HEC_SD_TOLERANCES_MM`` of its evaluation code): how far
#: its annotators were apart.
TOLERANCES_MM = {"kidney_and_tumour": 1.0330772532390826, "tumour": 1.1498198361434828}
#: Share of the product of its sides that a voxel's volume must be to count as a box; less is a sheared grid.
RECTANGULAR = 1 - 1e-6


def surface_scores(prediction: ArrayLike, reference: ArrayLike, spacing: Sequence[float]) -> dict[str, float]:
    """Compute ``hd95_*`` (mm) and ``nsd_*`` (0 to 1) of ``REGIONS`` in two label arrays [D, H, W], ``spacing`` in mm.

    ``hd95``: the larger of the two directed 95th percentiles, each the distance within which 95 % of one surface's
    area lies of the other surface. NaN, undefined, when the region is empty in either array. ``nsd``: the share of
    both surfaces' area that lies within the region's tolerance of the other surface. 0 when the region is empty in
    one array, NaN, undefined, when it is empty in both. Raises ValueError as ``foreground`` does, for shapes that are
    not 3D, and for a spacing that is not three positive numbers.
    """
    from surface_distance import metrics

    predicted, actual = foreground(prediction, reference)
    if actual.ndim != 3:
        raise ValueError(f"prediction and reference must be 3D, got {actual.ndim} dimensions")
    spacing = np.asarray(spacing, float)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"spacing must be three positive numbers of mm, got {spacing.tolist()}")
    scores = {}
    for region, smallest in REGIONS.items():
        masks = (actual >= smallest, predicted >= smallest)
        present = sum(mask.any() for mask in masks)
        if present == 2:
            distances = metrics.compute_surface_distances(*masks, spacing)
            hd95 = float(metrics.compute_robust_hausdorff(distances, 95))
            nsd = float(metrics.compute_surface_dice_at_tolerance(distances, TOLERANCES_MM[region]))
        else:
            hd95 = float("nan")
            nsd = 0.0 if present else float("nan")
        scores[f"hd95_{region}"] = hd95
        scores[f"nsd_{region}"] = nsd
    return scores
