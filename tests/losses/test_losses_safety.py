"""Where losses break: perfect and hopeless predictions, absent classes, huge logits, half precision, NaN, bad input."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from helpers.losses_at_hand import EVERY, IDS, certain, random_input, value_and_gradient

import kitsnb
from kitsnb.losses import (
    DiceLoss, FocalTverskyLoss, LogCosh, TverskyLoss, WeightedCrossEntropyLoss, WeightedDiceLoss, build_loss,
)  # fmt: skip
from kitsnb.metric import kits19_score

DEGENERATE = {
    "perfect": lambda target, classes: certain(target, classes),
    "all wrong": lambda target, classes: certain((target + 1) % classes, classes),
    "background everywhere": lambda target, classes: certain(torch.zeros_like(target), classes),
    "plus or minus 1e30": lambda target, classes: torch.randn(2, classes, 8, 8, 8).sign() * 1e30,
    "all equal": lambda target, classes: torch.zeros(2, classes, 8, 8, 8),
    "float16": lambda target, classes: (torch.randn(2, classes, 8, 8, 8) * 1e4).half(),
    "bfloat16": lambda target, classes: (torch.randn(2, classes, 8, 8, 8) * 1e4).bfloat16(),
}


@pytest.mark.parametrize("present", [3, 2, 1], ids=["all classes", "no tumour", "background only"])
@pytest.mark.parametrize("logits", DEGENERATE)
@pytest.mark.parametrize("name, parameters, classes", [
    *EVERY, ("focal_tversky", {"exponent": 0.1}, 3), ("focal_tversky", {"exponent": 5.0}, 3),
])  # fmt: skip
def test_value_and_gradient_are_finite(name, parameters, classes, logits, present):
    torch.manual_seed(2)
    target = torch.randint(0, min(present, classes), (2, 8, 8, 8))
    x = DEGENERATE[logits](target, classes).requires_grad_()
    loss = build_loss(name, **parameters)(x, target)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(x.grad).all()
    assert loss.dtype == torch.float32 and x.grad.dtype == x.dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name, parameters, classes", EVERY, ids=IDS)
def test_half_precision_of_a_full_patch_is_within_a_thousandth(name, parameters, classes, dtype):
    logits, target = random_input(classes, 80, 80, 80, batch=1, seed=3)
    logits, loss = logits.to(dtype), build_loss(name, **parameters)
    assert float(loss(logits, target)) == pytest.approx(float(loss(logits.double(), target)), abs=1e-3)


@pytest.mark.parametrize("name, parameters, classes", EVERY, ids=IDS)
def test_autocast_changes_nothing_beyond_the_logits(name, parameters, classes):
    logits, target = random_input(classes, 20, 20, 20)
    loss = build_loss(name, **parameters)
    half = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(half, target)
        value.backward()
    reference = half.detach().double().requires_grad_()
    expected = loss(reference, target)
    expected.backward()
    assert value.dtype == torch.float32 and value.item() == pytest.approx(expected.item(), abs=1e-5)
    assert torch.allclose(half.grad.double(), reference.grad, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name, parameters, classes", EVERY, ids=IDS)
def test_one_bad_logit_is_not_hidden(name, parameters, classes, bad):
    logits, target = random_input(classes, 3, 4, 5)
    for label in range(classes):
        spoilt = logits.clone()
        spoilt[1, label, 2, 3, 4] = bad
        assert not torch.isfinite(build_loss(name, **parameters)(spoilt, target))


def test_target_may_have_a_channel_axis_and_any_integer_type():
    for name, parameters, classes in EVERY:
        logits, target = random_input(classes, 6, 7)
        loss = build_loss(name, **parameters)
        types = (torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int32)
        for same in (target[:, None], *(target.to(kind) for kind in types), target.to(torch.int32)[:, None]):
            assert torch.equal(loss(logits, same), loss(logits, target)), name


@pytest.mark.parametrize("smooth", [0.0, 1e-45, 1e-40, 1e-20])
@pytest.mark.parametrize("name, parameters, classes", [row for row in EVERY if "dice" in row[0] or "tversky" in row[0]])
def test_without_smoothing_an_absent_class_is_all_right(name, parameters, classes, smooth):
    target = torch.zeros(2, 4, 4, 4, dtype=torch.long)
    loss = build_loss(name, smooth=smooth, **parameters)
    for labels, logit in ((target, 1e4), (target, 100.0), (target, 90.0), (1 - target, 1e4)):
        x = certain(labels, classes, logit).requires_grad_()
        value = loss(x, target)
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(x.grad).all()
    assert float(DiceLoss(smooth=0.0)(certain(target, 3), target)) == 0
    assert float(TverskyLoss(smooth=0.0)(certain(target, 3), target)) == 0


REGION = [row for row in EVERY if row[0].endswith(("dice", "tversky")) and "log_cosh" not in row[0]]


@pytest.mark.parametrize("name, parameters, classes", REGION, ids=[row[0] for row in REGION])
def test_region_losses_can_be_differentiated_twice_and_by_functions(name, parameters, classes):
    logits, target = random_input(classes, 2, 3)
    loss = build_loss(name, **parameters)
    gradient = torch.func.grad(lambda x: loss(x, target))(logits)
    assert torch.allclose(gradient, value_and_gradient(loss, logits, target)[1], rtol=1e-12)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, target), logits.requires_grad_())


def test_a_region_loss_keeps_probabilities_and_labels_and_no_more():
    logits = torch.randn(1, 3, 20, 20, 20).requires_grad_()
    target = torch.randint(0, 3, (1, 20, 20, 20))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.nbytes), lambda _: None):
        DiceLoss()(logits, target)
    assert sum(kept) / logits.nbytes == pytest.approx(4 / 3, abs=0.01)


@pytest.mark.parametrize("name, parameters, classes", EVERY, ids=IDS)
def test_no_value_is_asked_for_off_the_cpu(name, parameters, classes, monkeypatch):
    """A GPU would have to wait for it. The device "meta" has no values, and raises where one is asked for."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no such device
    logits = torch.zeros(2, classes, 4, 4, device="meta", requires_grad=True)
    build_loss(name, **parameters)(logits, torch.zeros(2, 4, 4, dtype=torch.uint8, device="meta")).backward()
    assert logits.grad.shape == logits.shape


FLAT = torch.zeros(1, 3, 4, 4)
LABELS = torch.zeros(1, 4, 4, dtype=torch.long)


@pytest.mark.parametrize("name, parameters, classes", EVERY, ids=IDS)
def test_bad_input_is_named_by_every_loss(name, parameters, classes):
    loss, logits = build_loss(name, **parameters), torch.zeros(1, classes, 4, 4)
    for bad_logits, target, error, text in (
        (logits, torch.zeros(1, 4, 5).long(), ValueError, r"\(1, 4, 4\).*\(1, 4, 5\)"),
        (logits, torch.zeros(1, 2, 4, 4).long(), ValueError, r"\(1, 2, 4, 4\)"),
        (logits[..., 0], LABELS, ValueError, "2D or 3D"),
        (logits[:0], LABELS[:0], ValueError, "not empty"),
        (logits.long(), LABELS, TypeError, "floating point"),
        (logits, LABELS + classes, ValueError, rf"0.*{classes - 1}.*{classes}"),
        (logits, LABELS - 1, ValueError, "-1"),
    ):
        with pytest.raises(error, match=text):
            loss(bad_logits, target)
    for kind in (torch.float32, torch.complex64):
        with pytest.raises(TypeError, match=f"integer.*{kind}"):
            loss(logits, LABELS.to(kind))
    for pair in ((np.zeros((1, classes, 4, 4)), LABELS), (logits, np.zeros((1, 4, 4), int))):
        with pytest.raises(TypeError, match="must be a torch tensor, got ndarray; use torch.as_tensor"):
            loss(*pair)


@pytest.mark.parametrize("classes", [1, 3])
def test_number_of_classes(classes):
    with pytest.raises(ValueError, match=f"C >= 2|two classes.*{classes}"):
        build_loss("two_term_dice")(torch.zeros(1, classes, 4, 4), LABELS)


@pytest.mark.parametrize("weights", [[1, 2], [0, 0, 0], [-1, 1, 1], [math.nan, 1, 1], [math.inf, 1, 1]])
@pytest.mark.parametrize("loss", [WeightedDiceLoss, WeightedCrossEntropyLoss])
def test_bad_weights_are_named(loss, weights):
    with pytest.raises(ValueError, match="weights must.*got"):
        loss(weights=weights)(FLAT, LABELS)


@pytest.mark.parametrize("name, parameters", [
    ("dice", {"smooth": -1.0}), ("dice", {"smooth": "1"}), ("tversky", {"alpha": -0.1}), ("tversky", {"beta": math.nan}),
    ("focal_tversky", {"exponent": 0}), ("focal", {"gamma": math.inf}),
])
def test_bad_parameters_are_named(name, parameters):
    with pytest.raises(ValueError, match=f"{next(iter(parameters))}.*"):
        build_loss(name, **parameters)


@pytest.mark.parametrize(
    "name, parameters, nearest",
    [("dyce", {}, "dice"), ("focal_tversky", {"exponant": 1}, "exponent"), ("focal_tversky", {"alhpa": 1}, "alpha"),
     ("log_cosh_focal_tverski", {}, "log_cosh_focal_tversky"), ("generalised_dice", {}, "generalized_dice"),
     ("log_cosh_weighted_dice", {"weight": [1]}, "weights")],
)
def test_unknown_name_or_parameter_names_the_nearest(name, parameters, nearest):
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        build_loss(name, **parameters)
    with pytest.raises(ValueError, match="weighted_dice.*missing.*weights"):
        build_loss("weighted_dice")


def test_representation_shows_what_matters():
    assert "exponent=5.0" in repr(LogCosh(FocalTverskyLoss(exponent=5.0)))
    assert repr(TverskyLoss()) == "TverskyLoss(batch=False, smooth=1e-05, alpha=0.7, beta=0.3)"
    assert "weights=(1, 2, 3)" in repr(build_loss("weighted_cross_entropy", weights=[1, 2, 3]))


class Scaled(DiceLoss):
    """A loss on top of one of ours, with what torch registers."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.inner = torch.nn.Linear(1, 1)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, logits, target):
        return self.scale * super().forward(logits, target)


def test_a_loss_of_ours_can_be_extended_with_parameters_modules_and_buffers():
    loss = Scaled(smooth=1.0)
    assert list(loss.state_dict()) == ["scale", "count", "inner.weight", "inner.bias"]
    logits, target = random_input(3, 4, 4)
    assert torch.equal(loss(logits, target), DiceLoss(smooth=1.0)(logits, target))


def test_completion_in_jupyter_shows_what_the_package_gives():
    names = dir(kitsnb)
    assert {"DiceLoss", "build_loss", "LOSSES", "UNet3D", "kits19_score", "__version__"} <= set(names)
    assert kitsnb.kits19_score is kits19_score and all(getattr(kitsnb, name) is not None for name in names)
