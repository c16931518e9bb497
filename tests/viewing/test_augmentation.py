"""The strength of augmentation: none at 0, as it is at 1, and a slider that draws it."""

import numpy as np
from helpers.volumes_at_hand import simulated_volume

from kitsnb.training.settings import Augmentation
from kitsnb.viewing.augmentation import PATCHES, StrengthSlider, augmented, with_strength

SPACING = (4.0, 3.0, 3.0)


def test_strength_by_hand():
    usual = Augmentation()
    assert with_strength(usual, 1.0) == usual.changed(probability=1.0, mirror=False)
    none, twice = with_strength(usual, 0.0), with_strength(usual, 2.0)
    assert none.scaling == none.gamma == (1, 1) and none.rotation == none.noise == none.elastic == 0
    assert twice.rotation == 30 and twice.brightness == (0.25, 4)


def test_at_no_strength_a_patch_stays_as_it_is_and_the_slider_changes_it():
    volume = simulated_volume((30, 40, 40))
    shown = [axes.images[0].get_array() for axes in augmented(volume, SPACING, False, 0.0).axes]
    for before, after in zip(shown[:PATCHES], shown[PATCHES:], strict=True):
        np.testing.assert_allclose(after, before, atol=1e-3)
    slider = StrengthSlider(volume, SPACING, False)
    drawn = slider.picture.value
    slider.strength.value = 0.5
    assert slider.picture.value != drawn and "at 0.5 times the usual" in slider.picture.value
