"""Where the variance of a score comes from, and how small a difference a design of cases and seeds can show.

score = mean + loss + seed + case + loss x seed + loss x case + seed x case + rest, all but the mean random.
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import norm

from kitsnb.study import statistics
from kitsnb.study.statistics import LEVEL, PERCENTILES

POWER = 0.8
#: Axes of a cube [losses, seeds, cases] along which the part of a score from each source varies.
SOURCES = {"loss": (0,), "seed": (1,), "case": (2,), "loss_seed": (0, 1), "loss_case": (0, 2), "seed_case": (1, 2),
           "rest": (0, 1, 2)}


def variance_components(grids: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Estimate for each of ``SOURCES``: ``variance``, 95 % ``low`` and ``high``, ``share`` of the sum.

    Estimates solve the expected mean squares of the analysis of variance; intervals are generalized ones (Weerahandi
    1995); both are cut at zero. What cannot be told apart is left out: with one seed, "loss" holds its part, too. Takes
    the cases that all grids define under every seed: with folds there is none, so nothing.
    """
    cube = np.stack(list(grids.values()))
    cube = cube[..., ~np.isnan(cube).any((0, 1))]
    known = {}  # axes of the sources that vary here
    for name, axes in SOURCES.items():
        if cube.size and all(cube.shape[axis] > 1 for axis in axes):
            known[name] = axes
    if not known:
        return {}
    freedom = [math.prod(cube.shape[axis] - 1 for axis in axes) for axes in known.values()]
    sums = np.array([_sum_of_squares(cube, axes) for axes in known.values()])
    solve = np.linalg.inv([[_weight(cube.shape, row, column) for column in known.values()] for row in known.values()])
    variances = np.maximum(0, solve @ (sums / freedom))
    drawn = sums / np.random.default_rng(0).chisquare(freedom, (statistics.RESAMPLES, len(known)))
    low, high = np.percentile(np.maximum(0, drawn @ solve.T), PERCENTILES, axis=0)
    shares = variances / (variances.sum() or math.nan)
    found = pd.DataFrame({"variance": variances, "low": low, "high": high, "share": shares}, index=list(known))
    return found.to_dict("index")


def _sum_of_squares(cube: np.ndarray, axes: tuple[int, ...]) -> float:
    """Return the sum of squares of the effect that varies along ``axes``."""
    total = 0.0
    for size in range(len(axes) + 1):
        for kept in itertools.combinations(axes, size):
            means = cube.mean(axis=tuple({0, 1, 2} - set(kept)))
            total += (-1) ** (len(axes) - size) * (means**2).mean()
    return cube.size * total


def _weight(shape: tuple[int, ...], row: tuple[int, ...], column: tuple[int, ...]) -> int:
    """Return how often the variance of source ``column`` is in the expected mean square of source ``row``."""
    if not set(row) <= set(column):
        return 0
    return math.prod(size for axis, size in enumerate(shape) if axis not in column)


def smallest_difference(components: Mapping, cases: int, seeds: int, paired: bool = True) -> float:
    """Return the smallest true difference of two losses shown with power .8 (two-sided, 5 %); NaN where unknown.

    ``components`` are those of ``variance_components``, taken as known; unpaired losses have seeds of their own. Where
    they come from one seed, what seeds add is missing, so more than what is returned is needed.
    """
    if "loss_case" not in components:
        return math.nan
    found = dict.fromkeys(SOURCES, 0.0)
    for name, part in components.items():
        found[name] = part["variance"]
    by_seed = found["loss_seed"]
    rest = found["rest"]
    if not paired:
        by_seed += found["seed"]
        rest += found["seed_case"]
    variance = by_seed / seeds + found["loss_case"] / cases + rest / (cases * seeds)
    if not variance:  # as where no network found anything: such scores say nothing of others
        return math.nan
    return float((norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER)) * math.sqrt(2 * variance))
