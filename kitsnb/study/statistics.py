"""How far differences between losses can be told from chance: intervals, tests and ranks.

A *grid* holds one score of one loss: an array [seeds, cases] that is NaN where the score is undefined or where a seed
did not hold out the case (folds); the grids of a study share their cases. In a *paired* design row k of every grid is
the same seed, whose initial weights and patches all losses share. In an unpaired one seeds belong to their loss. With
one seed, what changes from run to run cannot be estimated: what would need it is NaN, never guessed. With folds, a
resampled seed takes its held-out cases along, so intervals hold both at once. A difference counts as found only where
its interval leaves out zero; an interval with zero inside never shows that two losses are alike.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from scipy.stats import norm, rankdata, t, wilcoxon

RESAMPLES = 4_000
LEVEL = 0.05


@cache
def draw_counts(number: int, stream: int, resamples: int) -> np.ndarray:
    """Draw how often each of ``number`` cases or seeds is taken: [resamples, number], the same for the same stream.

    One less is drawn than there are, which makes the variance of a mean unbiased (McCarthy and Snowden 1985): with
    three seeds it would be a third too small.
    """
    rng = np.random.default_rng([number, stream])
    return rng.multinomial(max(1, number - 1), np.full(number, 1 / number), resamples)


def resampled_means(grids: Sequence[np.ndarray], paired: bool = True) -> np.ndarray:
    """Compute the means [RESAMPLES, grids] of studies with resampled cases and seeds.

    The crossed or pigeonhole bootstrap (Owen 2007): cases are the same for all grids, seeds too where they are paired.
    """
    cases = draw_counts(grids[0].shape[1], 0, RESAMPLES)
    means = []
    for place, grid in enumerate(grids, start=1):
        seeds = draw_counts(len(grid), 1 if paired else place, RESAMPLES)
        defined = ~np.isnan(grid)
        taken = seeds @ defined.astype(float)
        by_case = seeds @ np.nan_to_num(grid) / np.maximum(taken, 1)
        weights = cases * (taken > 0)
        with np.errstate(invalid="ignore"):
            means.append((weights * by_case).sum(1) / weights.sum(1))
    return np.stack(means, axis=1)


def estimate(first: np.ndarray, second: np.ndarray | None = None, paired: bool = True) -> dict[str, float]:
    """Estimate the mean of a grid, or of the difference ``first`` - ``second`` over the cases that both define.

    ``low`` and ``high`` are 95 % intervals over cases alone, seeds averaged; ``crossed_low`` and ``crossed_high`` over
    cases and seeds, NaN with one seed. ``n`` cases; ``seeds`` of the grid that has fewest.
    """
    if second is None:
        grids = [first]
    elif paired:
        grids = [first - second]
    else:
        grids = [first, second]
    defined = np.all([~np.isnan(grid).all(0) for grid in grids], axis=0)
    grids = [grid[:, defined] for grid in grids]
    found = dict.fromkeys(("mean", "low", "high", "crossed_low", "crossed_high"), math.nan)
    found |= {"n": int(defined.sum()), "seeds": min(map(len, grids))}
    if not found["n"]:
        return found
    by_case = _subtract([np.nanmean(grid, axis=0) for grid in grids])
    found["mean"] = float(by_case.mean())
    if found["n"] > 1:
        found["low"], found["high"] = _interval([by_case[None]], paired)
        if found["seeds"] > 1:
            found["crossed_low"], found["crossed_high"] = _interval(grids, paired)
    return found


def _subtract(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] - parts[1] if len(parts) > 1 else parts[0]


def _interval(grids: Sequence[np.ndarray], paired: bool) -> tuple[float, float]:
    """Bound the mean by percentiles of resampled means, widened where few cases or seeds decide (Hesterberg 2015).

    Widened as Student's t is wider than the normal distribution, with Satterthwaite's degrees of freedom.
    """
    by_case = _subtract([np.nanmean(grid, axis=0) for grid in grids])
    parts = [(by_case.var(ddof=1) / len(by_case), len(by_case) - 1)]
    for grid in grids:
        if len(grid) > 1:
            parts.append((np.nanmean(grid, axis=1).var(ddof=1) / len(grid), len(grid) - 1))
    total = sum(variance for variance, _ in parts)
    if not total:
        return float(by_case.mean()), float(by_case.mean())
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in parts)
    wider = t.ppf(LEVEL / 2, freedom) / norm.ppf(LEVEL / 2)
    means = _subtract(list(resampled_means(grids, paired).T))
    low, high = np.nanpercentile(means, [50 * LEVEL, 100 - 50 * LEVEL])
    middle = by_case.mean()
    return float(middle + wider * (low - middle)), float(middle + wider * (high - middle))


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


def compare_all(grids: Mapping[str, np.ndarray], paired: bool = True) -> list[dict]:
    """Compare every pair of losses, the one with the higher mean first: ``estimate``, test, ``verdict``.

    ``p`` is that of Wilcoxon's signed-rank test over cases on seed means, ``p_holm`` the same after Holm's correction
    over all pairs, ``beats`` the probability that the first is higher on a new case with a new seed (ties half). The
    verdict "higher" (else None) needs ``p_holm`` below 5 % and an interval without zero, since the test alone takes the
    trained networks for the only ones. ``unpaired`` is the verdict of a study whose runs shared nothing.
    """
    pairs = []
    for first, second in itertools.combinations(grids, 2):
        shared = ~np.isnan(grids[first]).all(0) & ~np.isnan(grids[second]).all(0)
        means = {name: np.nanmean(grids[name][:, shared], axis=0) for name in (first, second)}
        if means[first].sum() < means[second].sum():
            first, second = second, first
        difference = means[first] - means[second]
        a = grids[first]
        b = grids[second]
        each = a - b if paired else a[:, None] - b[None]
        wins = np.where(np.isnan(each), np.nan, (each > 0) + (each == 0) / 2)
        pairs.append({
            "first": first, "second": second, **estimate(a, b, paired),
            "p": float(wilcoxon(difference).pvalue) if difference.any() else 1.0,
            "beats": float(np.nanmean(wins)) if shared.any() else math.nan,
            "unpaired": direction(estimate(a, b, paired=False)),
        })
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


def rank_shares(grids: Mapping[str, np.ndarray], paired: bool = True) -> dict[str, list[float]]:
    """Count in what share of resampled studies each loss has rank 1 (highest mean), 2, and so on.

    Over the cases that all losses define (Wiesenfarth et al. 2021).
    """
    shared = np.all([~np.isnan(grid).all(0) for grid in grids.values()], axis=0)
    if not shared.any():
        return {name: [math.nan] * len(grids) for name in grids}
    means = resampled_means([grid[:, shared] for grid in grids.values()], paired)
    ranks = rankdata(-means, axis=1, method="ordinal")
    places = np.arange(1, len(grids) + 1)
    return {name: (column[:, None] == places).mean(0).tolist() for name, column in zip(grids, ranks.T)}
