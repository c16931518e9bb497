"""HD95 and surface Dice against what is known by hand, and against the package that defines them."""

import math
import warnings

import numpy as np
import pytest
import surface_distance as peer
import torch
from monai.metrics import compute_surface_dice
from peers.jobs import perturbed
from peers.measure import peak_process_bytes
from scipy import ndimage

from kitsnb.data.cases import discover
from kitsnb.data.nifti import read_nifti, spacing_of
from kitsnb.metric.surface import REGIONS, TOLERANCES_MM, foreground_box, surface_elements, surface_scores

#: Wide, so that what the rims of a sheet do is some hundredths of its surface.
SHEET = (slice(10, 190), slice(10, 190))


def sheet(slices: slice) -> np.ndarray:
    labels = np.zeros((12, 200, 200), np.uint8)
    labels[(slices, *SHEET)] = 2
    return labels


def plain_surface_scores(prediction, reference, spacing: tuple[float, float, float]) -> dict[str, float]:
    """``surface_scores`` through the package surface-distance, on the box of the foreground. Not for empty regions."""
    box, scores = foreground_box(prediction, reference), {}
    for region, smallest in REGIONS.items():
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # it calls SciPy by old names
            distances = peer.compute_surface_distances(reference[box] >= smallest, prediction[box] >= smallest, spacing)
        scores[f"hd95_{region}"] = float(peer.compute_robust_hausdorff(distances, 95))
        scores[f"nsd_{region}"] = float(peer.compute_surface_dice_at_tolerance(distances, TOLERANCES_MM[region]))
    return scores


def blobs(seed: int, shape=(30, 40, 50)) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return np.digitize(noise, np.quantile(noise, [0.8, 0.93])).astype(np.uint8)


def test_parallel_planes_two_mm_apart():
    """A sheet one slice of 2 mm thick, and the same one slice on: one face of each is 2 mm off, the other none."""
    first, second, spacing = sheet(slice(4, 5)), sheet(slice(5, 6)), (2.0, 0.7, 0.5)
    near, far = (surface_scores(first, second, spacing, dict.fromkeys(REGIONS, tolerance)) for tolerance in (1.9, 2.0))
    assert near["hd95_tumour"] == near["hd95_kidney_and_tumour"] == 2
    assert near["nsd_tumour"] == near["nsd_kidney_and_tumour"] == pytest.approx(0.5, abs=0.03)
    assert far["nsd_tumour"] == far["nsd_kidney_and_tumour"] == 1


def test_a_thicker_sheet_is_off_by_a_share_of_its_surface():
    """One face of two agrees, the other is 3 slices of 1.5 mm off: half of the surface."""
    scores = surface_scores(sheet(slice(2, 8)), sheet(slice(2, 5)), (1.5, 1, 1), dict.fromkeys(REGIONS, 1.0))
    assert scores["hd95_tumour"] == 4.5
    assert scores["nsd_tumour"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("spacing", [(6.0, 0.5, 0.5), (0.5, 6.0, 6.0), (1.0, 1.0, 1.0)])
def test_area_of_a_block(spacing):
    """Of six faces; edges and corners are cut off, hence less than 6 % off."""
    block = np.zeros((40, 40, 40), bool)
    block[5:35, 5:35, 5:35] = True
    d, h, w = 30 * np.array(spacing)
    _, areas = surface_elements(block, np.array(spacing))
    assert areas.sum() == pytest.approx(2 * (d * h + d * w + h * w), rel=0.06)


def test_elements_count_by_their_area():
    """A high block, and a flat one that is missed: in thick slices it has many elements for its share of the area."""
    spacing, reference = (8.0, 0.5, 0.5), np.zeros((40, 80, 80), np.uint8)
    reference[2:22, 5:45, 5:45] = 1
    prediction = reference.copy()
    reference[30, 5:55, 5:55] = 1
    (_, found), (_, all_areas) = (surface_elements(labels > 0, np.array(spacing)) for labels in (prediction, reference))
    scores = surface_scores(prediction, reference, spacing)
    expected = 2 * found.sum() / (found.sum() + all_areas.sum())
    assert scores["nsd_kidney_and_tumour"] == pytest.approx(expected)
    assert abs(2 * found.size / (found.size + all_areas.size) - expected) > 0.05


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shifted_cube(axis):
    """Two of six faces are off by the shift; the edges of the others, too, but at most by that."""
    spacing, labels = np.array([3.0, 0.75, 1.0]), np.zeros((40, 40, 40), np.uint8)
    labels[8:28, 8:28, 8:28] = 2
    scores = surface_scores(np.roll(labels, 2, axis), labels, spacing)
    assert scores["hd95_tumour"] == scores["hd95_kidney_and_tumour"] == 2 * spacing[axis]
    assert 0.3 < scores["nsd_tumour"] < 0.95
    far = surface_scores(np.roll(labels, 2, axis), labels, spacing, dict.fromkeys(REGIONS, 2 * spacing[axis]))
    assert far["nsd_tumour"] == 1


def test_identical_masks_and_masks_at_the_border():
    labels = np.ones((9, 8, 7), np.uint8)
    labels[:, :4] = 2
    assert surface_scores(labels, labels, (1, 2, 3)) == {
        "hd95_kidney_and_tumour": 0, "nsd_kidney_and_tumour": 1, "hd95_tumour": 0, "nsd_tumour": 1}


def test_undefined_where_a_region_is_empty():
    empty, kidney, tumour = (np.full((4, 4, 4), label, np.uint8) for label in range(3))
    pairs = (kidney, tumour), (tumour, kidney), (kidney, kidney)
    missed, invented, neither = (surface_scores(*pair, (1, 1, 1)) for pair in pairs)
    assert all(math.isnan(scores["hd95_tumour"]) for scores in (missed, invented, neither))
    assert missed["nsd_tumour"] == invented["nsd_tumour"] == 0 and math.isnan(neither["nsd_tumour"])
    assert missed["hd95_kidney_and_tumour"] == 0 and missed["nsd_kidney_and_tumour"] == 1
    assert all(math.isnan(value) for value in surface_scores(empty, empty, (1, 1, 1)).values())


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of MONAI, about itself
@pytest.mark.parametrize("seed", range(4))
def test_the_package_that_defines_them_says_the_same(seed):
    spacing = (2.5, 0.8, 0.7)
    prediction, reference = blobs(2 * seed), blobs(2 * seed + 1)
    found, expected = surface_scores(prediction, reference, spacing), plain_surface_scores(prediction, reference, spacing)
    assert found == pytest.approx(expected, abs=1e-6)
    assert surface_scores(reference, prediction, spacing) == pytest.approx(found)
    for region, smallest in REGIONS.items():
        pair = [torch.from_numpy(labels >= smallest)[None, None] for labels in (prediction, reference)]
        monai = compute_surface_dice(
            *pair, [TOLERANCES_MM[region]], include_background=True, spacing=list(spacing), use_subvoxels=True)
        assert found[f"nsd_{region}"] == pytest.approx(monai.item(), abs=1e-6)


def test_memory_order_and_surroundings_change_nothing():
    prediction, reference = blobs(0), blobs(1)
    found = surface_scores(prediction, reference, (3, 1, 1))
    assert surface_scores(np.asfortranarray(prediction), reference.astype(np.int64), (3, 1, 1)) == found
    padded = [np.pad(labels, ((20, 3), (0, 9), (5, 0))) for labels in (prediction, reference)]
    assert surface_scores(*padded, (3, 1, 1)) == pytest.approx(found)


def test_box_of_the_foreground():
    a, b = np.zeros((2, 6, 7, 8), np.uint8)
    assert foreground_box(a, b) == (slice(0, 0),) * 3
    a[1, 2, 3] = b[4, 2, 7] = 1
    assert foreground_box(a, b) == (slice(1, 5), slice(2, 3), slice(3, 8))


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, float("nan")), (1, 1, -1)])
def test_bad_spacing_is_refused(spacing):
    with pytest.raises(ValueError, match="three positive"):
        surface_scores(blobs(0), blobs(1), spacing)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        surface_scores(blobs(0), blobs(0)[1:], (1, 1, 1))
    with pytest.raises(ValueError, match="3D"):
        surface_scores(blobs(0)[0], blobs(0)[0], (1, 1, 1))


def test_real_case_of_full_size(kits19_labels):
    """620 slices: the same as the package, and less memory than the labels need."""
    reference, affine = read_nifti(discover(kits19_labels)[203].segmentation)
    spacing, prediction = spacing_of(affine), perturbed(reference)
    found = surface_scores(prediction, reference, spacing)
    assert found == pytest.approx(plain_surface_scores(prediction, reference, tuple(spacing.tolist())), abs=1e-6)
    assert peak_process_bytes(lambda: surface_scores(prediction, reference, spacing)) < reference.nbytes
