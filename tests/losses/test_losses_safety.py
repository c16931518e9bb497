"""Where losses break: perfect and hopeless predictions, absent classes, huge logits, half precision, NaN, bad input."""

import ast
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.losses_at_hand import EVERY, IDS, certain, random_input, value_and_gradient
from peers.measure import peak_bytes
from torch.utils._python_dispatch import TorchDispatchMode

import kitsnb.losses
from kitsnb.losses import (
    DiceLoss,
    DistributionFocalLoss,
    FocalTverskyLoss,
    LogCosh,
    QualityFocalLoss,
    TverskyLoss,
    WeightedCrossEntropyLoss,
    WeightedDiceLoss,
    build_loss,
    region_statistics,
    trust_labels,
)

DEGENERATE = {
    "perfect": lambda target, classes: certain(target, classes),
    "all wrong": lambda target, classes: certain((target + 1) % classes, classes),
    "background everywhere": lambda target, classes: certain(torch.zeros_like(target), classes),
    "plus or minus 1e4": lambda target, classes: torch.randn(2, classes, 8, 8, 8).sign() * 1e4,
    "all equal": lambda target, classes: torch.zeros(2, classes, 8, 8, 8),
    "float16": lambda target, classes: (torch.randn(2, classes, 8, 8, 8) * 1e4).half(),
    "bfloat16": lambda target, classes: (torch.randn(2, classes, 8, 8, 8) * 1e4).bfloat16(),
}


@pytest.mark.parametrize("present", [3, 2, 1], ids=["all classes", "no tumour", "background only"])
@pytest.mark.parametrize("logits", DEGENERATE)
@pytest.mark.parametrize("name, parameters, classes", EVERY, ids=IDS)
def test_value_and_gradient_are_finite(name, parameters, classes, logits, present):
    torch.manual_seed(2)
    target = torch.randint(0, min(present, classes), (2, 8, 8, 8))
    x = DEGENERATE[logits](target, classes).requires_grad_()
    loss = build_loss(name, **parameters)(x, target)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(x.grad).all()
    assert loss.dtype == torch.float32 and x.grad.dtype == x.dtype


@pytest.mark.parametrize("exponent", [0.75, 0.1, 5.0])
@pytest.mark.parametrize("focal_on", ["complement", "index"])
def test_focal_tversky_is_finite_for_every_exponent(focal_on, exponent):
    target = torch.ones(1, 8, 8, 8, dtype=torch.long)
    for label in (0, 1, 2):
        x = certain(torch.full_like(target, label), 3).requires_grad_()
        loss = FocalTverskyLoss(exponent=exponent, focal_on=focal_on)(x, target)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(x.grad).all()


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


@pytest.mark.parametrize("name, parameters, classes", EVERY, ids=IDS)
def test_logits_of_1e30_are_finite(name, parameters, classes):
    x = (torch.randn(2, classes, 20, 20, 20, generator=torch.Generator().manual_seed(0)).sign() * 1e30).requires_grad_()
    value = build_loss(name, **parameters)(x, torch.arange(16000).view(2, 20, 20, 20) % classes)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(x.grad).all()


REGION = [row for row in EVERY if "dice" in row[0] or "tversky" in row[0]]


@pytest.mark.parametrize("name, parameters, classes", REGION, ids=[row[0] for row in REGION])
def test_region_losses_can_be_differentiated_twice(name, parameters, classes):
    logits, target = random_input(classes, 2, 3)
    loss = build_loss(name, **parameters)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, target), logits.requires_grad_())


@pytest.mark.parametrize("name, parameters, classes", EVERY, ids=IDS)
def test_functional_gradient_is_the_gradient(name, parameters, classes):
    logits, target = random_input(classes, 3, 4, 5)
    loss = build_loss(name, **parameters)
    gradient = torch.func.grad(lambda x: loss(x, target))(logits)
    assert torch.allclose(gradient, value_and_gradient(loss, logits, target)[1], rtol=1e-12)


@pytest.mark.parametrize("count", ["tp", "fp", "fn"])
def test_one_count_alone_can_be_differentiated(count):
    logits, target = random_input(3, 4, 4)
    label = F.one_hot(target, 3).movedim(-1, 1)

    def ours(x: torch.Tensor, _) -> torch.Tensor:
        return getattr(region_statistics(x, target), count).sum()

    def plain(x: torch.Tensor, _) -> torch.Tensor:
        p = x.softmax(1)
        return {"tp": p * label, "fp": p * (1 - label), "fn": (1 - p) * label}[count].sum()

    found, expected = (value_and_gradient(function, logits, target) for function in (ours, plain))
    assert all(torch.allclose(a, b) for a, b in zip(found, expected))


def test_a_region_loss_holds_probabilities_and_gradient_and_little_beside_them():
    logits, target = torch.randn(1, 3, 40, 40, 40).requires_grad_(), torch.randint(0, 3, (1, 40, 40, 40))
    held = peak_bytes(lambda: torch.autograd.grad(DiceLoss()(logits, target), logits))
    assert 2 < held / logits.nbytes < 3


class Asked(TorchDispatchMode):
    """Which operations hand a value of a tensor to Python: on a GPU each waits until all before it is done."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.found.append(operation)
        return operation(*args, **kwargs or {})


@pytest.mark.parametrize("name, parameters, classes", EVERY, ids=IDS)
def test_trusted_labels_are_not_asked_for(name, parameters, classes):
    logits, target = random_input(classes, 4, 4)
    loss = build_loss(name, **parameters)
    with Asked() as asked:
        expected = value_and_gradient(loss, logits, target)
    assert asked.found
    with trust_labels(), Asked() as asked:
        found = value_and_gradient(loss, logits, target)
    assert not asked.found
    assert all(torch.equal(a, b) for a, b in zip(found, expected))
    with pytest.raises(ValueError, match="labels|lie in"):
        loss(logits, target + classes)


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
    if not name.endswith(("quality_focal", "distribution_focal")):  # these two have soft targets
        with pytest.raises(TypeError, match="integer.*float32"):
            loss(logits, LABELS.float())
    with pytest.raises(TypeError, match="integer.*complex64"):
        loss(logits, LABELS.to(torch.complex64))


@pytest.mark.parametrize("classes", [1, 3])
def test_number_of_classes(classes):
    with pytest.raises(ValueError, match=f"C >= 2|two classes.*{classes}"):
        build_loss("two_term_dice")(torch.zeros(1, classes, 4, 4), LABELS)


def test_soft_targets_out_of_range():
    with pytest.raises(ValueError, match=r"\[0, 1\].*2"):
        QualityFocalLoss()(FLAT, torch.full_like(FLAT, 2))
    with pytest.raises(ValueError, match="soft labels must be"):
        QualityFocalLoss()(FLAT, LABELS.float())
    with pytest.raises(ValueError, match=r"\[0, 2\]"):
        DistributionFocalLoss()(FLAT, LABELS + 2.5)
    with pytest.raises(ValueError, match="nan"):
        DistributionFocalLoss()(FLAT, LABELS * math.nan)


@pytest.mark.parametrize("weights", [[1, 2], [0, 0, 0], [-1, 1, 1], [math.nan, 1, 1], [math.inf, 1, 1]])
@pytest.mark.parametrize("loss", [WeightedDiceLoss, WeightedCrossEntropyLoss])
def test_bad_weights_are_named(loss, weights):
    with pytest.raises(ValueError, match="weights must.*got"):
        loss(weights=weights)(FLAT, LABELS)


@pytest.mark.parametrize("name, parameters", [
    ("dice", {"smooth": -1.0}), ("dice", {"reduction": "sum"}), ("tversky", {"alpha": -0.1}), ("tversky", {"beta": math.nan}),
    ("focal_tversky", {"exponent": 0}), ("focal_tversky", {"classes": "none"}), ("focal_tversky", {"focal_on": "both"}),
    ("generalized_dice", {"class_weight": "cubic"}), ("focal", {"gamma": -1}), ("quality_focal", {"beta": math.inf}),
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


def test_missing_weights_are_named():
    with pytest.raises(ValueError, match="weighted_dice.*weights"):
        build_loss("weighted_dice")


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
    with pytest.raises(ValueError, match="there is no file"):
        build_loss(f"{tmp_path / 'other.py'}:mine")
    file.write_text("def mine(logits, target):\n    return logits\n")
    with pytest.raises(TypeError, match="scalar"):
        build_loss(f"{file}:mine")(logits, target)


def test_representation_shows_what_matters():
    assert "exponent=5.0" in repr(LogCosh(FocalTverskyLoss(exponent=5.0)))
    assert repr(TverskyLoss()) == "TverskyLoss(alpha=0.7, beta=0.3, batch=False, smooth=1e-05)"
    assert "weights=(1, 2, 3)" in repr(build_loss("weighted_cross_entropy", weights=[1, 2, 3]))
    assert repr(DiceLoss()).startswith("DiceLoss(include_background=True")


def test_no_loss_is_longer_than_25_lines_of_code():
    """Docstrings and blank lines aside."""
    counted = {}
    for file in Path(kitsnb.losses.__file__).parent.glob("*.py"):
        source = file.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Loss", "LogCosh")):
                lines = {line for line in range(node.lineno, node.end_lineno + 1) if source.splitlines()[line - 1].strip()}
                for inner in ast.walk(node):
                    if isinstance(inner, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(inner):
                        text = inner.body[0]
                        lines -= set(range(text.lineno, text.end_lineno + 1))
                counted[node.name] = len(lines)
    assert len(counted) >= 13 and max(counted.values()) <= 25, counted
