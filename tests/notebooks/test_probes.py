"""Losses probed: controlled errors on a box whose volumes are known by hand, and what must hold whatever the loss."""

import numpy as np
import pytest
import torch
from probing import probes
from probing.errors import PATHS, Geometry, around_tumour, predict_errors, soft_logits

from kitsnb.losses import DiceLoss, LogCosh, WeightedCrossEntropyLoss, WeightedDiceLoss
from kitsnb.metric import kits19_score
from kitsnb.workflow.profile import Experiment

SHARES = (0.9, 0.07, 0.03)
PLAIN = {"dice": DiceLoss(), "log_cosh": LogCosh(DiceLoss()), "tumour_alone": WeightedDiceLoss(weights=[0, 0, 1]),
         "entropy": WeightedCrossEntropyLoss(weights=[1, 1, 1])}
ROWS = [Experiment(name="dice", title="Dice loss", loss="dice"),
        Experiment(name="log", title="Log-cosh", loss="log_cosh_dice"),
        Experiment(name="mine", title="My loss", loss="tversky", parameters={"alpha": 0.6, "beta": 0.4})]
OWN = "import torch\ntakes_3d = lambda logits, target: torch.nn.functional.avg_pool3d(logits, 2).mean()\n"


@pytest.fixture
def box() -> Geometry:
    """A kidney of 10 x 20 x 20 voxels (20 mm a side) in 20 x 60 x 60, its upper half in the slice axis a tumour."""
    labels = np.zeros((20, 60, 60), np.uint8)
    labels[5:15, 20:40, 20:40] = 1
    labels[5:10, 20:40, 20:40] = 2
    return Geometry("box", labels, np.array([2.0, 1.0, 1.0]), simulated=True)


def test_a_readers_loss_gets_3d_and_one_that_fails_stops_no_other(box, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    rows = [*ROWS, Experiment(name="whole", loss=f"{tmp_path}/own.py:takes_3d"),
            Experiment(name="odd", loss="no_such_loss")]
    losses, refused = probes.build_losses(rows, {"batch": True}, [box])
    assert list(losses) == ["dice", "log", "mine", "whole"] and losses["dice"].batch and losses["mine"].alpha == 0.6
    assert list(refused) == ["odd"] and "no_such_loss" in refused["odd"]
    assert np.isfinite(probes.gradient_shares({"whole": losses["whole"]}, SHARES).gradient).all()


def test_measure_by_hand():
    """Cross-entropy of two voxels at p = 1/3: each pushes its class by 2/3 and the others by 1/3, over two voxels."""
    found = probes.measure(PLAIN["entropy"], torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 2]]]))
    assert found["value"] == pytest.approx(np.log(3))
    assert found["gradient"] == pytest.approx(4 / 3)
    assert [found[name] for name in ("background", "kidney", "tumour")] == pytest.approx([0.5, 0, 0.5])


def test_mixture_has_the_shares_and_the_margin():
    logits, target = probes.mixture(SHARES, 5.0, side=20)
    assert logits.shape == (1, 3, 20, 20, 20) and torch.bincount(target.flatten()).tolist() == [7200, 560, 240]
    own = logits.gather(1, target[:, None])
    assert float(own.mean()) == pytest.approx(5.0, abs=0.05)
    assert float((logits.sum(1) - own[:, 0]).mean() / 2) == pytest.approx(0.0, abs=0.05)
    assert torch.bincount(probes.mixture((1, 0, 0), 0.0, side=10)[1].flatten()).tolist() == [998, 1, 1]


def test_who_gets_the_gradient():
    table = probes.gradient_shares(PLAIN, SHARES).set_index(["stage", "loss"])
    shares = ["background", "kidney", "tumour"]
    assert table.loc[("untrained", "entropy"), shares].tolist() == pytest.approx(SHARES, rel=0.02)
    for stage in probes.STAGES:
        plain = table.loc[(stage, "dice")]
        curved = table.loc[(stage, "log_cosh")]
        assert curved[shares].tolist() == pytest.approx(plain[shares].tolist(), rel=1e-4)
        assert curved.gradient / plain.gradient == pytest.approx(np.tanh(plain.value), rel=1e-4)
    assert table.loc[("half-trained", "tumour_alone")].tumour > table.loc[("half-trained", "dice")].tumour


def test_along_paths_has_every_step_relative_to_finding_nothing_and_gives_the_price_of_missing(box):
    table = probes.along_paths({"dice": DiceLoss()}, box, predict_errors(box, 3))
    assert len(table) == len(PATHS) * 3 and not table.isna().any(axis=None)
    start = table[table.amount == 0]
    assert table.relative[table.path == "erosion"].iloc[-1] == pytest.approx(1), "16 mm of erosion leave nothing"
    assert (table[table.amount > 0].value > start.value.iloc[0]).all()
    by_hand = table.assign(value=[1, 4, 9, 1, 4, 9, 1, 4, 9, 1, 3, 9])
    assert probes.price_of_missing(by_hand)["dice"] == pytest.approx(3 / 2)
    free = table.assign(value=[1, 4, 9, 1, 4, 9, 1, 4, 9, 1, 1, 9])
    assert np.isnan(probes.price_of_missing(free)["dice"]), "inventing costs nothing"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_path_starts_at_the_label_and_scores_fall_along_it(box, path):
    made = [path.make(box, amount) for amount in path.amounts(box, 5)]
    assert np.array_equal(made[0], box.segmentation)
    tumour = [kits19_score(labels, box.segmentation)["tumour"] for labels in made]
    assert sorted(tumour, reverse=True) == tumour and tumour[1] < tumour[0]


def test_errors_are_in_millimetres_and_millilitres(box):
    eroded = PATHS["erosion"].make(box, 4.0) > 0
    assert np.argwhere(eroded).min(0).tolist() == [5 + 2, 24, 24] and eroded.sum() == 6 * 12 * 12
    dilated = PATHS["dilation"].make(box, 4.0)
    assert np.argwhere(dilated > 0).min(0).tolist() == [5 - 2, 16, 16]
    assert dilated[3, 30, 30] == 2 and dilated[16, 30, 30] == 1  # the nearest label
    missed = PATHS["missed tumour"].make(box, 1.0)
    assert np.bincount(missed.flat)[1:].tolist() == [2000 + 500, 2000 - 500]
    assert not (missed[9] == 2).any()  # from the lowest slice upwards
    false = PATHS["false tumour"].make(box, 1.0)
    new = false != box.segmentation
    assert new.sum() == 500 and (false[new] == 2).all() and (box.segmentation[new] == 0).all()


def test_soft_logits_name_the_labels_and_are_unsure_at_borders(box):
    logits = soft_logits(box.segmentation, box.spacing)
    assert logits.shape == (1, 3, 20, 60, 60) and logits.abs().max() == 5
    assert np.array_equal(logits[0].argmax(0).numpy(), box.segmentation)
    assert float(logits[0, 1, 12, 20, 30]) == pytest.approx(1 / 2)  # 1 mm from the background
    nothing = soft_logits(np.zeros((3, 4, 5), np.uint8), np.ones(3))
    assert nothing[0, :, 0, 0, 0].tolist() == [5, -5, -5]


@pytest.mark.parametrize("extent, shape", [((20.0, 10.0, 16.0), (10, 10, 16)), ((500.0, 500.0, 500.0), (30, 40, 50))])
def test_a_patch_stays_inside_and_holds_the_tumour(extent, shape):
    labels = np.zeros((30, 40, 50), np.uint8)
    labels[1:3, 36:39, 20:24] = 2
    affine = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [-2, 0, 0, 0], [0, 0, 0, 1.0]])
    patch = around_tumour("case", labels, affine, extent, (2.0, 1.0, 1.0), simulated=False)
    assert patch.segmentation.shape == shape and patch.tumour_ml == pytest.approx(2 * 3 * 4 * 2 / 1000)
    with pytest.raises(ValueError, match="case holds no tumour"):
        around_tumour("case", labels * 0, affine, extent, (2.0, 1.0, 1.0), simulated=False)
