"""Patches: geometry against plain slicing, each augmentation on its own, repeatability."""

import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.volumes_at_hand import simulated_volume

from kitsnb.training.patches import (
    PatchSampler,
    box_of,
    change_intensity,
    control_points,
    draw_anew,
    fixed_patches,
    lattice,
    sample,
    spread,
)
from kitsnb.data.cases import Case
from kitsnb.preprocessing.arrays import write_array
from kitsnb.simulation.organs import HU_RANGES, ORGANS
from kitsnb.training.settings import Augmentation
from kitsnb.training.volumes import Volume, load_volumes

OFF = {"probability": 1.0, "scaling": (1, 1), "rotation": 0.0, "elastic": 0.0, "mirror": False,
       "brightness": (1, 1), "contrast": (1, 1), "gamma": (1, 1), "noise": 0.0}


def volume(size=(12, 14, 16), seed=0) -> Volume:
    generator = torch.Generator().manual_seed(seed)
    segmentation = torch.zeros(size, dtype=torch.uint8)
    segmentation[3:6, 4:8, 5:9], segmentation[5, 6, 7] = 1, 2
    centres = {label: torch.nonzero(segmentation == label) for label in (1, 2)}
    return Volume("case_00000", torch.randn(size, generator=generator), segmentation, centres)


def read(augmentation, centre=(5.5, 6.5, 7.5), size=(8, 8, 8), seed=0):
    points = control_points(size, torch.tensor(centre), augmentation, torch.Generator().manual_seed(seed))
    return spread(points, size), *sample(volume(), points, size)


def read_whole(v, grid):
    """What ``sample`` must give: from the whole volume, voxel by voxel, with no box."""
    shape = torch.tensor(v.imaging.shape)
    faces = ((2 * grid + 1) / shape - 1).flip(-1)[None]
    imaging = F.grid_sample(v.imaging.float()[None, None], faces, padding_mode="border", align_corners=False)[0, 0]
    nearest = grid.round().long()
    inside = ((nearest >= 0) & (nearest < shape)).all(-1)
    place = torch.minimum(nearest.clamp(min=0), shape - 1)
    return imaging, torch.where(inside, v.segmentation[place.unbind(-1)], 0).byte()


def test_without_augmentation_a_patch_is_a_slice():
    v = volume()
    points = control_points((5, 7, 9), torch.tensor([5.0, 6.0, 7.0]), None, torch.Generator())
    imaging, segmentation = sample(v, points, (5, 7, 9))
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
    _, segmentation = sample(v, grid, (9, 9, 9))  # as many control points as voxels
    for point, label in zip(grid.reshape(-1, 3).round().long().tolist(), segmentation.flatten().tolist()):
        inside = all(0 <= p < n for p, n in zip(point, v.segmentation.shape))
        assert label == (int(v.segmentation[tuple(point)]) if inside else 0)


def test_points_between_control_points_lie_evenly():
    axes = [torch.tensor([1.0, 8.0]), torch.tensor([-2.0, 2.0]), torch.tensor([0.0, 2.0])]
    expected = torch.stack(torch.meshgrid(torch.arange(1.0, 9), torch.arange(-2.0, 3), torch.arange(3.0), indexing="ij"), -1)
    assert torch.allclose(spread(lattice(axes, torch.eye(3)), (8, 5, 3)), expected, atol=1e-6)
    bent = torch.randn(4, 5, 6, 3, generator=torch.Generator().manual_seed(0))
    peer = F.interpolate(bent.movedim(-1, 0)[None], (9, 17, 21), mode="trilinear", align_corners=True)[0].movedim(0, -1)
    assert torch.allclose(spread(bent, (9, 17, 21)), peer, atol=1e-5)
    assert torch.equal(spread(bent[:, :, :2], (1, 1, 1))[0, 0, 0], bent[0, 0, 0])


@pytest.mark.parametrize("centre", [(5.5, 6.5, 7.5), (0.0, 13.0, 2.0), (-40.0, 6.0, 7.0), (30.0, 40.0, 50.0)])
@pytest.mark.parametrize("elastic", [0.0, 3.0])
def test_a_patch_from_a_box_is_that_of_the_whole_volume(centre, elastic):
    """In the middle, over a corner, and outside on either side, where the border is continued and labels are 0."""
    v, size, wild = volume((24, 20, 28)), (12, 9, 10), Augmentation(probability=1.0, elastic=elastic, rotation=40.0)
    v.segmentation[:] = torch.randint(0, 3, v.segmentation.shape, generator=torch.Generator().manual_seed(0))
    for seed in range(10):
        points = control_points(size, torch.tensor(centre), wild, torch.Generator().manual_seed(seed))
        expected = read_whole(v, spread(points, size))
        found = sample(v, points, size)
        assert torch.allclose(found[0], expected[0], atol=1e-4)
        assert (found[1] == expected[1]).float().mean() > 0.998  # a coordinate at a half may round either way


def test_a_box_holds_what_is_read_and_little_more():
    points = control_points((8, 8, 8), torch.tensor([20.0, 20.0, 20.0]), Augmentation(**OFF), torch.Generator())
    assert [found.tolist() for found in box_of(points, (64, 64, 64))] == [[15] * 3, [26] * 3]
    assert [found.tolist() for found in box_of(points, (22, 64, 10))] == [[15, 15, 9], [22, 26, 10]]
    assert [found.tolist() for found in box_of(points - 100, (64, 64, 64))] == [[0] * 3, [1] * 3]


def test_float16_costs_no_more_than_its_rounding():
    whole, half = simulated_volume((40, 40, 40)), simulated_volume((40, 40, 40))
    whole.imaging = torch.randn(40, 40, 40, generator=torch.Generator().manual_seed(1))
    half.imaging = whole.imaging.half()
    on = Augmentation(**OFF | {"scaling": (0.85, 1.25), "rotation": 15.0, "elastic": 2.0})
    a, b = (PatchSampler([v], (16, 16, 16), 2, augmentation=on).batch(3) for v in (whole, half))
    assert torch.equal(a[1], b[1]) and not torch.equal(a[0], b[0])
    assert float((a[0] - b[0]).abs().max()) <= float(whole.imaging.abs().max()) * 2**-11 + 1e-6  # half a unit of ten bits


def test_intensity_changes_as_said():
    image, random = torch.linspace(-1, 3, 64).reshape(4, 4, 4), torch.Generator().manual_seed(0)
    changed = lambda **on: change_intensity(image, Augmentation(**OFF | on), random)  # noqa: E731
    assert torch.allclose(changed(brightness=(2, 2)), image * 2)
    assert torch.allclose(changed(contrast=(0.5, 0.5)), (image + 1) / 2, atol=1e-6)
    curved = changed(gamma=(2, 2))
    assert torch.allclose(curved, ((image + 1) / 4) ** 2 * 4 - 1, atol=1e-5)
    assert 0 < float((changed(noise=0.5) - image).std()) < 1


#: As ``arrays.hu_scale`` has it: mean and SD of the z-score, ends of the window, HU.
SCALE = (101.0, 76.9, -79.0, 304.0)
#: Two organs whose ranges lie inside of the window.
INSIDE = [organ for organ, (low, high) in HU_RANGES.items() if -50 < low < high < 270][:2]
#: Some voxels of a patch as it was before HU could be drawn anew.
PATCH = [-0.7735, -0.9548, -0.0708, -1.4846]


def organs_of(size=(16, 16, 16)) -> tuple[torch.Tensor, torch.Tensor]:
    """HU 100 with a texture, z-scored, and a map of two organs that have ranges in halves, and of one that has none between."""
    organs = torch.zeros(size, dtype=torch.uint8)
    organs[:, :6], organs[:, 10:] = INSIDE
    texture = torch.randn(size, generator=torch.Generator().manual_seed(0))
    return (100 + 5 * texture - SCALE[0]) / SCALE[1], organs


def test_hu_of_each_organ_are_drawn_anew_and_texture_stays():
    imaging, organs = organs_of()
    drawn = []
    for seed in range(60):
        anew = draw_anew(imaging, organs, SCALE, torch.Generator().manual_seed(seed)) * SCALE[1] + SCALE[0]
        drawn.append([float(anew[:, :4].mean()), float(anew[:, 12:].mean())])
        assert torch.allclose((anew[:, 7:9] - SCALE[0]) / SCALE[1], imaging[:, 7:9], atol=1e-5)
        assert -79 - 1e-3 <= float(anew.min()) and float(anew.max()) <= 304 + 1e-3
    for values, organ in zip(zip(*drawn), INSIDE):
        low, high = HU_RANGES[organ]
        assert low - 5 <= min(values) and max(values) <= high + 5 and max(values) - min(values) > 0.7 * (high - low)
    inside = draw_anew(imaging, organs, SCALE, torch.Generator().manual_seed(1))[:, 12:] - imaging[:, 12:]
    assert float(inside.std()) < 0.02 * float(imaging.std())  # shifted as one


@pytest.mark.parametrize("organ", sorted(ORGANS.keys() - HU_RANGES.keys()))
def test_what_has_no_range_stays_as_it_is(organ):
    imaging, organs = organs_of()
    anew = draw_anew(imaging, torch.full_like(organs, organ), SCALE, torch.Generator().manual_seed(0))
    assert torch.allclose(anew, imaging, atol=1e-6)


def test_without_randomise_patches_are_those_of_before():
    """To the last bit, with an organ map or without; and with it, only the imaging is another."""
    plain, mapped = volume(), volume()
    mapped.organs, mapped.hu_scale = torch.full_like(mapped.segmentation, min(HU_RANGES)), SCALE
    on = {"probability": 0.5, "elastic": 2.0}
    before, now, anew = (PatchSampler([v], (8, 8, 8), 2, augmentation=Augmentation(**on, randomise=chance)).batch(1)
                         for v, chance in ((plain, 0.0), (mapped, 0.0), (mapped, 1.0)))
    assert torch.equal(before[0], now[0]) and torch.equal(before[1], now[1]) and not torch.equal(now[0], anew[0])
    assert [round(float(value), 4) for value in before[0][1, 0, 4, 4, ::2]] == PATCH


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


def test_ranks_draw_other_patches_and_rank_0_is_one_device():
    one = PatchSampler([volume()], (8, 8, 8), 1, seed=3)
    ranks = [PatchSampler([volume()], (8, 8, 8), 1, seed=3, rank=rank) for rank in range(3)]
    assert torch.equal(one.batch(5)[0], ranks[0].batch(5)[0])
    drawn = [patch.batch(step)[0] for patch in ranks for step in (5, 6)]
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


def test_a_batch_is_what_the_network_takes():
    imaging, segmentation = PatchSampler([simulated_volume((24, 24, 24))], (8, 8, 8), 2, augmentation=Augmentation()).batch(0)
    assert imaging.shape == (2, 1, 8, 8, 8) and imaging.dtype == torch.float32
    assert segmentation.shape == (2, 8, 8, 8) and segmentation.dtype == torch.uint8


def test_the_device_is_never_asked_for_a_value():
    """On a GPU that would wait for all the work before it; the device "meta" has no values, and raises."""
    on = Augmentation(probability=1.0, noise=0.0, randomise=1.0)  # "meta" has no generator either
    sampler = PatchSampler([simulated_volume((40, 40, 40))], (16, 16, 16), 2, foreground=1.0, augmentation=on, device="meta")
    sampler.volumes[0].organs, sampler.volumes[0].hu_scale = sampler.volumes[0].segmentation, SCALE
    imaging, segmentation = sampler.batch(0)
    assert imaging.shape == (2, 1, 16, 16, 16) and segmentation.shape == (2, 16, 16, 16)
    assert imaging.device.type == segmentation.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        imaging.sum().item()


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


def test_patches_of_background_lie_in_the_body(tmp_path):
    """Of a body that is an eighth of the volume; without ``body``, as seldom as that."""
    case = Case(tmp_path / "case_00000")
    imaging, labels = np.full((60, 60, 60), -2, np.float16), np.zeros((60, 60, 60), np.uint8)
    imaging[:30, :30, :30] = 1
    for kind, array in (("imaging", imaging), ("segmentation", labels)):
        write_array(case.folder, kind, array)
    shares = []
    for body in (0.0, 1.0):
        (v,) = load_volumes([case], body=body > 0)
        sampler, random = PatchSampler([v], (4, 4, 4), 1, foreground=0.0, body=body), torch.Generator().manual_seed(0)
        shares.append(sum(bool((sampler.centre(v, random) < 32).all()) for _ in range(200)) / 200)
    assert shares[0] < 0.3 and shares[1] == 1


def test_a_place_is_found_at_once():
    sampler, random = PatchSampler([v := simulated_volume((128, 247, 247))], (80, 80, 80), 1, foreground=1.0), torch.Generator()
    sampler.centre(v, random)
    started = time.thread_time()
    for _ in range(50):
        sampler.centre(v, random)
    assert (time.thread_time() - started) / 50 < 0.001


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
