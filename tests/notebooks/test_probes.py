"""Losses probed: controlled errors on a box whose volumes are known by hand, and what must hold whatever the loss."""

import numpy as np
import pandas as pd
import pytest
import torch
from probing import probes
from probing.probes import PATHS, Geometry, crop, phantom_geometry, real_geometry, soft_logits

from kitsnb.data.cases import Case, discover
from kitsnb.data.checks import Accept
from kitsnb.data.nifti import CaseError, write_nifti
from kitsnb.losses import DiceLoss, LogCosh, TverskyLoss, WeightedCrossEntropyLoss, WeightedDiceLoss
from kitsnb.metric.score import kits19_score

SHARES = (0.9, 0.07, 0.03)
PLAIN = {"dice": DiceLoss(), "log_cosh": LogCosh(DiceLoss()), "entropy": WeightedCrossEntropyLoss(weights=[1, 1, 1])}


@pytest.fixture(scope="module")
def geometry():
    return phantom_geometry(1, 0, (130.0, 130.0, 130.0))


def test_losses_are_built_from_rows():
    built = probes.build_losses([{"name": "mine", "loss": "tversky", "parameters": {"alpha": 0.6}}, {"name": "d", "loss": "dice"}])
    assert built["mine"].alpha == 0.6 and isinstance(built["d"], DiceLoss)


def test_measure_by_hand():
    """Cross-entropy of two voxels at p = 1/3: each pushes its own class by 2/3 and the two others by 1/3, over two voxels."""
    found = probes.measure(PLAIN["entropy"], torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 2]]]))
    assert found["value"] == pytest.approx(np.log(3))
    assert found["gradient"] == pytest.approx(4 / 3)
    assert [found[name] for name in probes.CLASSES] == pytest.approx([0.5, 0, 0.5])


def test_mixture_has_the_shares_and_the_margin():
    logits, target = probes.mixture(SHARES, 5.0, voxels=10_000)
    assert torch.bincount(target.flatten()).tolist() == [9000, 700, 300]
    own = logits.gather(1, target[:, None])
    assert float(own.mean()) == pytest.approx(5.0, abs=0.05)
    assert float((logits.sum(1) - own[:, 0]).mean() / 2) == pytest.approx(0.0, abs=0.05)
    assert torch.bincount(probes.mixture((0.99999, 0.0, 0.00001), 0.0, voxels=1000)[1].flatten()).tolist() == [998, 1, 1]


def test_cross_entropy_gives_untrained_voxels_their_share_and_log_cosh_changes_no_share():
    table = probes.gradient_shares(PLAIN, SHARES).set_index(["stage", "loss"])
    shares = list(probes.CLASSES)
    assert table.loc[("untrained", "entropy"), shares].tolist() == pytest.approx(SHARES, rel=0.02)
    for stage in probes.STAGES:
        assert table.loc[(stage, "dice"), shares].tolist() == pytest.approx(table.loc[(stage, "log_cosh"), shares].tolist(), rel=1e-4)
        factor = table.loc[(stage, "log_cosh"), "gradient"] / table.loc[(stage, "dice"), "gradient"]
        assert factor == pytest.approx(np.tanh(table.loc[(stage, "dice"), "value"]), rel=1e-4)
    assert table[shares].sum(axis=1).to_numpy() == pytest.approx(1)


def test_along_paths_has_every_step_and_is_relative_to_finding_nothing(geometry):
    table = probes.along_paths({"dice": DiceLoss()}, geometry, steps=3)
    assert len(table) == 5 * 3 and not table.isna().any(axis=None)
    start = table[table.amount == 0]
    assert start.value.nunique() == 1 and (table.relative <= 1.01).all()
    assert (table[table.amount > 0].value > start.value.iloc[0]).all()


def test_price_of_missing_follows_alpha_over_beta(geometry):
    losses = {f"{alpha}": TverskyLoss(alpha=alpha, beta=1 - alpha) for alpha in (0.3, 0.5, 0.7)}
    price = probes.price_of_missing(probes.along_paths(losses, geometry, steps=9))
    assert price["0.3"] < price["0.5"] < price["0.7"]
    by_hand = pd.DataFrame({"path": ["missed tumour"] * 2 + ["false tumour"] * 2, "amount": [0, 1, 0, 1], "loss": "x",
                            "value": [0.1, 0.4, 0.1, 0.2]})
    assert probes.price_of_missing(by_hand)["x"] == pytest.approx(3.0)


def test_a_patch_without_tumour(geometry):
    table = probes.without_tumour({"dice": DiceLoss(), "pooled": DiceLoss(batch=True), "entropy": PLAIN["entropy"]}, geometry, 3.0)
    assert (table["false"] > table.clean).all()
    assert table.clean["dice"] > 0.3 and table.clean["entropy"] < 0.01
    assert table.pooled["pooled"] > 10 * table.push["pooled"]


def test_weights_move_the_gradient_to_the_tumour():
    table = probes.gradient_shares({"even": WeightedDiceLoss(weights=[1, 1, 1]), "tumour": WeightedDiceLoss(weights=[0, 0, 1])}, SHARES)
    half = table[table.stage == "half-trained"].set_index("loss").tumour
    assert half["tumour"] > half["even"]


# ---- errors ----------------------------------------------------------------------------------------------------------


def box(spacing=(2.0, 1.0, 1.0)) -> Geometry:
    """A kidney of 10 x 20 x 20 voxels (20 mm a side) in 20 x 60 x 60, its upper half in the slice axis a tumour."""
    labels = np.zeros((20, 60, 60), np.uint8)
    labels[5:15, 20:40, 20:40] = 1
    labels[5:10, 20:40, 20:40] = 2
    return Geometry("box", labels, np.asarray(spacing), simulated=True)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_starts_at_the_label_and_scores_fall_along_it(name):
    geometry, path = box(), PATHS[name]
    amounts = path.amounts(geometry, 5)
    assert amounts[0] == 0 and amounts[-1] == path.most(geometry)
    assert np.array_equal(path.make(geometry, 0.0), geometry.segmentation)
    tumour = [kits19_score(path.make(geometry, amount), geometry.segmentation)["tumour"] for amount in amounts]
    assert all(after <= before for before, after in zip(tumour, tumour[1:])) and tumour[1] < tumour[0]


def test_erosion_and_dilation_are_in_millimetres():
    geometry = box()
    eroded = PATHS["erosion"].make(geometry, 4.0) > 0
    assert np.array_equal(np.argwhere(eroded).min(0), [5 + 2, 24, 24]) and eroded.sum() == 6 * 12 * 12
    dilated = PATHS["dilation"].make(geometry, 4.0)
    assert np.array_equal(np.argwhere(dilated > 0).min(0), [5 - 2, 16, 16])
    assert dilated[3, 30, 30] == 2 and dilated[16, 30, 30] == 1  # the nearest label


def test_shift_leaves_background_behind():
    shifted = PATHS["shift"].make(box(), 12.0)
    assert np.array_equal(np.argwhere(shifted > 0).min(0), [5, 20, 32])
    assert (shifted > 0).sum() == 10 * 20 * 20
    assert not PATHS["shift"].make(box(), 60.0).any()


def test_volumes_of_missed_and_invented_tumour():
    geometry = box()
    assert geometry.tumour_ml == pytest.approx(5 * 20 * 20 * 2 / 1000)
    missed = PATHS["missed tumour"].make(geometry, 1.0)
    assert ((missed == 2).sum(), (missed == 1).sum()) == (2000 - 500, 2000 + 500)
    assert not (missed[9] == 2).any()  # from the lowest slice upwards
    assert not (PATHS["missed tumour"].make(geometry, 99.0) == 2).any()
    false = PATHS["false tumour"].make(geometry, 1.0)
    new = (false == 2) & (geometry.segmentation == 0)
    assert new.sum() == 500 and np.array_equal(false[~new], geometry.segmentation[~new])


def test_soft_logits_name_the_labels_and_are_unsure_at_borders():
    geometry = box()
    logits = soft_logits(geometry.segmentation, geometry.spacing, softness=2.0, most=5.0)
    assert logits.shape == (1, 3, 20, 60, 60)
    assert np.array_equal(logits[0].argmax(0).numpy(), geometry.segmentation)
    assert logits.abs().max() == 5
    assert float(logits[0, 1, 12, 20, 30]) == pytest.approx(1 / 2)  # 1 mm from the background
    assert torch.equal(soft_logits(np.zeros((3, 4, 5), np.uint8), (1, 1, 1))[0, :, 0, 0, 0], torch.tensor([5.0, -5.0, -5.0]))


def test_crop_stays_inside_and_holds_the_tumour():
    labels = np.zeros((30, 40, 50), np.uint8)
    labels[1:3, 36:39, 20:24] = 2
    assert crop(labels, (2.0, 1.0, 1.0), (20.0, 10.0, 16.0)).shape == (10, 10, 16)
    for extent in ((20.0, 10.0, 16.0), (500.0, 500.0, 500.0)):
        assert (crop(labels, (2.0, 1.0, 1.0), extent) == 2).sum() == 2 * 3 * 4


def test_phantom_geometry_is_called_simulated_and_repeats():
    one, again = (phantom_geometry(1, 0, (120.0, 120.0, 120.0)) for _ in range(2))
    assert one.simulated and np.array_equal(one.segmentation, again.segmentation)
    assert set(np.unique(one.segmentation)) == {0, 1, 2} and sum(one.shares_percent.values()) == pytest.approx(100)


def test_a_case_without_tumour_is_named(tmp_path):
    folder = tmp_path / "case_00007"
    folder.mkdir()
    write_nifti(folder / "segmentation.nii.gz", np.ones((80, 5, 6), np.uint8), np.diag([-1.0, -1.0, -1.0, 1.0]))
    with pytest.raises(CaseError, match="case_00007.*no tumour"):
        real_geometry(Case(folder), (1, 1, 1), (10, 10, 10))


def test_labels_are_accepted_as_they_were_when_the_case_was_checked(tmp_path):
    (folder := tmp_path / "case_00007").mkdir()
    labels = np.ones((40, 50, 60), np.uint8)
    labels[10:20, 10:20, 10:20] = 3
    write_nifti(folder / "segmentation.nii.gz", labels, np.array([[0, 0, -1, 0], [0, -1, 0, 0], [-3, 0, 0, 0], [0, 0, 0, 1.0]]))
    with pytest.raises(CaseError, match="case_00007"):
        real_geometry(Case(folder), (3, 1, 1), (60, 30, 30))
    geometry = real_geometry(Case(folder), (3, 1, 1), (60, 30, 30), Accept({3: 2}))
    assert geometry.tumour_ml == pytest.approx(3.0)


def test_real_geometry_keeps_the_tumour_volume(kits19_labels):
    case = next(case for case in discover(kits19_labels) if case.number == 122)
    geometry = real_geometry(case, (3.22, 1.62, 1.62), (257.6, 129.6, 129.6))
    assert not geometry.simulated and geometry.name == "case_00122"
    assert np.allclose(geometry.spacing, (3.22, 1.62, 1.62), rtol=0.01)
    assert geometry.tumour_ml == pytest.approx(30.22, rel=0.03)  # notebook 01's volume of the whole tumour
