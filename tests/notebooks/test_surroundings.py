"""Calibration: the four numbers of a CT's surroundings, where they are known."""

import numpy as np
import pytest

from fingerprint.surroundings import surroundings

SPACING = np.array([3.0, 2.0, 2.0])


def made(around, noise=8.0):
    """A body of ``around`` HU with noise, air outside, and a kidney in it."""
    hu = np.full((24, 80, 80), -1000.0)
    hu[:, 10:70, 10:70] = around + np.random.default_rng(0).normal(0, noise, (24, 60, 60))
    labels = np.zeros(hu.shape, np.uint8)
    labels[8:16, 30:50, 30:50] = 1
    hu[labels > 0] = 60.0
    return hu, labels


def test_soft_tissue_around_is_contact_and_its_noise_is_found():
    found = surroundings(*made(60.0), SPACING)
    assert found["contact"] > 0.99 and found["fat"] < 0.01
    assert 4 < found["noise"] < 10 and found["structure"] == pytest.approx(8, abs=1)


def test_fat_around_is_none():
    found = surroundings(*made(-100.0), SPACING)
    assert found["contact"] == 0 and found["fat"] > 0.9


def test_no_kidney_is_refused():
    with pytest.raises(ValueError, match="neither kidney nor tumour"):
        surroundings(np.zeros((5, 9, 9)), np.zeros((5, 9, 9), np.uint8), SPACING)
