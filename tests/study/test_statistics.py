"""Statistics on simulated tables with known components, and on small ones by hand."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from kitsnb.study.statistics import compare_all, correct, direction, estimate
from kitsnb.study.variance import SOURCES, smallest_difference, variance_components

SD = {"loss": 0.05, "seed": 0.02, "case": 0.2, "loss_seed": 0.02, "loss_case": 0.08, "seed_case": 0.03, "rest": 0.06}


def simulated(draw: int, losses: int = 7, seeds: int = 3, cases: int = 44, own_seeds: bool = False, **sd) -> dict:
    """Draw scores of the model, each source with its standard deviation (``SD`` unless given)."""
    rng = np.random.default_rng(draw)
    shape = (losses, seeds, cases)
    cube = np.full(shape, 0.5)
    for name, axes in SOURCES.items():
        nested = own_seeds and 1 in axes  # what comes with a seed is then drawn for each loss
        size = [n if axis in axes or nested and axis == 0 else 1 for axis, n in enumerate(shape)]
        cube = cube + rng.normal(0, (SD | sd)[name], size)
    return {f"loss{number}": grid for number, grid in enumerate(cube)}


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("own_seeds", [False, True], ids=["paired", "unpaired"])
def test_intervals_hold_the_truth_in_nine_of_ten(own_seeds, seeds):
    both, alone = 0, 0
    for draw in range(100):
        pair = simulated(draw, losses=2, seeds=seeds, own_seeds=own_seeds, loss=0.0, loss_seed=0.03)
        found = estimate(*pair.values()) if own_seeds else estimate(pair["loss0"] - pair["loss1"])
        both += found["crossed_low"] <= 0 <= found["crossed_high"]
        alone += found["low"] <= 0 <= found["high"]
    assert both >= 90 and alone <= 92, (both, alone)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_components_hold_the_truth_in_nine_of_ten(seeds):
    held = dict.fromkeys(SOURCES, 0)
    for draw in range(100):
        for source, found in variance_components(simulated(draw, seeds=seeds)).items():
            held[source] += found["low"] <= SD[source] ** 2 <= found["high"]
    assert min(held.values()) >= 90, held


def test_pairing_uses_what_the_seeds_share():
    first, second = simulated(0, seed=0.2, loss_seed=0.0, losses=2).values()
    paired = estimate(first - second)
    unpaired = estimate(first, second)
    width = paired["crossed_high"] - paired["crossed_low"]
    assert paired["mean"] == pytest.approx(unpaired["mean"])
    assert 5 * width < unpaired["crossed_high"] - unpaired["crossed_low"]


@pytest.mark.parametrize("sizes, known", [
    ({}, set(SOURCES)), ({"seeds": 1}, {"loss", "case", "loss_case"}), ({"losses": 1}, {"seed", "case", "seed_case"}),
    ({"losses": 1, "seeds": 1, "cases": 1}, set())])
def test_what_cannot_be_told_apart_is_left_out(sizes, known):
    assert set(variance_components(simulated(0, **sizes))) == known


def test_folds_leave_other_cases_to_each_seed():
    grids = simulated(0, seeds=4)
    held_out = np.arange(44) % 4 == np.arange(4)[:, None]
    folds = {name: np.where(held_out, grid, np.nan) for name, grid in grids.items()}
    found = estimate(folds["loss0"] - folds["loss1"])
    by_hand = (grids["loss0"] - grids["loss1"])[held_out].mean()
    assert found["mean"] == pytest.approx(by_hand) and found["n"] == 44
    assert found["crossed_low"] < by_hand < found["crossed_high"]
    assert variance_components(folds) == {} and len(compare_all(folds)) == 21


def test_differences_by_hand():
    found = estimate(np.array([[0.5, 0.7, np.nan, 0.9]]) - 0.4)
    assert found["mean"] == pytest.approx(0.3) and (found["n"], found["seeds"]) == (3, 1)
    assert math.isnan(found["crossed_low"]), "one seed says nothing of seeds"
    assert found["low"] < 0.1 and found["high"] > 0.5 and direction(found) is None, "three cases are few"
    one = estimate(np.array([[0.1]]))
    assert one["mean"] == 0.1 and math.isnan(one["low"]) and direction(one) is None
    same = estimate(np.full((2, 5), 0.5), np.full((2, 5), 0.4))
    assert same["low"] == same["crossed_high"] == pytest.approx(0.1) and direction(same) == "higher"
    seeds_disagree = estimate(np.array([[-0.3, -0.3], [0.5, 0.5]]))
    assert seeds_disagree["low"] > 0 and direction(seeds_disagree) is None
    assert estimate(np.full((1, 2), np.nan))["n"] == 0


def test_a_verdict_needs_the_test_of_the_family_and_the_interval():
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.1, 30)
    grids = {name: base + lift + rng.normal(0, 0.01, (2, 30)) for name, lift in zip("bac", (0.0, 0.1, 0.0))}
    verdicts = {(pair["first"], pair["second"]): pair["verdict"] for pair in compare_all(grids)}
    assert verdicts.pop(("a", "b")) == verdicts.pop(("a", "c")) == "higher" and list(verdicts.values()) == [None]
    grids["a"] += np.array([[0.1], [-0.1]])  # the mean of the seeds stays
    pair = compare_all(grids)[0]
    assert pair["p_holm"] < 0.05 and pair["verdict"] is None, "the cases settle it, the seeds do not"
    (same,) = compare_all({"a": grids["a"], "b": grids["a"].copy()})
    assert same["p"] == 1 and same["verdict"] is None and compare_all({"a": grids["a"]}) == []


def test_holm_by_hand():
    assert correct([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct([0.5, 0.6]) == pytest.approx([1, 1]) and correct([]).size == 0


@pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])
def test_the_smallest_difference_is_found_in_four_of_five_studies(paired):
    cases, seeds = 44, 3
    components = {name: {"variance": sd**2} for name, sd in SD.items()}
    effect = smallest_difference(components, cases, seeds, paired)
    error = effect / (norm.ppf(0.975) + norm.ppf(0.8))
    found = 0
    for draw in range(400):
        first, second = simulated(draw, losses=2, seeds=seeds, own_seeds=not paired, loss=0.0).values()
        found += abs(first.mean() + effect - second.mean()) > 1.96 * error
    assert found / 400 == pytest.approx(0.8, abs=0.05)
    assert smallest_difference(components, cases, 1, paired) > effect
    assert effect > smallest_difference(components, 2 * cases, seeds, paired)
    assert math.isnan(smallest_difference({"case": components["case"]}, cases, 1))
