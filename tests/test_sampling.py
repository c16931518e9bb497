"""Patches: geometry against plain slicing, each augmentation on its own, repeatability."""

import time

import pytest
import torch

from kitsnb.benchmarks.sampling import compare, simulated_volume
from kitsnb.sampling import Augmentation, PatchSampler, Volume, change_intensity, fixed_patches, lattice, patch_grid, sample

OFF = {"probability": 1.0, "scaling": (1, 1), "rotation": 0.0, "elastic": 0.0, "mirror": False,
       "brightness": (1, 1), "contrast": (1, 1), "gamma": (1, 1), "noise": 0.0}


def volume(size=(12, 14, 16), seed=0) -> Volume:
    generator = torch.Generator().manual_seed(seed)
    segmentation = torch.zeros(size, dtype=torch.uint8)
    segmentation[3:6, 4:8, 5:9], segmentation[5, 6, 7] = 1, 2
    centres = {label: torch.nonzero(segmentation == label) for label in (1, 2)}
    return Volume("case_00000", torch.randn(size, generator=generator), segmentation, centres)


def read(augmentation, centre=(5.5, 6.5, 7.5), size=(8, 8, 8), seed=0):
    grid = patch_grid(size, torch.tensor(centre), augmentation, torch.Generator().manual_seed(seed))
    return grid, *sample(volume(), grid)


def test_without_augmentation_a_patch_is_a_slice():
    v = volume()
    imaging, segmentation = sample(v, patch_grid((5, 7, 9), torch.tensor([5.0, 6.0, 7.0]), None, torch.Generator()))
    box = (slice(3, 8), slice(3, 10), slice(3, 12))
    assert torch.allclose(imaging, v.imaging[box], atol=1e-5) and torch.equal(segmentation, v.segmentation[box])


def test_all_off_changes_nothing():
    _, imaging, segmentation = read(Augmentation(**OFF))
    box = (slice(2, 10), slice(3, 11), slice(4, 12))
    assert torch.allclose(imaging, volume().imaging[box], atol=1e-5) and torch.equal(segmentation, volume().segmentation[box])


def test_mirror_is_a_flip():
    _, plain, _ = read(Augmentation(**OFF))
    seen = set()
    for seed in range(40):
        _, imaging, _ = read(Augmentation(**OFF | {"mirror": True}), seed=seed)
        flips = [axes for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
                 if torch.allclose(imaging, plain.flip(axes), atol=1e-5)]
        assert len(flips) == 1
        seen.update(flips)
    assert len(seen) == 8


def test_scaling_rotation_and_elastic_change_the_grid_as_said():
    plain, _, _ = read(Augmentation(**OFF))
    larger, _, _ = read(Augmentation(**OFF | {"scaling": (2, 2)}))
    centre = torch.tensor([5.5, 6.5, 7.5])
    assert torch.allclose((plain - centre) / 2, larger - centre, atol=1e-5)  # twice as large: half the field of view
    turned, _, _ = read(Augmentation(**OFF | {"rotation": 30.0}))
    assert torch.allclose((turned - centre).norm(dim=-1), (plain - centre).norm(dim=-1), atol=1e-4)
    assert not torch.allclose(turned, plain, atol=0.1)
    bent, _, _ = read(Augmentation(**OFF | {"elastic": 2.0}))
    assert 0.5 < float((bent - plain).std()) < 4


def test_a_lattice_is_every_point_times_the_matrix():
    matrix = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    axes = [torch.arange(4.0), torch.arange(5.0) - 2, torch.arange(3.0)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    assert torch.allclose(lattice(axes, matrix), points @ matrix.T, atol=1e-6)


def test_labels_are_the_nearest_voxel_and_0_outside():
    v = volume()
    grid = torch.rand(9, 9, 9, 3, generator=torch.Generator().manual_seed(0)) * 20 - 2
    _, segmentation = sample(v, grid)
    for point, label in zip(grid.reshape(-1, 3).round().long().tolist(), segmentation.flatten().tolist()):
        inside = all(0 <= p < n for p, n in zip(point, v.segmentation.shape))
        assert label == (int(v.segmentation[tuple(point)]) if inside else 0)


def test_intensity_changes_as_said():
    image, random = torch.linspace(-1, 3, 64).reshape(4, 4, 4), torch.Generator().manual_seed(0)
    changed = lambda **on: change_intensity(image, Augmentation(**OFF | on), random)  # noqa: E731
    assert torch.allclose(changed(brightness=(2, 2)), image * 2)
    assert torch.allclose(changed(contrast=(0.5, 0.5)), (image + 1) / 2, atol=1e-6)
    curved = changed(gamma=(2, 2))
    assert torch.allclose(curved, ((image + 1) / 4) ** 2 * 4 - 1, atol=1e-5)
    assert 0 < float((changed(noise=0.5) - image).std()) < 1


def test_labels_stay_labels_and_outside_is_background():
    _, imaging, segmentation = read(Augmentation(probability=1.0), centre=(0.0, 0.0, 0.0), size=(16, 16, 16))
    assert torch.isfinite(imaging).all() and set(segmentation.unique().tolist()) <= {0, 1, 2}
    _, _, far = read(Augmentation(**OFF), centre=(-40.0, 6.5, 7.5))
    assert int(far.sum()) == 0


def test_the_same_step_gives_the_same_patch():
    sampler = PatchSampler([volume(), volume(seed=1)], (8, 8, 8), 2, augmentation=Augmentation(), seed=3)
    again = PatchSampler([volume(), volume(seed=1)], (8, 8, 8), 2, augmentation=Augmentation(), seed=3)
    sampler.batch(6)
    assert all(torch.equal(a, b) for a, b in zip(sampler.batch(7), again.batch(7)))
    assert not torch.equal(sampler.batch(7)[0], sampler.batch(8)[0])


def test_foreground_patches_hold_tumour_and_fall_back():
    sampler = PatchSampler([volume((40, 40, 40))], (8, 8, 8), 1, foreground=1.0, tumour=1.0)
    share = sum(bool((sampler.batch(step)[1] == 2).any()) for step in range(50)) / 50
    assert share > 0.8
    without = volume((40, 40, 40))
    del without.centres[2]
    assert (PatchSampler([without], (8, 8, 8), 1, foreground=1.0, tumour=1.0).batch(0)[1] > 0).any()
    without.centres.clear()
    assert PatchSampler([without], (8, 8, 8), 1, foreground=1.0).batch(0)[0].shape == (1, 1, 8, 8, 8)


@pytest.mark.parametrize(("foreground", "tumour"), [(0.5, 0.5), (1.0, 0.2), (0.0, 1.0)])
def test_the_shares_of_the_classes_are_those_asked_for(foreground, tumour):
    """Kidney and tumour lie in two corners of a large volume, so that a centre tells what it was drawn for."""
    centres = {1: torch.tensor([[20, 20, 20]]), 2: torch.tensor([[180, 180, 180]])}
    v = Volume("case_00000", torch.zeros(200, 200, 200), torch.zeros(200, 200, 200, dtype=torch.uint8), centres)
    sampler, random = PatchSampler([v], (8, 8, 8), 1, foreground=foreground, tumour=tumour), torch.Generator().manual_seed(0)
    drawn = torch.stack([sampler.centre(v, random) for _ in range(2000)])
    for label, share in ((1, foreground * (1 - tumour)), (2, foreground * tumour)):
        near = ((drawn - centres[label][0]).abs() <= 4).all(1).float().mean()
        assert float(near) == pytest.approx(share, abs=0.04)


def test_a_place_is_found_at_once():
    sampler, random = PatchSampler([v := simulated_volume((128, 247, 247))], (80, 80, 80), 1, foreground=1.0), torch.Generator()
    sampler.centre(v, random)
    started = time.thread_time()
    for _ in range(50):
        sampler.centre(v, random)
    assert (time.thread_time() - started) / 50 < 0.001


def test_the_benchmark_has_both_jobs():
    rows = compare(1, patch=48, shape=(56, 64, 64))
    assert [row["job"] for row in rows] == ["augmented patch", "place of a foreground patch"]
    assert all(row["milliseconds"] > 0 and row["time_ratio"] > 0 and row["megabytes"] is None for row in rows)


def test_a_volume_thinner_than_the_patch_is_padded():
    thin = Volume("case_00000", torch.randn(4, 14, 16), torch.ones(4, 14, 16, dtype=torch.uint8), {})
    imaging, segmentation = PatchSampler([thin], (8, 8, 8), 1).batch(0)
    assert imaging.shape == (1, 1, 8, 8, 8)
    assert int(segmentation[0, :2].sum()) == int(segmentation[0, -2:].sum()) == 0 and segmentation[0, 2:6].all()


def test_fixed_patches_are_fixed():
    first, second = (fixed_patches([volume(), volume(seed=1), volume(seed=2)], (8, 8, 8), 2) for _ in range(2))
    assert [len(batch[1]) for batch in first] == [2, 1]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="scaling"):
        Augmentation(scaling=(1.2, 0.8))
    with pytest.raises(ValueError, match="no training cases"):
        PatchSampler([], (8, 8, 8), 1)
