"""The strength of augmentation: none at 0, as it is at 1, and a slider that draws it."""

import numpy as np
import torch
from helpers.volumes_at_hand import simulated_volume
from interactive.augmentation import StrengthSlider, augmented, with_strength

from kitsnb.training.settings import Augmentation

SPACING = (4.0, 3.0, 3.0)


def test_strength_by_hand():
    usual = Augmentation()
    assert with_strength(usual, 1.0) == usual.changed(probability=1.0, mirror=False)
    none, twice = with_strength(usual, 0.0), with_strength(usual, 2.0)
    assert none.scaling == none.gamma == (1, 1) and none.rotation == none.noise == none.elastic == 0
    assert twice.rotation == 30 and twice.brightness == (0.25, 4)


def test_at_no_strength_neither_places_nor_intensities_change():
    volume = simulated_volume((30, 40, 40))
    volume.imaging = torch.arange(40.0).expand(30, 40, 40) / 40
    for axes in augmented(volume, SPACING, False, 0.0).axes:
        np.testing.assert_allclose(np.diff(axes.images[0].get_array(), axis=1), 1 / 40, atol=1e-4)


def test_the_slider_draws_its_strength():
    slider = StrengthSlider(simulated_volume((30, 40, 40)), SPACING, False)
    drawn = slider.picture.value
    slider.strength.value = 0.5
    assert slider.picture.value != drawn and "at 0.5 times the usual" in slider.picture.value
