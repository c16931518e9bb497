"""Volumes: what preprocessing wrote, mapped, or moved to a GPU where they fit there."""

import numpy as np
import pytest
import torch

from kitsnb.training.patches import PatchSampler
from kitsnb.training.settings import Augmentation, Training
from kitsnb.training.volumes import MAX_CENTRES, load_volumes


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
    given = Training(network={"depth": 2}, patch_size=(12, 12, 12), batch_size=2, augmentation=Augmentation(probability=1.0))
    batches = [PatchSampler(v, given, "cuda").batch(4) for v in kept]
    assert all(part.device.type == "cuda" for part in batches[1]) and all(torch.equal(*pair) for pair in zip(*batches))
