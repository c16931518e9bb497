"""Patches: geometry against plain slicing, each augmentation on its own, repeatability."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.volumes_at_hand import simulated_volume

from kitsnb.data.cases import Case
from kitsnb.preprocessing.arrays import write_array
from kitsnb.training.patches import PatchSampler, change_intensity, control_points, fixed_patches, pad_to, sample
from kitsnb.training.settings import Augmentation, Training
from kitsnb.training.volumes import MAX_CENTRES, Volume, load_volumes

OFF = {"probability": 1.0, "scaling": (1, 1), "rotation": 0.0, "elastic": 0.0, "mirror": False,
       "brightness": (1, 1), "contrast": (1, 1), "gamma": (1, 1), "noise": 0.0}


def volume(size=(12, 14, 16), seed=0) -> Volume:
    v = simulated_volume(size, seed)
    v.imaging = v.imaging.float()
    return v


def settings(size=(8, 8, 8), **values) -> Training:
    """Settings of patches of ``size`` that are not augmented and lie anywhere, but for ``values``."""
    return Training(patch_size=size, **{"augmentation": None, "foreground": 0.0, "network": {"depth": 1}} | values)


def read(augmentation, centre=(5.5, 6.5, 7.5), size=(8, 8, 8), seed=0):
    """Control points, imaging and segmentation of a patch of ``volume()``."""
    points = control_points(size, torch.tensor(centre), augmentation, torch.Generator().manual_seed(seed))
    return points, *sample(volume(), points, size)


def read_whole(v, points, size):
    """What ``sample`` must give, from the whole volume, with no box."""
    grid = F.interpolate(points.movedim(-1, 0)[None], size, mode="trilinear", align_corners=True)[0].movedim(0, -1)
    faces = ((2 * grid + 1) / torch.tensor(v.imaging.shape) - 1).flip(-1)[None]
    imaging = F.grid_sample(v.imaging.float()[None, None] - v.lowest, faces, align_corners=False)[0, 0] + v.lowest
    labels = F.grid_sample(v.segmentation.float()[None, None], faces, mode="nearest", align_corners=False)[0, 0]
    return imaging, labels.byte()


def test_without_augmentation_or_with_all_off_a_patch_is_a_slice():
    box = (slice(2, 10), slice(3, 11), slice(4, 12))
    for augmentation, centre in ((None, (5.6, 6.4, 7.6)), (Augmentation(**OFF), (5.5, 6.5, 7.5))):
        _, imaging, segmentation = read(augmentation, centre)
        assert torch.allclose(imaging, volume().imaging[box], atol=1e-5)
        assert torch.equal(segmentation, volume().segmentation[box])


def test_mirror_is_a_flip():
    _, plain, _ = read(Augmentation(**OFF))
    seen = []
    for seed in range(40):
        _, imaging, _ = read(Augmentation(**OFF | {"mirror": True}), seed=seed)
        seen += [axes for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
                 if torch.allclose(imaging, plain.flip(axes), atol=1e-5)]
    assert len(seen) == 40 and len(set(seen)) == 8


def test_scaling_rotation_and_elastic_change_the_grid_as_said():
    plain, _, _ = read(Augmentation(**OFF))
    larger, _, _ = read(Augmentation(**OFF | {"scaling": (2, 2)}))
    centre = torch.tensor([5.5, 6.5, 7.5])
    assert torch.allclose((plain - centre) / 2, larger - centre, atol=1e-5)  # twice as large: half the field of view
    turned, _, _ = read(Augmentation(**OFF | {"rotation": 30.0}))
    assert torch.allclose((turned - centre).norm(dim=-1), (plain - centre).norm(dim=-1), atol=1e-4)
    assert not torch.allclose(turned, plain, atol=0.1)
    straight, _, _ = read(Augmentation(**OFF | {"elastic": 1e-9}))
    bent, _, _ = read(Augmentation(**OFF | {"elastic": 2.0}))
    assert bent.shape == (4, 4, 4, 3) and 1 < float((bent - straight).std()) < 3


@pytest.mark.parametrize("centre", [(5.5, 6.5, 7.5), (0.0, 13.0, 2.0), (-40.0, 6.0, 7.0), (30.0, 40.0, 50.0)])
def test_a_patch_from_a_box_is_that_of_the_whole_volume(centre):
    """In the middle, over a corner, and outside on either side, where there is the lowest value, and label 0."""
    size = (12, 9, 10)
    wild = Augmentation(probability=1.0, elastic=3.0, rotation=40.0)
    v = volume((24, 20, 28))
    v.segmentation[:] = torch.randint(0, 3, v.segmentation.shape, generator=torch.Generator().manual_seed(0))
    for seed in range(10):
        points = control_points(size, torch.tensor(centre), wild, torch.Generator().manual_seed(seed))
        expected = read_whole(v, points, size)
        imaging, labels = sample(v, points, size)
        assert torch.allclose(imaging, expected[0], atol=1e-4)
        assert (labels == expected[1]).float().mean() > 0.998  # a coordinate at a half may round either way
        if centre[0] == -40:
            assert torch.allclose(imaging, torch.tensor(v.lowest)) and not labels.any()


def test_intensity_changes_as_said():
    image = torch.linspace(-1, 3, 64).reshape(4, 4, 4)

    def changed(**on):
        return change_intensity(image, Augmentation(**OFF | on), torch.Generator().manual_seed(0))

    assert torch.allclose(changed(brightness=(2, 2)), image * 2)
    assert torch.allclose(changed(contrast=(0.5, 0.5)), (image + 1) / 2, atol=1e-6)
    assert torch.allclose(changed(gamma=(2, 2)), ((image + 1) / 4) ** 2 * 4 - 1, atol=1e-5)
    assert 0 < float((changed(noise=0.5) - image).std()) < 1


def test_patches_follow_from_step_and_seed_and_no_two_share_them():
    """torch takes the low 32 bits of a seed: step 48,573 of seed 1 was step 0 of seed 0 once, and 2^20 seeds were 1."""
    drawn = []
    for seed, step in ((0, 0), (0, 1), (1, 48_573), (1, 0), (2**20, 0)):
        given = settings(batch_size=2, augmentation=Augmentation(), seed=seed)
        batch, again = (PatchSampler([volume(), volume(seed=1)], given).batch(step) for _ in range(2))
        assert all(torch.equal(*pair) for pair in zip(batch, again))
        drawn.append(batch[0])
    assert batch[0].shape == (2, 1, 8, 8, 8) and batch[0].dtype == torch.float32
    assert batch[1].shape == (2, 8, 8, 8) and batch[1].dtype == torch.uint8
    for place, patch in enumerate(drawn):
        assert not any(torch.equal(patch, other) for other in drawn[:place])


def test_the_device_is_never_asked_for_a_value():
    """On a GPU that would wait for all the work before it; the device "meta" has no values, and raises."""
    on = Augmentation(probability=1.0, noise=0.0)  # "meta" has no generator either
    given = settings((16, 16, 16), batch_size=2, foreground=1.0, augmentation=on)
    imaging, segmentation = PatchSampler([simulated_volume((40, 40, 40))], given, "meta").batch(0)
    assert imaging.device.type == segmentation.device.type == "meta"


@pytest.mark.parametrize(("foreground", "tumour", "lacking"), [
    (0.5, 0.5, 0), (1.0, 0.2, 0), (1.0, 1.0, 2), (1.0, 0.0, 1),
])
def test_the_shares_of_the_classes_are_those_asked_for(foreground, tumour, lacking):
    """Kidney and tumour lie in two corners of a volume, so that a centre tells what it was drawn for; one may lack."""
    centres = {1: torch.tensor([[10, 10, 10]]), 2: torch.tensor([[90, 90, 90]])}
    shares = {1: foreground * (1 - tumour), 2: foreground * tumour}
    if lacking:
        shares = {3 - lacking: foreground}
        del centres[lacking]
    v = Volume(torch.zeros(100, 100, 100), torch.zeros(100, 100, 100, dtype=torch.uint8), centres)
    sampler = PatchSampler([v], settings(foreground=foreground, tumour=tumour))
    random = torch.Generator().manual_seed(0)
    drawn = torch.stack([sampler.centre(v, random) for _ in range(1000)])
    for label, share in shares.items():
        near = ((drawn - centres[label][0]).abs() <= 4).all(1).float().mean()
        assert float(near) == pytest.approx(share, abs=0.05)


def test_patches_of_background_lie_in_the_body(tmp_path):
    """Of a body that is an eighth of the volume; without ``body``, as seldom as that."""
    case = Case(tmp_path / "case_00000")
    imaging = np.full((60, 60, 60), -2, np.float16)
    imaging[:30, :30, :30] = 1
    write_array(case.folder, "imaging", imaging)
    write_array(case.folder, "segmentation", np.zeros_like(imaging, np.uint8))
    shares = []
    for body in (0.0, 1.0):
        (v,) = load_volumes([case], body=body > 0)
        sampler = PatchSampler([v], settings((4, 4, 4), body=body))
        random = torch.Generator().manual_seed(0)
        shares.append(sum(bool((sampler.centre(v, random) < 32).all()) for _ in range(200)) / 200)
    assert shares[0] < 0.3 and shares[1] == 1


@pytest.mark.parametrize("shape", [(4, 14, 16), (7, 7, 7), (8, 3, 20)])
def test_a_thin_volume_is_padded_in_training_as_pad_to_pads_it(shape):
    """All of it is foreground up to its border, and bright: outside there is the lowest value, and background."""
    v = Volume(torch.rand(shape).half() + 1, torch.ones(shape, dtype=torch.uint8), {})
    padded = pad_to(v.imaging.float(), (8, 8, 8))
    cuts = padded.unfold(0, 8, 1).unfold(1, 8, 1).unfold(2, 8, 1).reshape(-1, 8, 8, 8)
    for batch in ([PatchSampler([v], settings()).batch(0)], fixed_patches([v], settings())):
        imaging, labels = (part.reshape(8, 8, 8) for part in batch[0])
        assert any(torch.allclose(cut, imaging, atol=1e-5) for cut in cuts)
        outside = labels == 0
        assert torch.allclose(imaging[outside], torch.tensor(v.lowest), atol=1e-6)
        assert (~outside).sum() == np.prod([min(8, side) for side in shape])


def test_fixed_patches_are_fixed_and_on_the_tumour():
    given = settings(batch_size=2, augmentation=Augmentation(probability=1.0), seed=5)
    patches = fixed_patches([volume(), volume(seed=1), volume(seed=2)], given)
    assert [len(batch[1]) for batch in patches] == [2, 1] and all((batch[1] == 2).any() for batch in patches)
    assert torch.equal(patches[0][0], fixed_patches([volume(), volume(seed=1)], given.changed(seed=0))[0][0])


def test_a_volume_is_what_the_files_hold(cases):
    for v, case in zip(load_volumes(cases[0]), cases[0], strict=True):
        assert v.imaging.is_contiguous()
        assert v.imaging.dtype == torch.float16 and v.segmentation.dtype == torch.uint8
        assert np.array_equal(v.imaging, np.load(case.folder / "imaging.npy"))
        assert v.lowest == float(v.imaging.min())
        assert np.array_equal(v.segmentation, np.load(case.folder / "segmentation.npy"))
        for label, voxels in v.centres.items():
            assert voxels.dtype == torch.int16 and voxels.device.type == "cpu" and len(voxels) <= MAX_CENTRES
            assert (v.segmentation[voxels.long().unbind(1)] == label).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_patch_from_a_gpu_and_from_a_mapped_file(cases, monkeypatch):
    kept = [load_volumes(cases[0], "cuda")]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 0))
    kept.append(load_volumes(cases[0], "cuda"))
    assert kept[0][0].imaging.device.type == "cuda" and kept[1][0].imaging.device.type == "cpu"
    given = settings((12, 12, 12), batch_size=2, augmentation=Augmentation(probability=1.0))
    batches = [PatchSampler(v, given, "cuda").batch(4) for v in kept]
    assert all(part.device.type == "cuda" for part in batches[1]) and all(torch.equal(*pair) for pair in zip(*batches))
