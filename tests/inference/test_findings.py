"""What a prediction holds: pieces, sides, volumes and HU by hand; which are kept; what is doubted."""

import numpy as np
import pytest

from kitsnb.inference.findings import Piece, chosen, description, doubts, find_body, find_pieces, kept_only
from kitsnb.preprocessing.resampling import reorient

#: Axes IPL, 4 x 4 x 4 mm.
AFFINE = np.array([[0, 0, -4.0, 120], [0, -4, 0, 100], [-4, 0, 0, 0], [0, 0, 0, 1]])


def scan() -> tuple[np.ndarray, np.ndarray]:
    """A body with kidneys, the right one with a tumour that touches it by a corner, and bowel in front: labels, HU."""
    labels, imaging = np.zeros((30, 50, 60), np.uint8), np.full((30, 50, 60), -1000, np.int16)
    imaging[:, 5:45, 4:56] = 40
    labels[5:15, 25:35, 12:20], labels[5:14, 25:35, 40:48] = 1, 1
    labels[15:17, 35:37, 20:22] = 2
    labels[2:12, 6:16, 20:40] = 1
    labels[28, 30, 30] = 1
    imaging[labels == 1], imaging[labels == 2] = 150, 60
    return labels, imaging


def pieces_of(labels, imaging, affine=AFFINE):
    grid, upright = reorient(imaging, affine)
    return find_pieces(labels, imaging, affine, find_body(np.maximum(grid, -79), upright))


@pytest.mark.parametrize("orientation", ["IPL", "LPS", "RAS"])
def test_pieces_are_told_as_a_doctor_would(orientation):
    labels, imaging = scan()
    (labels, affine), imaging = reorient(labels, AFFINE, orientation), reorient(imaging, AFFINE, orientation)[0]
    bowel, right, left, speck = pieces_of(labels, imaging, affine)[0]
    assert (right.kidney_ml, right.tumour_ml) == pytest.approx((800 * 0.064, 8 * 0.064))
    assert (right.kidney_hu, right.tumour_hu, right.side, left.side) == (150, 60, "right", "left") and np.isnan(left.tumour_hu)
    assert right.right == pytest.approx(13.8 * 4, abs=4) and left.right == pytest.approx(-14.2 * 4, abs=4)
    assert bowel.away and not right.away and not left.away and bowel.behind < -50 < 0 < right.behind
    assert str(right) == "right kidney 51.2 ml (150 HU) with tumour 0.5 ml (60 HU)"
    said = description([right, left, speck])
    assert said == f"{right}; left kidney 46.1 ml (150 HU); 1 below 1 ml, 0.1 ml together" and "no kidney" in description([])


def test_pieces_are_not_chosen_by_size_alone():
    labels, imaging = scan()
    pieces, numbers = pieces_of(labels, imaging)
    bowel, right, left, speck = pieces
    assert chosen(pieces, 2) == [right, left] and chosen(pieces, 1) == [right] and chosen(pieces, 9) == [right, left, speck]
    assert chosen([bowel], 2) == [bowel]  # better than nothing, and doubted
    expected = labels.copy()
    expected[2:12, 6:16, 20:40] = expected[28, 30, 30] = 0
    for order in (np.ascontiguousarray, np.asfortranarray):
        assert np.array_equal(kept_only(order(labels), numbers, [right, left]), expected)
    empty = np.zeros_like(labels)
    assert pieces_of(empty, imaging)[0] == [] and not kept_only(empty, pieces_of(empty, imaging)[1], []).any()
    with pytest.raises(ValueError, match="at least one"):
        chosen(pieces, 0)


def piece(kidney=150.0, tumour=0.0, right=60.0, away=False, hu=120.0) -> Piece:
    return Piece(1, kidney, tumour, hu, 80.0, 20.0, right, away)


@pytest.mark.parametrize(("pieces", "said"), [
    ([piece(), piece(right=-60.0)], []), ([piece(350.0, 90.0), piece(320.0)], []), ([], []),
    ([piece(), piece(), piece(25.0)], ["3 pieces of 20 ml or more: a patient has two kidneys"]),
    ([piece(350.0), piece(320.0)], ["670 ml of kidney without a tumour"]),
    ([piece(30.0, right=-140.0, away=True)], ["30.0 ml lie 140 mm left of the body's middle and 20 mm behind it"]),
    ([piece(0.5, away=True)], []),
    ([piece(hu=480.0), piece(hu=-26.0), piece(1.0, 90.0, hu=-60.0)], [
        "3 pieces", "150.0 ml of kidney on the right have 480 HU, as no kidney has", "have -26 HU"]),
])
def test_what_no_patient_has_is_doubted(pieces, said):
    found = doubts(pieces)
    assert len(found) == len(said) and all(part in line for part, line in zip(said, found))


def test_the_middle_of_the_body_does_not_follow_table_or_field_of_view():
    _, imaging = scan()
    body = find_body(imaging, AFFINE)
    assert body.middle == pytest.approx((24.0, 29.0), abs=1)
    imaging[:, 48] = 100  # a table
    cut = find_body(imaging[:, :, 6:58], AFFINE)
    assert cut.middle == pytest.approx((24.5, 24.0), abs=1) and cut.half[1] == pytest.approx(body.half[1], rel=0.1)


@pytest.mark.parametrize("shape", [(5, 2, 2), (3, 3, 50), (9, 12, 11)])
def test_noise_of_any_shape_is_counted(shape):
    """What an untrained network says is noise, and every voxel of it belongs to one piece."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        labels = (random.random(shape) < 0.3).astype(np.uint8)
        pieces, numbers = pieces_of(labels, random.normal(0, 100, shape).astype(np.float32))
        assert sum(piece.kidney_ml for piece in pieces) == pytest.approx(labels.sum() * 0.064)
        assert (kept_only(labels, numbers, pieces) == labels).all()
