"""Figures of notebooks 01 and 02: to scale, and what is said in them."""

import numpy as np
from fingerprint.figures import clipping


def test_figure_1_is_to_scale():
    figure = clipping(np.zeros((20, 125, 63)), 10, (-79, 304), (5.0, 0.8, 1.6), True)
    left, right = figure.axes[:2]
    for axes in (left, right):
        assert axes.get_aspect() == 1 and axes.images[0].get_extent() == [0, 63 * 1.6, 125 * 0.8, 0]
    assert "simulated" in figure.get_suptitle()
