"""Anatomy of losses: what must hold whatever the loss, closed forms, predictions and their verdicts by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from kitsnb.losses import DiceLoss, LogCosh, TverskyLoss, WeightedCrossEntropyLoss, WeightedDiceLoss
from kitsnb.study import hypotheses as predictions
from kitsnb.study import probes as anatomy
from kitsnb.study.error_paths import phantom_geometry

SHARES = (0.9, 0.07, 0.03)
PLAIN = {"dice": DiceLoss(), "log_cosh": LogCosh(DiceLoss()), "entropy": WeightedCrossEntropyLoss(weights=[1, 1, 1])}


@pytest.fixture(scope="module")
def geometry():
    return phantom_geometry(1, 0, (130.0, 130.0, 130.0))


def test_losses_are_built_from_rows():
    built = anatomy.build_losses([{"name": "mine", "loss": "tversky", "parameters": {"alpha": 0.6}}, {"name": "d", "loss": "dice"}])
    assert built["mine"].alpha == 0.6 and isinstance(built["d"], DiceLoss)


def test_measure_by_hand():
    """Cross-entropy of two voxels at p = 1/3: each pushes its own class by 2/3 and the two others by 1/3, over two voxels."""
    found = anatomy.measure(PLAIN["entropy"], torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 2]]]))
    assert found["value"] == pytest.approx(np.log(3))
    assert found["gradient"] == pytest.approx(4 / 3)
    assert [found[f"share_{label}"] for label in range(3)] == pytest.approx([0.5, 0, 0.5])


def test_mixture_has_the_shares_and_the_margin():
    logits, target = anatomy.mixture(SHARES, 5.0, voxels=10_000)
    assert torch.bincount(target.flatten()).tolist() == [9000, 700, 300]
    own = logits.gather(1, target[:, None])
    assert float(own.mean()) == pytest.approx(5.0, abs=0.05)
    assert float((logits.sum(1) - own[:, 0]).mean() / 2) == pytest.approx(0.0, abs=0.05)
    assert torch.bincount(anatomy.mixture((0.99999, 0.0, 0.00001), 0.0, voxels=1000)[1].flatten()).tolist() == [998, 1, 1]


def test_cross_entropy_gives_untrained_voxels_their_share_and_log_cosh_changes_no_share():
    table = anatomy.gradient_shares(PLAIN, SHARES).set_index(["stage", "loss"])
    shares = ["share_0", "share_1", "share_2"]
    assert table.loc[("untrained", "entropy"), shares].tolist() == pytest.approx(SHARES, rel=0.02)
    for stage in anatomy.STAGES:
        assert table.loc[(stage, "dice"), shares].tolist() == pytest.approx(table.loc[(stage, "log_cosh"), shares].tolist(), rel=1e-4)
        factor = table.loc[(stage, "log_cosh"), "gradient"] / table.loc[(stage, "dice"), "gradient"]
        assert factor == pytest.approx(np.tanh(table.loc[(stage, "dice"), "value"]), rel=1e-4)
    assert table[shares].sum(axis=1).to_numpy() == pytest.approx(1)


def test_along_paths_has_every_step_and_is_relative_to_finding_nothing(geometry):
    table = anatomy.along_paths({"dice": DiceLoss()}, geometry, steps=3)
    assert len(table) == 5 * 3 and not table.isna().any(axis=None)
    start = table[table.amount == 0]
    assert start.value.nunique() == 1 and (table.relative <= 1.01).all()
    assert (table[table.amount > 0].value > start.value.iloc[0]).all()


def test_price_of_missing_follows_alpha_over_beta(geometry):
    losses = {f"{alpha}": TverskyLoss(alpha=alpha, beta=1 - alpha) for alpha in (0.3, 0.5, 0.7)}
    price = anatomy.price_of_missing(anatomy.along_paths(losses, geometry, steps=9))
    assert price["0.3"] < price["0.5"] < price["0.7"]
    by_hand = pd.DataFrame({"path": ["missed tumour"] * 2 + ["false tumour"] * 2, "amount": [0, 1, 0, 1], "loss": "x",
                            "value": [0.1, 0.4, 0.1, 0.2]})
    assert anatomy.price_of_missing(by_hand)["x"] == pytest.approx(3.0)


def test_a_patch_without_tumour(geometry):
    table = anatomy.without_tumour({"dice": DiceLoss(), "pooled": DiceLoss(batch=True), "entropy": PLAIN["entropy"]}, geometry, 3.0)
    assert (table["false"] > table.clean).all()
    assert table.clean["dice"] > 0.3 and table.clean["entropy"] < 0.01
    assert table.pooled["pooled"] > 10 * table.push["pooled"]


# ---- predictions -----------------------------------------------------------------------------------------------------


def shares_table() -> pd.DataFrame:
    tumour = {"dice": (0.02, 1.0), "more": (0.03, 0.9), "less": (0.01, 0.01), "alike": (0.021, 1.2)}
    rows = [{"stage": "half-trained", "loss": name, "share_2": share, "gradient": 1.0} for name, (share, _) in tumour.items()]
    return pd.DataFrame(rows + [{"stage": "trained", "loss": name, "share_2": 0.0, "gradient": g} for name, (_, g) in tumour.items()])


def test_predictions_by_hand():
    price = pd.Series({"dice": 1.0, "more": 2.3, "less": 0.5, "alike": 1.1})
    made = predictions.predict(["dice", "more", "less", "alike"], shares_table(), price, "dice")
    found = {(one["kind"], one["experiment"]): (one["expected"], one["ratio"]) for one in made}
    assert found == {
        ("tumour", "more"): ("higher", 1.5), ("tumour", "less"): ("lower", 0.5), ("tumour", "alike"): ("same", pytest.approx(1.05)),
        ("volume", "more"): ("higher", 2.3), ("volume", "less"): ("lower", 0.5), ("volume", "alike"): ("same", 1.1),
        ("lowest", "less"): ("lowest", 0.01),
    }
    assert predictions.predict(["dice"], shares_table(), price, "dice") == []
    with pytest.raises(KeyError, match="none of the experiments dice"):
        predictions.predict(["dice"], shares_table(), price, "other")


@pytest.mark.parametrize("expected, low, high, verdict", [
    ("higher", 0.1, 0.2, "held"), ("higher", -0.2, -0.1, "refuted"), ("higher", -0.1, 0.1, "undecided"),
    ("lower", -0.2, -0.1, "held"), ("lower", 0.1, 0.2, "refuted"), ("lower", np.nan, np.nan, "undecided"),
    ("same", 0.1, 0.2, "refuted"), ("same", -0.2, -0.1, "refuted"), ("same", -0.1, 0.1, "not refuted"),
])
def test_verdicts(expected, low, high, verdict):
    assert predictions.judge(expected, {"low": low, "high": high}) == verdict


def test_predictions_are_checked_against_paired_cases():
    from kitsnb.study.runs import Run

    def run(name: str, tumour: list[float]) -> Run:
        scores = pd.DataFrame({"tumour": tumour, "predicted_tumour_ml": [10 * value for value in tumour]}, index=pd.Index(["a", "b", "c"], name="case"))
        return Run(name, 0, None, {}, None, scores)

    runs = [run("dice", [0.5, 0.6, 0.7]), run("more", [0.6, 0.7, 0.8])]
    table = [{"experiment": name, "scores": {"composite": {"mean": mean}}} for name, mean in (("dice", 0.5), ("more", 0.6))]
    base = {"experiment": "more", "reference": "dice", "kind": "tumour", "score": "tumour", "expected": "higher"}
    checked = predictions.check([
        base, base | {"expected": "same"}, base | {"kind": "volume", "score": "predicted_tumour_ml", "expected": "lower"},
        base | {"experiment": "gone"}, base | {"kind": "lowest", "reference": None, "score": "composite", "expected": "lowest"},
    ], runs, table)
    assert [one["verdict"] for one in checked] == ["held", "refuted", "refuted", "not run", "refuted"]
    assert checked[0]["difference"]["mean"] == pytest.approx(0.1) and checked[2]["difference"]["mean"] == pytest.approx(1.0)
    assert checked[3]["difference"] is None


def test_weights_move_the_gradient_to_the_tumour():
    table = anatomy.gradient_shares({"even": WeightedDiceLoss(weights=[1, 1, 1]), "tumour": WeightedDiceLoss(weights=[0, 0, 1])}, SHARES)
    half = table[table.stage == "half-trained"].set_index("loss").share_2
    assert half["tumour"] > half["even"]
