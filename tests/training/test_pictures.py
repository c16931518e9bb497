"""Pictures of a run: the slice that is shown, and what is coloured on it."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from kitsnb.drawing import COLOURS
from kitsnb.training.pictures import ENLARGED, draw


@pytest.mark.parametrize("number, name", [(1, "kidney"), (2, "tumour")])
def test_ct_label_and_prediction_stand_side_by_side(number, name):
    imaging, label, prediction = np.zeros((4, 6, 8)), np.zeros((4, 6, 8), np.uint8), np.zeros((4, 6, 8), np.uint8)
    imaging[2, 0, 0] = 5  # white
    label[2, 3, 4] = prediction[2, 1, 1] = number
    picture = draw(imaging, label, prediction)
    assert picture.dtype == np.uint8 and picture.shape == (6 * ENLARGED, 3 * 8 * ENLARGED, 3)
    small = picture[::ENLARGED, ::ENLARGED]
    assert all((small[0, corner] == 255).all() for corner in (0, 8, 16))
    half = [int(255 * part / 2) for part in to_rgb(COLOURS[name])]
    coloured = {(3, 8 + 4), (1, 16 + 1)}
    assert all(list(small[at]) == half for at in coloured)
    assert {tuple(map(int, at)) for at in np.argwhere(np.ptp(small.astype(int), axis=2))} == coloured


def test_what_is_the_same_everywhere_is_no_division_by_zero():
    assert not draw(np.zeros((2, 3, 3)), *np.zeros((2, 2, 3, 3), np.uint8)).any()
