"""Statistics on simulated tables with known components, and on small ones by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from kitsnb.study import statistics
from kitsnb.study.statistics import (
    all_pairs, estimate, rank_shares, settled, smallest_difference, variance_components,
)

SD = {"loss": 0.05, "seed": 0.02, "case": 0.2, "interaction": 0.08, "rest": 0.06}


def simulated(draw: int, losses: int = 7, seeds: int = 3, cases: int = 44, **sd) -> dict[str, np.ndarray]:
    """Scores of the model: each source drawn with its standard deviation (``SD`` unless given)."""
    rng, sd = np.random.default_rng(draw), SD | sd
    shapes = {"loss": (losses, 1, 1), "seed": (losses, seeds, 1), "case": (1, 1, cases), "interaction": (losses, 1, cases),
              "rest": (losses, seeds, cases)}
    scores = 0.5 + sum(rng.normal(0, sd[name], shape) for name, shape in shapes.items())
    return {f"loss{number}": grid for number, grid in enumerate(scores)}


@pytest.mark.parametrize("sd", [SD, SD | {"loss": 0.02, "seed": 0.04}, SD | {"seed": 0.0}], ids=["study", "seeds", "no-seed"])
def test_components_are_recovered(sd, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 2000)
    held = dict.fromkeys(SD, 0)
    for draw in range(100):
        found = variance_components(simulated(draw, **sd))
        for source in SD:
            held[source] += found[source]["low"] <= sd[source] ** 2 <= found[source]["high"]
    assert min(held.values()) >= 90, held


def test_what_cannot_be_told_apart_is_left_out():
    assert set(variance_components(simulated(0))) == set(SD)
    assert set(variance_components(simulated(0, seeds=1))) == {"loss", "case", "interaction"}
    assert set(variance_components(simulated(0, losses=1))) == {"seed", "case", "rest"}
    assert variance_components(simulated(0, losses=1, seeds=1, cases=1)) == {}
    ragged = simulated(0)
    ragged["loss0"] = ragged["loss0"][:2]
    ragged["loss1"][0, 3] = np.nan
    assert variance_components(ragged)["case"]["variance"] == pytest.approx(0.04, rel=0.5)


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_crossed_interval_holds_the_truth_where_that_over_cases_does_not(seeds, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    crossed, alone = 0, 0
    for draw in range(100):
        found = estimate(*simulated(draw, losses=2, seeds=seeds, loss=0.0, seed=0.03).values())
        crossed += found["crossed_low"] <= 0 <= found["crossed_high"]
        alone += found["low"] <= 0 <= found["high"]
    assert crossed >= 92 and alone < 85, (crossed, alone)


def test_differences_by_hand():
    first, second = np.array([[0.5, 0.7, np.nan, 0.9]]), np.full((1, 4), 0.4)
    found = estimate(first, second)
    assert found["mean"] == pytest.approx(0.3) and (found["n"], found["seeds"]) == (3, 1)
    assert found["low"] == pytest.approx(0.1) and found["high"] == pytest.approx(0.5) and settled(found) == "higher"
    assert math.isnan(found["crossed_low"]), "one seed says nothing of seeds"
    one = estimate(np.array([[0.5]]), np.array([[0.4]]))
    assert one["mean"] == pytest.approx(0.1) and math.isnan(one["low"]) and settled(one) is None
    two = estimate(np.array([[0.5, 0.7], [0.7, 0.9]]))  # a mean: cases .6 and .8, seeds .6 and .8
    assert two["mean"] == pytest.approx(0.7) and (two["low"], two["high"]) == (pytest.approx(0.6), pytest.approx(0.8))
    assert (two["crossed_low"], two["crossed_high"]) == (pytest.approx(0.5), pytest.approx(0.9))
    seeds_disagree = estimate(np.array([[0.1, 0.1], [0.9, 0.9]]), np.full((2, 2), 0.4))
    assert seeds_disagree["low"] > 0 and settled(seeds_disagree) is None


def test_pairs_by_hand():
    grids = {"a": np.array([[0.5, 0.6, 0.7, 0.8]]), "b": np.array([[0.4, 0.4, 0.4, 0.9]])}
    (pair,) = all_pairs(grids)
    assert pair["rank_biserial"] == pytest.approx((1.5 + 3 + 4 - 1.5) / 10)  # differences .1, .2, .3, -.1
    assert pair["beats"] == 0.75 and pair["p"] == pair["p_holm"] and pair["verdict"] is None
    assert all_pairs({"a": grids["a"]}) == []
    same = all_pairs({"a": grids["a"], "b": grids["a"].copy()})[0]
    assert same["p"] == 1 and math.isnan(same["rank_biserial"]) and same["beats"] == 0.5 and same["verdict"] is None


def test_a_verdict_needs_the_test_of_the_family_and_the_interval():
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.1, 30)
    grids = {name: base + lift + rng.normal(0, 0.01, (2, 30)) for name, lift in zip("abc", (0.1, 0.0, 0.0))}
    verdicts = {(pair["first"], pair["second"]): pair["verdict"] for pair in all_pairs(grids)}
    assert verdicts.pop(("a", "b")) == verdicts.pop(("a", "c")) == "higher" and list(verdicts.values()) == [None]
    grids["a"] += np.array([[0.1], [-0.1]])  # the mean of the seeds stays
    pair = all_pairs(grids)[0]
    assert pair["p_holm"] < 0.05 and pair["verdict"] is None, "the cases settle it, the seeds do not"


def test_holm_counts_all_pairs():
    grids = {name: np.array([[0.1 * number + 0.01 * case for case in range(12)]]) for number, name in enumerate("abcd")}
    assert all(pair["p_holm"] == pytest.approx(min(1, 6 * pair["p"])) for pair in all_pairs(grids)), "equal p: times their number"


def test_ranks():
    grids = {"low": np.array([[0.1, 0.2]]), "high": np.array([[0.8, 0.9]]), "middle": np.array([[0.5, 0.5]])}
    assert rank_shares(grids) == {"low": [0, 0, 1], "high": [1, 0, 0], "middle": [0, 1, 0]}
    shares = rank_shares(simulated(0))
    assert all(sum(row) == pytest.approx(1) for row in shares.values())


def test_the_smallest_difference_is_found_in_four_of_five_studies():
    cases, seeds = 44, 3
    components = {name: {"variance": sd**2} for name, sd in SD.items()}
    effect = smallest_difference(components, cases, seeds)
    error = effect / (norm.ppf(0.975) + norm.ppf(0.8))
    found = 0
    for draw in range(400):
        first, second = simulated(draw, losses=2, seeds=seeds, loss=0.0).values()
        found += abs(first.mean() + effect - second.mean()) > 1.96 * error
    assert found / 400 == pytest.approx(0.8, abs=0.05)
    assert smallest_difference(components, cases, 1) > effect > smallest_difference(components, 2 * cases, seeds)
    assert smallest_difference({name: components[name] for name in ("loss", "interaction")}, cases, 1) < effect
    assert math.isnan(smallest_difference({"case": components["case"]}, cases, 1))


def test_every_pair_of_losses_is_there():
    assert len(list(itertools.combinations(range(7), 2))) == len(all_pairs(simulated(0)))
