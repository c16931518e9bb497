"""Slabs: what is cut out of a whole case, what stays, and a folder of the other kind, named before work starts."""

import os

import numpy as np
import pytest
from helpers.broken_cases import AFFINE, write

from kitsnb.data.cases import Case, discover
from kitsnb.data.checks import missing_cases, read_case
from kitsnb.data.geometry import cut_slab, longest_run
from kitsnb.data.settings import Accept, DataSettings

SHAPE = (40, 60, 70)
SLAB = Accept(slab=20)


def make_case(folder, number: int, tumour=(4, *range(10, 15)), shape=SHAPE) -> Case:
    """A case whose imaging tells each voxel's place, with tumour in some slices."""
    case = Case(folder / f"case_{number:05d}")
    write(case.imaging, (np.arange(np.prod(shape)).reshape(shape) - 1000).astype(np.int32), AFFINE)
    labels = np.zeros(shape, np.uint8)
    labels[2:-2, shape[1] // 2 - 15 : shape[1] // 2] = 1
    labels[list(tumour), shape[1] // 2, shape[2] // 2] = 2
    write(case.segmentation, labels, AFFINE)
    return case


@pytest.mark.parametrize(
    ("marked", "run"), [("0110111", (4, 7)), ("1100110", (0, 2)), ("1111111", (0, 7)), ("0000000", (0, 7)), ("0000001", (6, 7))])
def test_the_longest_run(marked, run):
    assert longest_run(np.array([letter == "1" for letter in marked])) == slice(*run)


def test_the_slices_with_tumour_and_their_middle(tmp_path):
    case = make_case(tmp_path, 0)
    whole, labels, affine = read_case(case)
    slab, cut, shifted = read_case(case, accept=SLAB)
    np.testing.assert_array_equal(slab, whole[10:15, 20:40, 25:45])
    np.testing.assert_array_equal(cut, labels[10:15, 20:40, 25:45])
    np.testing.assert_allclose(shifted @ [0, 0, 0, 1], affine @ [10, 20, 25, 1])
    np.testing.assert_allclose(shifted[:3, :3], affine[:3, :3])
    none, alone, shifted_alone = read_case(case, imaging=False, accept=SLAB)
    assert none is None
    np.testing.assert_array_equal(alone, cut)
    np.testing.assert_array_equal(shifted_alone, shifted)


def test_the_axes_may_have_any_order(tmp_path):
    volume, labels, affine = read_case(make_case(tmp_path, 0))
    expected = cut_slab(volume, labels, affine, 20)
    order = [2, 0, 1]
    turned = affine[:, [*order, 3]]
    found = cut_slab(volume.transpose(order), labels.transpose(order), turned, 20)
    np.testing.assert_array_equal(found[0], expected[0].transpose(order))
    np.testing.assert_allclose(found[2] @ [0, 0, 0, 1], expected[2] @ [0, 0, 0, 1])


@pytest.mark.parametrize(("tumour", "slices"), [((), 40), ((7, 8, 9), 3), ((0,), 1)])
def test_without_tumour_all_slices_stay_and_three_are_enough(tmp_path, tumour, slices):
    assert read_case(make_case(tmp_path, 0, tumour), accept=SLAB)[0].shape == (slices, 20, 20)


@pytest.mark.parametrize(("shape", "kept"), [
    ((40, 18, 20), (40, 18, 20)), ((40, 18, 70), (5, 18, 20)), ((40, 18, 71), (5, 18, 20))])
def test_a_slab_and_a_narrow_side_stay_as_they_are(tmp_path, shape, kept):
    assert read_case(make_case(tmp_path, 0, shape=shape), accept=SLAB)[0].shape == kept


@pytest.mark.parametrize(
    ("tumour", "slab", "said"),
    [(range(40), None, "change data.slab"), (range(38), None, "look like slabs"), (range(5), None, None), ((), None, None),
     (range(40), 320, None), (range(5), 320, "these look like whole scans"), (range(5), 20, None)])
def test_slabs_for_whole_scans_and_the_reverse_are_named_before_work_starts(tmp_path, tumour, slab, said):
    for number in range(4):
        make_case(tmp_path, number, tumour)
    settings = DataSettings(folder=str(tmp_path), training=[0, 2], validation=[3, 3], slab=slab and {"in_plane": slab})
    found = missing_cases(settings)
    assert (said in found[0] and len(found) == 1) if said else found == []


def test_further_folders_may_hold_whole_cases_beside_slabs(tmp_path):
    for number in range(4):
        make_case(tmp_path / "slabs", number, tumour=range(40))
        make_case(tmp_path / "bodies", number, tumour=(5,))
    more = {"folder": str(tmp_path / "slabs"), "more_training": [str(tmp_path / "bodies")] * 3, "slab": {"in_plane": 320}}
    assert missing_cases(DataSettings(training=[0, 2], validation=[3, 3], **more)) == []


def test_the_shared_slabs_are_unchanged():
    folder = os.environ.get("KITSNB_SLABS")
    if not folder:
        pytest.skip("KITSNB_SLABS is not set: it names a folder of slabs around the tumours of KiTS19")
    cases = discover(folder)
    for case in cases[::40]:
        for found, expected in zip(read_case(case, accept=Accept(slab=320)), read_case(case)):
            np.testing.assert_array_equal(found, expected)
    settings = DataSettings(folder=folder)
    assert "look like slabs" in missing_cases(settings)[-1]
    assert not any("slab" in problem for problem in missing_cases(settings.changed(slab={"in_plane": 320})))
