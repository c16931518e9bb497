"""The loss playground: what can be moved, that it draws what the loss says, and that a faulty file is named."""

import numpy as np
import pytest
from interactive.playground import START, Curves, Playground, parameters_of, thinned
from probing.probes import PATHS, Geometry, along_paths, phantom_geometry

from kitsnb.losses import DiceLoss, FocalTverskyLoss, WeightedDiceLoss

OWN = """
def loss(logits, target, power=2.0, weights=(1, 1, 1), mode="mean"):
    return (logits.softmax(1) ** power).mean()

def broken(logits, target):
    return logits.nothing
"""


@pytest.fixture(scope="module")
def geometry():
    return phantom_geometry(1, 0, (100.0, 100.0, 100.0))


@pytest.fixture
def playground(geometry):
    return Playground(geometry)


def test_a_fine_grid_is_thinned_along_its_finest_axis_first():
    fine = Geometry("g", np.arange(4 * 8 * 8).reshape(4, 8, 8) % 3, np.array([4.0, 1.0, 2.0]), True)
    thin = thinned(fine, voxels=70)
    assert thin.segmentation.shape == (4, 2, 8) and thin.spacing.tolist() == [4, 4, 2]
    assert np.array_equal(thin.segmentation, fine.segmentation[:, ::4])
    assert thinned(fine) is fine


def test_what_a_loss_can_be_given(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    assert parameters_of("log_cosh_tversky") == {"batch": False, "smooth": 1e-5, "alpha": 0.7, "beta": 0.3}
    assert parameters_of("weighted_cross_entropy") == {"weights": None}
    assert parameters_of(f"{tmp_path}/own.py:loss") == {"power": 2.0, "weights": (1, 1, 1), "mode": "mean"}
    with pytest.raises(ValueError, match="did you mean 'dice'"):
        parameters_of("dica")


def test_curves_are_what_the_notebook_measures(geometry):
    curves = Curves(geometry, steps=3)
    loss = FocalTverskyLoss(exponent=2.0)
    curves.show(loss)
    table = along_paths({"loss": loss}, curves.geometry, steps=3)
    for name, (value, gradient) in curves.lines["loss"].items():
        part = table[table.path == name]
        assert value.get_ydata() == pytest.approx(part.relative.to_numpy())
        assert gradient.get_ydata() == pytest.approx(part.gradient.to_numpy())
        assert value.axes.get_ylim()[1] >= max(value.get_ydata())


def test_the_map_pushes_missed_tumour_up_and_false_tumour_down(geometry):
    curves = Curves(geometry, steps=2)
    for path, up in (("missed tumour", True), ("false tumour", False)):
        curves.show(DiceLoss(), path, 1.0)
        odd = PATHS[path].make(curves.geometry, curves.most[path]) != curves.geometry.segmentation
        push = curves.map.get_array()[odd[curves.at]]
        assert push.size and (push.mean() > 0) == up, path


def test_sliders_of_what_a_loss_has_not_are_disabled(playground):
    def enabled():
        return {name for name, slider in playground.sliders.items() if not slider.disabled}

    assert enabled() == {"exponent", "alpha", "beta", "smooth"} and playground.weights[0].disabled
    playground.loss.value = "log_cosh_weighted_dice"
    assert enabled() == {"smooth"} and not playground.weights[0].disabled
    assert playground.given["weights"] == list(START["weights"])


def test_a_slider_redraws_with_its_value(playground):
    before = playground.picture.value
    playground.loss.value = "weighted_dice"
    playground.weights[2].value = 9.0
    lines = playground.curves.lines["loss"]["missed tumour"]
    drawn = lines[0].get_ydata().copy()
    assert playground.picture.value != before and "weights [1.0, 2.0, 9.0]" in playground.picture.value
    playground.curves.show(WeightedDiceLoss(weights=(1, 2, 9)))
    assert lines[0].get_ydata() == pytest.approx(drawn)


def test_an_own_loss_has_sliders_of_its_own_and_a_faulty_one_is_named(playground, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    playground.own.value = f"{tmp_path}/own.py:loss"
    assert [slider.description for slider in playground.extra.children] == ["power"]
    before = playground.picture.value
    playground.extra.children[0].value = 1.0
    assert playground.picture.value != before and not playground.message.value
    for name, said in (("broken", "AttributeError"), ("los", "did you mean")):
        playground.own.value = f"{tmp_path}/own.py:{name}"
        assert said in playground.message.value
    playground.own.value = ""
    assert not playground.message.value
