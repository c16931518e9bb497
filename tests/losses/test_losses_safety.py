"""Where losses break: perfect and hopeless predictions, absent classes, huge logits, half precision, NaN, bad input."""

import math

import numpy as np
import pytest
import torch
from helpers.losses_at_hand import BASE, EVERY, certain, random_input, value_and_gradient

from kitsnb.losses import DiceLoss, TverskyLoss, build_loss

DEGENERATE = {
    "perfect": lambda target: certain(target),
    "all wrong": lambda target: certain((target + 1) % 3),
    "background everywhere": lambda target: certain(torch.zeros_like(target)),
    "plus or minus 1e30": lambda target: torch.randn(2, 3, 8, 8, 8).sign() * 1e30,
    "all equal": lambda target: torch.zeros(2, 3, 8, 8, 8),
    "float16": lambda target: (torch.randn(2, 3, 8, 8, 8) * 1e4).half(),
    "bfloat16": lambda target: (torch.randn(2, 3, 8, 8, 8) * 1e4).bfloat16(),
}
EXPONENTS = [("focal_tversky", {"exponent": 0.1}), ("focal_tversky", {"exponent": 5.0})]


@pytest.mark.parametrize("present", [3, 2, 1], ids=["all classes", "no tumour", "background only"])
@pytest.mark.parametrize("name, parameters", [*EVERY, *EXPONENTS])
def test_value_and_gradient_are_finite(name, parameters, present):
    loss = build_loss(name, **parameters)
    for kind, logits in DEGENERATE.items():
        torch.manual_seed(2)
        target = torch.randint(0, present, (2, 8, 8, 8))
        value, gradient = value_and_gradient(loss, logits(target), target)
        assert torch.isfinite(value) and torch.isfinite(gradient).all(), kind
        assert value.dtype == torch.float32, kind


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name, parameters", EVERY)
def test_half_precision_and_autocast_change_nothing_beyond_the_logits(name, parameters, dtype):
    """Also for more voxels than float16 can count."""
    logits, target = random_input(3, 48, 48, 48, batch=1, seed=3)
    half = logits.to(dtype)
    loss = build_loss(name, **parameters)
    expected, reference = value_and_gradient(loss, half.double(), target)
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = value_and_gradient(loss, half, target)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(expected.item(), abs=1e-5)
    assert torch.allclose(gradient.double(), reference, rtol=1e-2, atol=0.05 * float(reference.abs().max()))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name, parameters", EVERY)
def test_one_bad_logit_is_not_hidden(name, parameters, bad):
    logits, target = random_input(3, 3, 4, 5)
    for label in range(3):
        spoilt = logits.clone()
        spoilt[1, label, 2, 3, 4] = bad
        assert not torch.isfinite(build_loss(name, **parameters)(spoilt, target))


@pytest.mark.parametrize("name, parameters", BASE)
def test_target_may_have_a_channel_axis_and_any_integer_type(name, parameters):
    logits, target = random_input(3, 6, 7)
    loss = build_loss(name, **parameters)
    for same in (target[:, None], target.to(torch.uint8), target.to(torch.uint16), target.to(torch.int8)):
        assert torch.equal(loss(logits, same), loss(logits, target))


@pytest.mark.parametrize("smooth", [0.0, 1e-45, 1e-20])
@pytest.mark.parametrize("name, parameters", [row for row in BASE if "dice" in row[0] or "tversky" in row[0]])
def test_without_smoothing_an_absent_class_is_all_right(name, parameters, smooth):
    target = torch.zeros(2, 4, 4, 4, dtype=torch.long)
    loss = build_loss(name, smooth=smooth, **parameters)
    for labels, logit in ((target, 1e4), (target, 100.0), (target, 90.0), (1 - target, 1e4)):
        value, gradient = value_and_gradient(loss, certain(labels, 3, logit), target)
        assert torch.isfinite(value) and torch.isfinite(gradient).all()
    assert DiceLoss(smooth=0.0)(certain(target), target) == TverskyLoss(smooth=0.0)(certain(target), target) == 0


def test_a_region_loss_keeps_probabilities_and_labels_and_no_more():
    logits = torch.randn(1, 3, 20, 20, 20).requires_grad_()
    target = torch.randint(0, 3, (1, 20, 20, 20))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.nbytes), lambda _: None):
        DiceLoss()(logits, target)
    assert sum(kept) / logits.nbytes == pytest.approx(4 / 3, abs=0.01)


FLAT = torch.zeros(1, 3, 4, 4)
LABELS = torch.zeros(1, 4, 4, dtype=torch.long)
BAD_INPUT = [
    (FLAT, torch.zeros(1, 4, 5).long(), r"\(1, 4, 4\).*\(1, 4, 5\)"), (FLAT, torch.zeros(1, 2, 4, 4).long(), r"\(1, 2, 4, 4\)"),
    (FLAT[..., 0], LABELS, "2D or 3D"), (FLAT[:, :1], LABELS, "C >= 2"), (FLAT[:0], LABELS[:0], "not empty"),
    (FLAT.long(), LABELS, "floating point.*int64"), (FLAT, LABELS.float(), "integer.*float32"),
    (FLAT, LABELS + 3, "0..2, got 3 to 3"), (FLAT, LABELS - 1, "got -1"),
    (np.zeros((1, 3, 4, 4)), LABELS, "must be torch tensors, got ndarray"), (FLAT, np.zeros((1, 4, 4), int), "ndarray"),
]  # fmt: skip


@pytest.mark.parametrize("name, parameters", BASE)
def test_bad_input_is_named_by_every_loss(name, parameters):
    for logits, target, text in BAD_INPUT:
        with pytest.raises((TypeError, ValueError), match=text):
            build_loss(name, **parameters)(logits, target)


@pytest.mark.parametrize("name", ["weighted_dice", "weighted_cross_entropy"])
def test_bad_weights_are_named(name):
    for weights in ([1, 2], [0, 0, 0], [-1, 1, 1], [math.nan, 1, 1], [math.inf, 1, 1]):
        with pytest.raises(ValueError, match="weights must.*got"):
            build_loss(name, weights=weights)(FLAT, LABELS)


@pytest.mark.parametrize("name, parameters, text", [
    ("dice", {"smooth": "1"}, "smooth must"), ("tversky", {"alpha": -0.1}, "alpha must"),
    ("tversky", {"beta": math.nan}, "beta must"), ("log_cosh_focal", {"gamma": math.inf}, "gamma must"),
    ("log_cosh_focal_tverski", {}, "did you mean 'log_cosh_focal_tversky'"),
    ("focal_tversky", {"alhpa": 1}, "'alhpa'; it takes .*alpha=0.7"), ("weighted_dice", {}, "weighted_dice.*missing.*weights"),
    ("log_cosh_weighted_dice", {"weight": [1]}, "it takes .*weights"),
])  # fmt: skip
def test_a_wrong_name_or_parameter_is_named(name, parameters, text):
    with pytest.raises(ValueError, match=text):
        build_loss(name, **parameters)


def test_defaults_go_to_the_losses_that_have_them():
    loss = build_loss("dice", {"batch": True, "alpha": 0.1, "smooth": 2.0}, smooth=1.0)
    assert (loss.batch, loss.smooth) == (True, 1.0) and not hasattr(loss, "alpha")
