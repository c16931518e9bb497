"""How far differences between losses can be told from chance: intervals, tests, variance components, power.

A *grid* holds one score of one loss: an array [seeds, cases], NaN where the score is undefined (see ``kitsnb.metric``);
the grids of a study share their cases. Seeds belong to their loss (nested), cases are common to all (crossed). With one
seed, what changes from run to run cannot be estimated: what would need it is NaN or left out, never guessed. A
difference counts as found only where the interval that holds most leaves out zero; one with zero inside never shows
that two are alike.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm, rankdata, t, wilcoxon

RESAMPLES, LEVEL, POWER = 10_000, 0.05, 0.8
#: Sources of variance in the order of the analysis; "interaction" is case x loss, "seed" is that within a loss.
SOURCES = ("loss", "seed", "case", "interaction", "rest")


def resampled_means(grids: Sequence[np.ndarray], seed: int = 0) -> np.ndarray:
    """Means [RESAMPLES, grids] with cases resampled, for all grids alike, and the seeds of each grid apart.

    The crossed or pigeonhole bootstrap (Owen 2007). One less is drawn than there are, on both levels, which makes the
    variance of a mean unbiased (McCarthy and Snowden 1985): with three seeds it would be a third too small.
    """
    rng, means = np.random.default_rng(seed), []

    def draw(number: int) -> np.ndarray:
        return rng.multinomial(max(1, number - 1), np.full(number, 1 / number), RESAMPLES)

    cases = draw(grids[0].shape[1])
    for grid in grids:
        seeds, defined = draw(len(grid)), ~np.isnan(grid)
        count = seeds @ defined.astype(float)
        with np.errstate(invalid="ignore"):
            values = np.nan_to_num(seeds @ np.nan_to_num(grid) / count)
            weights = cases * (count > 0)
            means.append((weights * values).sum(1) / weights.sum(1))
    return np.stack(means, 1)


def estimate(*grids: np.ndarray) -> dict[str, float]:
    """The mean of one grid, or the mean paired difference of two, over the cases that are defined in all.

    ``low`` and ``high`` are 95 % intervals over cases alone, seeds averaged; ``crossed_low`` and ``crossed_high`` over
    cases and seeds, NaN where a grid has one seed. ``n`` cases, ``seeds`` of the grid that has fewest.
    """
    shared = np.all([~np.isnan(grid).all(0) for grid in grids], axis=0)
    grids, sign = [grid[:, shared] for grid in grids], np.array([1, -1])[: len(grids)]
    found = dict.fromkeys(("mean", "low", "high", "crossed_low", "crossed_high"), math.nan)
    found |= {"n": int(shared.sum()), "seeds": min(map(len, grids))}
    if found["n"]:
        flat = [np.nanmean(grid, 0, keepdims=True) for grid in grids]
        found["mean"] = float(sign @ [grid.mean() for grid in flat])
        for prefix, used in {"": flat, "crossed_": grids}.items():
            if found["n"] > 1 and (not prefix or found["seeds"] > 1):
                tail = 100 * _tail(used, sign)
                limits = np.nanpercentile(resampled_means(used) @ sign, [tail, 100 - tail])
                found |= dict(zip((f"{prefix}low", f"{prefix}high"), map(float, limits)))
    return found


def _tail(grids: Sequence[np.ndarray], sign: np.ndarray) -> float:
    """The share to cut from each end of resampled means: less, where few cases or seeds decide (Hesterberg 2015).

    Student's t in place of the normal distribution, with Satterthwaite's degrees of freedom: 2.5 % where there are
    many.
    """
    cases = sign @ [np.nanmean(grid, 0) for grid in grids]
    parts = [(cases.var(ddof=1) / len(cases), len(cases) - 1)]
    parts += [(np.nanmean(grid, 1).var(ddof=1) / len(grid), len(grid) - 1) for grid in grids if len(grid) > 1]
    if not (total := sum(part for part, _ in parts)):
        return LEVEL / 2
    return float(norm.cdf(t.ppf(LEVEL / 2, total**2 / sum(part**2 / freedom for part, freedom in parts))))


def ends(found: Mapping[str, float]) -> tuple[float, float]:
    """The interval of ``estimate`` that claims rest on: over cases and seeds, over cases alone where there is one seed.

    What is not known is NaN, or None once it was in a JSON file.
    """
    crossed = found["crossed_low"]
    prefix = "" if crossed is None or math.isnan(crossed) else "crossed_"
    return found[f"{prefix}low"], found[f"{prefix}high"]


def settled(found: Mapping[str, float]) -> str | None:
    """"higher" or "lower" where the interval of a difference leaves out zero (``ends``), else None."""
    low, high = ends(found)
    return "higher" if low > 0 else "lower" if high < 0 else None


def all_pairs(grids: Mapping[str, np.ndarray]) -> list[dict]:
    """Every pair of losses, the one with the higher mean first: ``estimate``, test, effect sizes, ``verdict``.

    ``p`` is that of Wilcoxon's signed-rank test over cases on seed means, ``p_holm`` the same after Holm's correction
    over the family of all pairs, ``rank_biserial`` the matched rank-biserial correlation (Kerby 2014), ``beats`` the
    probability that the first is higher on a new case with new seeds (ties half). The verdict "higher" (else None)
    needs both ``p_holm`` below 5 % and an interval without zero, since the test alone takes the trained networks for
    the only ones.
    """
    from statsmodels.stats.multitest import multipletests  # a second to import, and only a whole study needs it

    pairs = []
    for first, second in itertools.combinations(grids, 2):
        shared = ~np.isnan(grids[first]).all(0) & ~np.isnan(grids[second]).all(0)
        a, b = (np.nanmean(grids[name][:, shared], 0) for name in (first, second))
        if (difference := a - b).sum() < 0:
            first, second, difference = second, first, -difference
        a, b = grids[first], grids[second]
        ranks = rankdata(abs(difference[difference != 0]))
        total, signs = ranks.sum(), np.sign(difference[difference != 0])
        each = a[:, None, shared] - b[None, :, shared]
        pairs.append({
            "first": first, "second": second, **estimate(a, b),
            "p": float(wilcoxon(difference).pvalue) if total else 1.0,
            "rank_biserial": float(ranks @ signs / total) if total else math.nan,
            "beats": float(np.nanmean(np.where(np.isnan(each), np.nan, (each > 0) + (each == 0) / 2))) if each.size
            else math.nan,
        })
    corrected = multipletests([pair["p"] for pair in pairs], LEVEL, "holm")[1] if pairs else []
    for pair, p in zip(pairs, corrected):
        pair |= {"p_holm": float(p), "verdict": settled(pair) if p < LEVEL else None}
    return pairs


def rank_shares(grids: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Share of resampled studies (``resampled_means``) in which each loss has rank 1 (highest mean), 2, and so on.

    Over the cases that all define; cases alone are resampled where losses have one seed (Wiesenfarth et al. 2021).
    """
    shared = np.all([~np.isnan(grid).all(0) for grid in grids.values()], axis=0)
    if not shared.any():
        return {name: [math.nan] * len(grids) for name in grids}
    ranks = rankdata(-resampled_means([grid[:, shared] for grid in grids.values()]), axis=1, method="ordinal")
    return {name: [float((ranks[:, at] == rank + 1).mean()) for rank in range(len(grids))]
            for at, name in enumerate(grids)}


def variance_components(grids: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, dict[str, float]]:
    """By the crossed analysis of variance, of each of ``SOURCES``: ``variance``, its 95 % ``low``, ``high``, ``share``.

    The model: score = mean + loss + seed within loss + case + case x loss + rest, all but the mean random. Estimates
    solve the expected mean squares, intervals are generalized ones (Weerahandi 1995), both cut at zero; ``share`` is of
    the sum. What cannot be told apart is left out: with one seed "seed" goes into "loss", and "rest" into
    "interaction"; with one loss "interaction" goes into "case". Takes as many seeds as the grid with fewest, and the
    cases that all define.
    """
    seeds = min(map(len, grids.values()))
    cube = np.stack([grid[:seeds] for grid in grids.values()])
    cube = cube[..., ~np.isnan(cube).any((0, 1))]
    losses, _, cases = cube.shape
    by_loss, by_run, by_case, cell = cube.mean((1, 2)), cube.mean(2), cube.mean((0, 1)), cube.mean(1)
    both = cell - by_loss[:, None] - by_case + cube.mean()
    rest = cube - by_run[..., None] - cell[:, None] + by_loss[:, None, None]
    squares = np.array([seeds * cases * ((by_loss - cube.mean()) ** 2).sum(),
                        cases * ((by_run - by_loss[:, None]) ** 2).sum(),
                        losses * seeds * ((by_case - cube.mean()) ** 2).sum(), seeds * (both**2).sum(),
                        (rest**2).sum()])
    freedom = np.array([losses - 1, losses * (seeds - 1), cases - 1, (losses - 1) * (cases - 1),
                        losses * (seeds - 1) * (cases - 1)])
    # Expected mean square of each source (rows) from the variances (columns).
    expected = np.array([[seeds * cases, cases, 0, seeds, 1], [0, cases, 0, 0, 1], [0, 0, losses * seeds, seeds, 1],
                         [0, 0, 0, seeds, 1], [0, 0, 0, 0, 1]], float)
    known = np.flatnonzero(freedom > 0)
    if not known.size:
        return {}
    solve = np.linalg.inv(expected[np.ix_(known, known)])
    drawn = squares[known] / np.random.default_rng(seed).chisquare(freedom[known], (RESAMPLES, len(known)))
    variances = np.maximum(0, solve @ (squares[known] / freedom[known]))
    low, high = np.percentile(np.maximum(0, drawn @ solve.T), [50 * LEVEL, 100 - 50 * LEVEL], axis=0)
    total = variances.sum() or math.nan
    return {SOURCES[at]: {"variance": float(v), "low": float(lo), "high": float(hi), "share": float(v / total)}
            for at, v, lo, hi in zip(known, variances, low, high)}


def smallest_difference(components: Mapping[str, Mapping[str, float]], cases: int, seeds: int) -> float:
    """The smallest true difference of two losses that ``cases`` and ``seeds`` show with power .8 (two-sided, 5 %).

    ``components`` are those of ``variance_components``, taken as known. Where they come from one seed, what seeds add
    is missing: the difference needed is then at least what is returned. NaN where they do not hold case x loss.
    """
    found = {source: components[source]["variance"] if source in components else 0.0 for source in SOURCES}
    if "interaction" not in components:
        return math.nan
    variance = found["seed"] / seeds + found["interaction"] / cases + found["rest"] / (cases * seeds)
    return float((norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER)) * math.sqrt(2 * variance))
