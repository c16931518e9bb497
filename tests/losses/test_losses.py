"""Losses against independent values: worked by hand, written out in numpy or torch, or MONAI's; and their properties."""

import math

import monai.losses
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.losses_at_hand import EVERY, random_input, value_and_gradient

from kitsnb.losses import DiceLoss, GeneralizedDiceLoss, build_loss, generalized_focal, log_cosh


def two_voxels() -> tuple[torch.Tensor, torch.Tensor]:
    """Two voxels, two classes: probabilities (3/4, 1/4) and (1/2, 1/2); labels 0 and 1."""
    logits = torch.log(torch.tensor([[0.75, 0.5], [0.25, 0.5]], dtype=torch.float64))
    return logits.reshape(1, 2, 1, 1, 2), torch.tensor([0, 1]).reshape(1, 1, 1, 2)


# By hand: class 0 has tp 3/4, fp 1/2, fn 1/4; class 1 has tp 1/2, fp 1/4, fn 1/2; one voxel of each.
DICE = (1.5 / 2.25, 1.0 / 1.75)
TVERSKY = (0.75 / (0.75 + 0.7 * 0.25 + 0.3 * 0.5), 0.5 / (0.5 + 0.7 * 0.5 + 0.3 * 0.25))
CROSS_ENTROPY = (-math.log(0.75), -math.log(0.5))
FOCAL_TVERSKY = sum((1 - index) ** 0.75 for index in TVERSKY)
WEIGHTED = 1 - (DICE[0] + 3 * DICE[1]) / 4
BY_HAND = [
    ("dice", {}, 1 - sum(DICE) / 2),
    ("dice", {"smooth": 1.0}, 1 - (2.5 / 3.25 + 2.0 / 2.75) / 2),
    ("weighted_dice", {"weights": [1, 3]}, WEIGHTED),
    ("generalized_dice", {}, 1 - 2 * 1.25 / 4),
    ("generalized_dice", {"smooth": 1.0}, 1 - (2.5 + 1) / (4 + 1)),
    ("tversky", {}, 1 - sum(TVERSKY) / 2),
    ("tversky", {"smooth": 1.0}, 1 - (1.75 / 2.075 + 1.5 / 1.925) / 2),
    ("focal_tversky", {}, FOCAL_TVERSKY),
    ("focal_tversky", {"exponent": 5.0}, sum((1 - index) ** 5 for index in TVERSKY)),
    ("log_cosh_dice", {}, math.log(math.cosh(1 - sum(DICE) / 2))),
    ("log_cosh_weighted_dice", {"weights": [1, 3]}, math.log(math.cosh(WEIGHTED))),
    ("log_cosh_focal_tversky", {}, math.log(math.cosh(FOCAL_TVERSKY))),
    ("dice_cross_entropy", {}, 1 - sum(DICE) / 2 + sum(CROSS_ENTROPY) / 2),
    ("weighted_cross_entropy", {"weights": [0.2, 0.8]}, (0.2 * CROSS_ENTROPY[0] + 0.8 * CROSS_ENTROPY[1]) / 2),
    ("focal", {}, (0.25**2 * CROSS_ENTROPY[0] + 0.5**2 * CROSS_ENTROPY[1]) / 2),
    ("focal", {"gamma": 0.5}, (0.25**0.5 * CROSS_ENTROPY[0] + 0.5**0.5 * CROSS_ENTROPY[1]) / 2),
]


@pytest.mark.parametrize("name, parameters, expected", BY_HAND)
def test_value_worked_by_hand(name, parameters, expected):
    plain = {"smooth": 0.0} if any(word in name for word in ("dice", "tversky")) else {}
    assert float(build_loss(name, **plain | parameters)(*two_voxels())) == pytest.approx(expected, abs=1e-7)


def test_generalized_dice_is_equation_1_and_an_absent_class_gets_the_largest_weight():
    logits, target = random_input(4, 5, 6, batch=1)
    target[target == 3] = 0
    p = logits.softmax(1)[0].flatten(1).numpy()
    r = F.one_hot(target[0].flatten(), 4).T.numpy()
    weights = np.array([1 / n**2 for n in r.sum(1) if n])
    weights = np.append(weights, weights.max())
    expected = 1 - 2 * (weights * (r * p).sum(1)).sum() / (weights * (r + p).sum(1)).sum()
    assert float(GeneralizedDiceLoss(smooth=0.0)(logits, target)) == pytest.approx(expected, abs=1e-12)


def test_equation_4_as_quality_focal_loss_is_monais():
    """Bins 0 and 1, the sigmoid of each class against all others."""
    logits, target = random_input(3, 4, 5, 6)
    labels = F.one_hot(target, 3).movedim(-1, 1).double()

    def ours(x, y):
        return generalized_focal((F.logsigmoid(-x), F.logsigmoid(x)), y).mean()

    found = value_and_gradient(ours, logits, labels)
    expected = value_and_gradient(monai.losses.FocalLoss(gamma=2.0), logits, labels)
    assert all(torch.allclose(a, b.to(a), rtol=1e-6, atol=1e-7) for a, b in zip(found, expected))


def test_generalized_dice_is_as_large_on_a_large_patch_as_on_a_small_one():
    for side in (4, 40):
        target = torch.zeros(1, side, side, side, dtype=torch.long)
        wrong = torch.zeros(1, 3, side, side, side).index_fill(1, torch.tensor(1), 50.0)
        assert float(GeneralizedDiceLoss()(wrong, target)) == pytest.approx(1, abs=1e-3)


def test_equation_4_as_distribution_focal_loss_is_the_cross_entropy_of_the_two_neighbouring_bins():
    logits, _ = random_input(5, 4, 6)
    y = torch.rand(2, 4, 6, dtype=torch.float64) * 4
    bins = torch.arange(5, dtype=torch.float64)[:, None, None]
    share = (1 - (bins - y[:, None]).abs()).clamp(min=0)  # a hat over each bin
    left = y.long()[:, None]
    log_p = logits.log_softmax(1)
    pair = (log_p.gather(1, left), log_p.gather(1, left + 1))
    found = generalized_focal(pair, y[:, None], (left, left + 1), beta=0)
    assert torch.allclose(found.mean(), F.cross_entropy(logits, share))


MONAI = {"softmax": True, "to_onehot_y": True}
AGREEMENT = [
    ("dice", {}, monai.losses.DiceLoss(**MONAI), 1),
    ("dice", {"batch": True, "smooth": 0.5}, monai.losses.DiceLoss(batch=True, smooth_nr=0.5, smooth_dr=0.5, **MONAI), 1),
    # MONAI smooths sums that are small by nature; there is no difference without.
    ("generalized_dice", {"smooth": 0.0}, monai.losses.GeneralizedDiceLoss(smooth_nr=0, smooth_dr=0, **MONAI), 1),
    # MONAI's alpha is on false positives.
    ("tversky", {}, monai.losses.TverskyLoss(alpha=0.3, beta=0.7, **MONAI), 1),
    ("dice_cross_entropy", {}, monai.losses.DiceCELoss(**MONAI), 1),
    # MONAI takes the mean over voxels and classes, of which one has a value.
    ("focal", {"gamma": 3.0}, monai.losses.FocalLoss(gamma=3.0, use_softmax=True, to_onehot_y=True), 3),
]


@pytest.mark.parametrize("spatial", [(9, 8, 7), (16, 12)])
@pytest.mark.parametrize("name, parameters, peer, factor", AGREEMENT)
def test_monai_agrees_in_value_and_gradient(name, parameters, peer, factor, spatial):
    logits, target = random_input(3, *spatial)
    value, gradient = value_and_gradient(build_loss(name, **parameters), logits, target)
    peers, peers_gradient = value_and_gradient(peer, logits, target[:, None])
    assert float(value) == pytest.approx(factor * float(peers), abs=1e-6)
    assert torch.allclose(gradient, factor * peers_gradient, rtol=1e-6, atol=1e-9)


def test_two_class_dice_is_equation_8():
    logits, target = random_input(2, 4, 5, 6, batch=1)
    p = logits.softmax(1)[:, 1].flatten()
    r = target.flatten().double()
    expected = 1 - (p * r).sum() / (p + r).sum() - ((1 - p) * (1 - r)).sum() / (2 - p - r).sum()
    assert torch.allclose(DiceLoss(smooth=0.0)(logits, target), expected, atol=1e-12)


@pytest.mark.parametrize("name, parameters", EVERY)
def test_order_of_voxels_and_of_samples_does_not_matter_and_no_loss_is_negative(name, parameters):
    logits, target = random_input(3, 3, 4, 5, batch=3)
    loss = build_loss(name, **parameters)
    value = loss(logits, target)
    shuffled = logits.flip(0, 2).transpose(2, 4)
    assert value >= 0 and torch.allclose(value, loss(shuffled, target.flip(0, 1).transpose(1, 3)))


@pytest.mark.parametrize("name, parameters", EVERY)
def test_gradient_in_float64(name, parameters):
    """Also where a class is absent."""
    logits, target = random_input(3, 2, 3, 2)
    loss = build_loss(name, **parameters)
    for labels in (target, target.clamp(max=1)):
        assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits.requires_grad_(), fast_mode=True)


def test_log_cosh_is_right_at_both_ends_and_its_slope_is_tanh():
    x = torch.tensor([1e-4, 0.5, 0.999, 1.001, 3.0, 1000.0], requires_grad=True)
    expected = torch.tensor([5e-9, *(math.log(math.cosh(v)) for v in (0.5, 0.999, 1.001, 3.0)), 1000 - math.log(2)])
    value = log_cosh(x)
    value.sum().backward()
    assert torch.allclose(value, expected, rtol=1e-5)
    assert torch.allclose(x.grad, torch.tanh(x.detach()), rtol=1e-5)
