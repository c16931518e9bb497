"""How far differences between losses can be told from chance: intervals and tests.

A *grid* holds one score of one loss: an array [seeds, cases], NaN where undefined or not held out (folds); the grids of
a study share their cases. *Paired*: row k of every grid is the same seed, whose weights and patches all losses share.
What cannot be estimated, such as seeds from one seed, is NaN. An interval with zero inside never shows sameness.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from scipy.stats import norm, t, wilcoxon

RESAMPLES = 4_000
LEVEL = 0.05
PERCENTILES = (50 * LEVEL, 100 - 50 * LEVEL)


@cache
def draw_counts(number: int, stream: int, resamples: int) -> np.ndarray:
    """Draw how often each of ``number`` cases or seeds is taken: [resamples, number], the same for the same stream."""
    rng = np.random.default_rng([number, stream])
    # One less than there are: so the variance of a mean is unbiased (McCarthy and Snowden 1985).
    return rng.multinomial(max(1, number - 1), np.full(number, 1 / number), resamples)


def resample(grid: np.ndarray, stream: int) -> np.ndarray:
    """Compute the means [RESAMPLES] of studies with resampled cases and seeds.

    The crossed or pigeonhole bootstrap (Owen 2007): cases are drawn alike for all grids, seeds for those of a stream.
    """
    cases = draw_counts(grid.shape[1], 0, RESAMPLES)
    seeds = draw_counts(len(grid), stream, RESAMPLES)
    taken = seeds @ (~np.isnan(grid)).astype(float)
    by_case = seeds @ np.nan_to_num(grid) / np.maximum(taken, 1)
    weights = cases * (taken > 0)
    with np.errstate(invalid="ignore"):
        return (weights * by_case).sum(1) / weights.sum(1)


def estimate(*grids: np.ndarray) -> dict[str, float]:
    """Estimate the mean of a grid, such as a paired difference, or the difference of two grids that share no seeds.

    Of the cases that all ``grids`` define. ``low`` and ``high`` are 95 % intervals over cases alone, seeds averaged;
    ``crossed_low`` and ``crossed_high`` over cases and seeds, NaN with one seed. ``n`` cases; ``seeds`` of the grid
    that has fewest.
    """
    defined = np.all([~np.isnan(grid).all(0) for grid in grids], axis=0)
    grids = [grid[:, defined] for grid in grids]
    found = dict.fromkeys(("mean", "low", "high", "crossed_low", "crossed_high"), math.nan)
    found["n"] = int(defined.sum())
    found["seeds"] = min(map(len, grids))
    if not found["n"]:
        return found
    by_case = np.subtract.reduce([np.nanmean(grid, axis=0) for grid in grids])
    found["mean"] = float(by_case.mean())
    if found["n"] > 1:
        found["low"], found["high"] = _interval([by_case[None]])
        if found["seeds"] > 1:
            found["crossed_low"], found["crossed_high"] = _interval(grids)
    return found


def _interval(grids: Sequence[np.ndarray]) -> tuple[float, float]:
    """Bound the mean of a grid, or of a difference of two, by percentiles of resampled means (Hesterberg 2015).

    They are widened as Student's t with Satterthwaite's degrees of freedom is wider than the normal distribution.
    """
    by_case = np.subtract.reduce([np.nanmean(grid, axis=0) for grid in grids])
    middle = by_case.mean()
    means = [by_case, *(np.nanmean(grid, axis=1) for grid in grids if len(grid) > 1)]
    freedom = np.array([len(part) - 1 for part in means])
    variances = np.array([part.var(ddof=1) / len(part) for part in means])
    if not variances.any():
        return float(middle), float(middle)
    wider = t.ppf(LEVEL / 2, variances.sum() ** 2 / (variances**2 / freedom).sum()) / norm.ppf(LEVEL / 2)
    resampled = np.subtract.reduce([resample(grid, place) for place, grid in enumerate(grids, start=1)])
    low, high = middle + wider * (np.nanpercentile(resampled, PERCENTILES) - middle)
    return float(low), float(high)


def bounds(found: Mapping[str, float]) -> tuple[float, float]:
    """Return the interval of ``estimate`` that claims rest on: over cases and seeds, over cases alone with one seed.

    What is not known is NaN, or None once it was in a JSON file.
    """
    crossed = found["crossed_low"]
    if crossed is None or math.isnan(crossed):
        return found["low"], found["high"]
    return crossed, found["crossed_high"]


def direction(found: Mapping[str, float]) -> str | None:
    """Say "higher" or "lower" where the interval of a difference (``bounds``) leaves out zero, else None."""
    low, high = bounds(found)
    if low > 0:
        return "higher"
    return "lower" if high < 0 else None


def compare_all(grids: Mapping[str, np.ndarray]) -> list[dict]:
    """Compare every pair of losses, the one with the higher mean first: paired ``estimate``, test, ``verdict``.

    ``p`` is that of Wilcoxon's signed-rank test over cases on seed means, ``p_holm`` after Holm's correction over all
    pairs. The verdict "higher" (else None) needs ``p_holm`` below 5 % and an interval without zero, since the test
    alone takes the trained networks for the only ones. ``unpaired`` is the verdict had the runs shared nothing.
    """
    pairs = []
    for first, second in itertools.combinations(grids, 2):
        difference = grids[first] - grids[second]
        found = estimate(difference)
        if found["mean"] < 0:
            first, second = second, first
            difference = grids[first] - grids[second]
            found = estimate(difference)
        by_case = np.ma.masked_invalid(difference).mean(axis=0).compressed()
        p = wilcoxon(by_case).pvalue if by_case.any() else 1.0
        unpaired = direction(estimate(grids[first], grids[second]))
        pairs.append({"first": first, "second": second, **found, "p": float(p), "unpaired": unpaired})
    for pair, p in zip(pairs, correct([pair["p"] for pair in pairs])):
        pair["p_holm"] = float(p)
        pair["verdict"] = direction(pair) if p < LEVEL else None
        pair["unpaired"] = pair["unpaired"] if p < LEVEL else None
    return pairs


def correct(p_values: Sequence[float]) -> np.ndarray:
    """Correct p values for their number (Holm 1979)."""
    order = np.argsort(p_values)
    stepped = np.sort(p_values) * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return corrected
