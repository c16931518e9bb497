"""Losses against values worked by hand, against each other, and where peers fail."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitsnb.losses import (
    LOSSES,
    DiceLoss,
    FocalTverskyLoss,
    LogCosh,
    TverskyLoss,
    WeightedDiceLoss,
    build_loss,
    dice_index,
    log_cosh,
    region_statistics,
)

#: Every name of the registry with arguments that it accepts.
BUILT = [(name, {"weights": [1, 2, 3]} if "weighted" in name else {}) for name in LOSSES]


def two_voxels() -> tuple[torch.Tensor, torch.Tensor]:
    """Two voxels, two classes: probabilities (3/4, 1/4) and (1/2, 1/2); labels 0 and 1."""
    logits = torch.log(torch.tensor([[0.75, 0.5], [0.25, 0.5]], dtype=torch.float64))
    return logits.reshape(1, 2, 1, 1, 2), torch.tensor([0, 1]).reshape(1, 1, 1, 2)


def certain(labels: torch.Tensor, classes: int = 3, logit: float = 1e4) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float() * logit


# By hand: class 0 has tp 3/4, fp 1/2, fn 1/4; class 1 has tp 1/2, fp 1/4, fn 1/2.
DICE = (1.5 / 2.25, 1.0 / 1.75)
TVERSKY = (0.75 / (0.75 + 0.7 * 0.25 + 0.3 * 0.5), 0.5 / (0.5 + 0.7 * 0.5 + 0.3 * 0.25))
CROSS_ENTROPY = -(math.log(0.75) + math.log(0.5)) / 2
BY_HAND = [
    ("dice", {}, 1 - sum(DICE) / 2),
    ("weighted_dice", {"weights": [1, 3]}, 1 - (DICE[0] + 3 * DICE[1]) / 4),
    ("tversky", {}, 1 - sum(TVERSKY) / 2),
    ("focal_tversky", {}, sum((1 - index) ** 0.75 for index in TVERSKY)),
    ("focal_tversky", {"exponent": 5.0, "classes": "mean"}, sum((1 - index) ** 5 for index in TVERSKY) / 2),
    ("focal_tversky", {"focal_on": "index"}, sum(1 - index**0.75 for index in TVERSKY)),
    ("log_cosh_dice", {}, math.log(math.cosh(1 - sum(DICE) / 2))),
    ("log_cosh_weighted_dice", {"weights": [1, 3]}, math.log(math.cosh(1 - (DICE[0] + 3 * DICE[1]) / 4))),
    ("log_cosh_focal_tversky", {}, math.log(math.cosh(sum((1 - index) ** 0.75 for index in TVERSKY)))),
    ("dice_cross_entropy", {}, 1 - sum(DICE) / 2 + CROSS_ENTROPY),
]


@pytest.mark.parametrize("name, parameters, expected", BY_HAND)
def test_value_worked_by_hand(name, parameters, expected):
    smooth = {"smooth": 0.0}
    assert float(build_loss(name, **parameters, **smooth)(*two_voxels())) == pytest.approx(expected, abs=1e-9)


def test_statistics_worked_by_hand():
    tp, fp, fn = region_statistics(*two_voxels())
    assert torch.allclose(torch.stack([tp[0], fp[0], fn[0]]), torch.tensor([[0.75, 0.5], [0.5, 0.25], [0.25, 0.5]]).double())


def test_alpha_is_on_false_negatives():
    target = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    target[0, 0] = 1
    missed = certain(torch.zeros_like(target), 2)
    invented = certain(torch.ones_like(target), 2)
    loss = lambda logits, alpha: TverskyLoss(alpha=alpha, beta=1 - alpha).complement(logits, target)[0, 1]  # noqa: E731
    assert loss(missed, 0.7) == pytest.approx(1, abs=1e-4)
    assert loss(invented, 0.7) == pytest.approx(1 - 4 / (4 + 0.3 * 4), abs=1e-5)


def test_two_class_dice_is_equation_8():
    logits, target = torch.randn(1, 2, 4, 4, 4, dtype=torch.float64), torch.randint(0, 2, (1, 4, 4, 4))
    p, r = logits.softmax(1)[:, 1].flatten(), target.flatten().double()
    literal = 1 - (p * r).sum() / (p + r).sum() - ((1 - p) * (1 - r)).sum() / (2 - p - r).sum()
    assert float(DiceLoss(smooth=0.0)(logits, target)) == pytest.approx(float(literal), abs=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_dice_is_tversky_with_one_half_each(seed):
    torch.manual_seed(seed)
    logits, target = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64), torch.randint(0, 3, (2, 4, 4, 4))
    tversky = TverskyLoss(alpha=0.5, beta=0.5, smooth=0.5e-5)(logits, target)
    assert torch.allclose(DiceLoss(smooth=1e-5)(logits, target), tversky, atol=1e-12)


@pytest.mark.parametrize("name, parameters", BUILT)
def test_voxel_and_sample_order_do_not_matter(name, parameters):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64), torch.randint(0, 3, (2, 4, 4, 4))
    loss = build_loss(name, **parameters)
    assert torch.allclose(loss(logits, target), loss(logits.flip(0, 2, 4), target.flip(0, 1, 3)))


@pytest.mark.parametrize("name, parameters", BUILT)
def test_gradient_in_float64(name, parameters):
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (2, 2, 3, 2))
    assert torch.autograd.gradcheck(lambda x: build_loss(name, **parameters)(x, target), logits)


DEGENERATE = {
    "perfect": lambda target: certain(target),
    "all wrong": lambda target: certain((target + 1) % 3),
    "huge": lambda target: torch.randn(2, 3, 8, 8, 8) * 1e4,
    "half": lambda target: torch.randn(2, 3, 8, 8, 8).half(),
}


@pytest.mark.parametrize("labels", ["all classes", "no tumour", "background only"])
@pytest.mark.parametrize("logits", DEGENERATE)
@pytest.mark.parametrize("name, parameters", BUILT)
def test_value_and_gradient_are_finite(name, parameters, logits, labels):
    torch.manual_seed(2)
    target = torch.randint(0, {"all classes": 3, "no tumour": 2, "background only": 1}[labels], (2, 8, 8, 8))
    x = DEGENERATE[logits](target).requires_grad_()
    loss = build_loss(name, **parameters)(x, target)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_counts_a_full_patch(dtype):
    torch.manual_seed(3)
    logits, target = torch.randn(1, 3, 80, 80, 80).to(dtype), torch.randint(0, 3, (1, 80, 80, 80))
    for name, parameters in BUILT:
        loss = build_loss(name, **parameters)
        assert float(loss(logits, target)) == pytest.approx(float(loss(logits.double(), target)), abs=1e-3)


def test_nan_is_not_hidden():
    logits = torch.randn(1, 3, 2, 2, 2)
    logits[0, 0, 0, 0, 0] = math.nan
    assert torch.isnan(DiceLoss()(logits, torch.zeros(1, 2, 2, 2, dtype=torch.long)))


def test_log_cosh_is_right_at_both_ends():
    x = torch.tensor([1e-4, 0.5, 0.999, 1.001, 3.0, 1000.0], requires_grad=True)
    expected = torch.tensor([5e-9, *(math.log(math.cosh(v)) for v in (0.5, 0.999, 1.001, 3.0)), 1000 - math.log(2)])
    value = log_cosh(x)
    value.sum().backward()
    assert torch.allclose(value, expected, rtol=1e-5)
    assert torch.allclose(x.grad, torch.tanh(x.detach()), rtol=1e-5)


def test_pooling_the_batch():
    logits, target = torch.randn(2, 3, 4, 4, 4), torch.randint(0, 3, (2, 4, 4, 4))
    pooled = 1 - dice_index(region_statistics(logits, target).pooled()).mean()
    assert torch.allclose(DiceLoss(batch=True)(logits, target), pooled)
    assert DiceLoss(reduction="none")(logits, target).shape == (2, 3)


@pytest.mark.parametrize(
    "logits, target, error, text",
    [
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 5).long(), ValueError, r"\(1, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4).long(), ValueError, "C >= 2"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4), TypeError, "integer"),
        (torch.zeros(1, 3, 4, 4), torch.full((1, 4, 4), 3), ValueError, "0..2"),
    ],
)
def test_bad_input_is_named(logits, target, error, text):
    with pytest.raises(error, match=text):
        DiceLoss()(logits, target)


@pytest.mark.parametrize("weights", [[1, 2], [0, 0, 0], [-1, 1, 1]])
def test_bad_weights_are_named(weights):
    with pytest.raises(ValueError, match="weights"):
        WeightedDiceLoss(weights=weights)(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4).long())


@pytest.mark.parametrize(
    "name, parameters, nearest",
    [("dyce", {}, "dice"), ("focal_tversky", {"exponant": 1}, "exponent"), ("focal_tversky", {"alhpa": 1}, "alpha")],
)
def test_unknown_name_or_parameter_names_the_nearest(name, parameters, nearest):
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        build_loss(name, **parameters)


def test_own_loss_from_a_file(tmp_path):
    file = tmp_path / "my_loss.py"
    file.write_text("def mine(logits, target, power=1.0):\n    return logits.softmax(1)[:, 0].mean() ** power\n")
    logits, target = torch.randn(1, 3, 4, 4), torch.zeros(1, 4, 4).long()
    expected = logits.softmax(1)[:, 0].mean() ** 2
    assert torch.allclose(build_loss(f"{file}:mine", power=2.0)(logits, target), expected)
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        build_loss(f"{file}:mint")
    with pytest.raises(ValueError, match="did you mean 'power'"):
        build_loss(f"{file}:mine", pover=2.0)
    file.write_text("def mine(logits, target):\n    return logits\n")
    with pytest.raises(TypeError, match="scalar"):
        build_loss(f"{file}:mine")(logits, target)


def test_composition_is_shown():
    assert "FocalTverskyLoss" in repr(LogCosh(FocalTverskyLoss(exponent=5.0)))
