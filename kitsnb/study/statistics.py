"""Arithmetic of scores over cases: paired differences with intervals, and agreement of ranks. All in float64.

NaN stands for what is undefined (see ``kitsnb.metric``). A difference counts as found only where its interval leaves
out zero; an interval that holds zero leaves open which is higher, and never shows that two are alike.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, kendalltau, spearmanr

RESAMPLES = 10_000


def paired_difference(first: pd.Series, second: pd.Series, seed: int = 0) -> dict[str, float]:
    """Mean of ``first`` - ``second`` over the cases that both define, with a 95 % percentile bootstrap interval.

    Cases are resampled; the same ``seed`` gives the same interval. NaN where undefined: no common case, or for the
    interval fewer than two.
    """
    values = (first.astype(float) - second.astype(float)).dropna().sort_index().to_numpy()
    mean, low, high = float(values.mean()) if values.size else math.nan, math.nan, math.nan
    if values.size > 1:
        rng = np.random.default_rng(seed)
        found = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=rng)
        low, high = map(float, found.confidence_interval)
    return {"mean": mean, "low": low, "high": high, "n": int(values.size)}


def settled(difference: Mapping[str, float]) -> str | None:
    """"higher" or "lower" where the interval of ``paired_difference`` leaves out zero, else None."""
    return "higher" if difference["low"] > 0 else "lower" if difference["high"] < 0 else None


def order_agreement(measured: Sequence[float], published: Sequence[float]) -> float:
    """Kendall's tau (b) over the pairs whose measured value is defined; 1: the same order, -1: the reverse.

    NaN with fewer than two pairs or where all values are tied.
    """
    pairs = [pair for pair in zip(measured, published, strict=True) if not math.isnan(pair[0])]
    return float(kendalltau(*zip(*pairs, strict=True)).statistic) if len(pairs) > 1 else math.nan


def rank_correlation(first: pd.Series, second: pd.Series) -> float:
    """Spearman's rho over what both define; NaN below three pairs or where either is constant."""
    pairs = pd.concat([first, second], axis=1).dropna()
    if len(pairs) < 3 or (pairs.nunique() < 2).any():
        return math.nan
    return float(spearmanr(*pairs.to_numpy().T).statistic)
