"""Where the variance of a score comes from, and how small a difference a design of cases and seeds can show.

The model is score = mean + loss + seed + case + loss x seed + loss x case + seed x case + rest, all but the mean
random. In an unpaired design seeds belong to their loss: "seed" then holds loss x seed, and "rest" seed x case.
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np
from scipy.stats import norm

from kitsnb.study import statistics
from kitsnb.study.statistics import LEVEL

POWER = 0.8
#: Axes of a cube [losses, seeds, cases] along which the part of a score from each source varies.
PAIRED = {"loss": (0,), "seed": (1,), "case": (2,), "loss_seed": (0, 1), "loss_case": (0, 2), "seed_case": (1, 2),
          "rest": (0, 1, 2)}
UNPAIRED = {"loss": (0,), "seed": (0, 1), "case": (2,), "loss_case": (0, 2), "rest": (0, 1, 2)}


def variance_components(grids: Mapping[str, np.ndarray], paired: bool = True) -> dict[str, dict[str, float]]:
    """Estimate for each source of ``PAIRED`` or ``UNPAIRED``: ``variance``, 95 % ``low`` and ``high``, ``share``.

    Estimates solve the expected mean squares of the analysis of variance; intervals are generalized ones (Weerahandi
    1995); both are cut at zero; ``share`` is of the sum. What cannot be told apart is left out: with one seed, "loss"
    holds its part, too. Takes the cases that all grids define under every seed; where there is none, as with folds,
    seeds are averaged and count as one.
    """
    cube = _complete_cube(grids)
    if not cube.size:
        return {}
    sources = PAIRED if paired else UNPAIRED
    squares = {name: _sum_of_squares(cube, name, sources[name], paired) for name in sources}
    known = [name for name, (_, freedom) in squares.items() if freedom > 0]
    if not known:
        return {}
    expected = [[_expected(cube.shape, sources[row], sources[column]) for column in known] for row in known]
    solve = np.linalg.inv(expected)
    sums, freedom = np.array([squares[name] for name in known]).T
    variances = np.maximum(0, solve @ (sums / freedom))
    drawn = sums / np.random.default_rng(0).chisquare(freedom, (statistics.RESAMPLES, len(known)))
    low, high = np.percentile(np.maximum(0, drawn @ solve.T), [50 * LEVEL, 100 - 50 * LEVEL], axis=0)
    shares = variances / (variances.sum() or math.nan)
    columns = {"variance": variances, "low": low, "high": high, "share": shares}
    return {name: {key: float(values[at]) for key, values in columns.items()} for at, name in enumerate(known)}


def _complete_cube(grids: Mapping[str, np.ndarray]) -> np.ndarray:
    """Stack grids to [losses, seeds, cases] without NaN: the seeds of the grid with fewest, the cases that all have."""
    seeds = min(map(len, grids.values()))
    cube = np.stack([grid[:seeds] for grid in grids.values()])
    complete = ~np.isnan(cube).any((0, 1))
    if not complete.any():
        held_out = ~np.isnan(cube).all(1).any(0)
        cube = np.nanmean(cube[..., held_out], axis=1, keepdims=True)
        complete = ~np.isnan(cube).any((0, 1))
    return cube[..., complete]


def _sum_of_squares(cube: np.ndarray, name: str, axes: tuple[int, ...], paired: bool) -> tuple[float, int]:
    """Return the sum of squares of a source and its degrees of freedom."""
    parts = [axes]
    if not paired and name in ("seed", "rest"):  # nested: what crosses with the loss belongs to the loss's own seeds
        parts.append(axes[1:])
    total = 0.0
    freedom = 0
    for part in parts:
        effect = np.zeros(())
        for size in range(len(part) + 1):
            for kept in itertools.combinations(part, size):
                others = tuple(axis for axis in range(3) if axis not in kept)
                effect = effect + (-1) ** (len(part) - size) * cube.mean(axis=others, keepdims=True)
        total += float((effect**2).sum()) * cube.size / effect.size
        freedom += math.prod(cube.shape[axis] - 1 for axis in part)
    return total, freedom


def _expected(shape: tuple[int, ...], row: tuple[int, ...], column: tuple[int, ...]) -> int:
    """Return how often the variance of source ``column`` is in the expected mean square of source ``row``."""
    if not set(row) <= set(column):
        return 0
    return math.prod(size for axis, size in enumerate(shape) if axis not in column)


def smallest_difference(components: Mapping, cases: int, seeds: int, paired: bool = True) -> float:
    """Return the smallest true difference of two losses shown with power .8 (two-sided, 5 %); NaN where unknown.

    ``components`` are those of ``variance_components``, taken as known. Those of a paired study serve both designs.
    Where they come from one seed, what seeds add is missing, so more than what is returned is needed.
    """
    if "loss_case" not in components:
        return math.nan
    found = dict.fromkeys(PAIRED, 0.0) | {name: part["variance"] for name, part in components.items()}
    by_seed = found["loss_seed"]
    rest = found["rest"]
    if not paired:
        by_seed += found["seed"]
        rest += found["seed_case"]
    variance = by_seed / seeds + found["loss_case"] / cases + rest / (cases * seeds)
    if not variance:  # as where no network found anything: such scores say nothing of others
        return math.nan
    return float((norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER)) * math.sqrt(2 * variance))
