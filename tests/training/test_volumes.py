"""Volumes: the same patch wherever they are kept, the place that is chosen and said, mapped files, and memory."""

import math
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch
from peers.measure import peak_process_bytes
from peers.training import memory, write_simulated_cases

from kitsnb.data.cases import Case, discover
from kitsnb.data.nifti import CaseError, write_nifti
from kitsnb.files import ROOT
from kitsnb.training import volumes
from kitsnb.training.patches import PatchSampler, fixed_patches
from kitsnb.training.settings import Augmentation
from kitsnb.training.volumes import (
    BYTES_A_VOXEL,
    MAX_CENTRES,
    StorageError,
    cases_below,
    choose_storage,
    free_bytes,
    load_volumes,
    mapped_file,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SHAPES = ((20, 24, 28), (18, 30, 22), (21, 25, 27))


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> list[Case]:
    return write_simulated_cases(tmp_path_factory.mktemp("preprocessed"), SHAPES)


@pytest.fixture
def free(monkeypatch):
    """Sets what the machine says is free on the CPU and on a GPU, in bytes."""
    def set_free(memory, gpu=0):
        monkeypatch.setattr(volumes, "free_bytes", lambda device: memory if device.type == "cpu" else gpu)

    return set_free


def test_a_volume_is_what_the_files_hold(cases):
    loaded = load_volumes(cases)
    assert [v.name for v in loaded] == [case.name for case in cases]
    for v, case, shape in zip(loaded, cases, SHAPES):
        imaging, segmentation = (volumes.read_nifti(path)[0] for path in (case.imaging, case.segmentation))
        assert v.imaging.shape == v.segmentation.shape == shape and v.imaging.is_contiguous()
        assert v.imaging.dtype == torch.float16 and v.segmentation.dtype == torch.uint8
        assert np.array_equal(v.imaging.numpy(), imaging.astype(np.float16)) and np.array_equal(v.segmentation, segmentation)
        for label, voxels in v.centres.items():
            assert voxels.dtype == torch.int16 and voxels.device == CPU and len(voxels) <= MAX_CENTRES
            assert (v.segmentation[voxels.long().unbind(1)] == label).all()
    assert BYTES_A_VOXEL == 3


def test_the_same_patch_from_memory_and_from_disk(cases, tmp_path):
    """On a CPU, "device" is memory; a box is cut in the same way from either."""
    kept = [load_volumes(cases, storage=storage, scratch=tmp_path) for storage in ("device", "memory", "disk", "disk")]
    batches = [PatchSampler(v, (12, 12, 12), 2, augmentation=Augmentation(probability=1.0)).batch(4) for v in kept]
    fixed = [fixed_patches(v, (12, 12, 12), 2) for v in kept]
    for other, patches in zip(batches[1:], fixed[1:]):
        assert all(torch.equal(a, b) for a, b in zip(batches[0], other))
        assert all(torch.equal(a, b) for one, two in zip(fixed[0], patches) for a, b in zip(one, two))
    assert all(torch.equal(a.centres[1], b.centres[1]) for a, b in zip(kept[0], kept[2]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_patch_from_a_gpu_memory_and_disk(cases, tmp_path):
    batches = [PatchSampler(load_volumes(cases, "cuda", storage=storage, scratch=tmp_path), (12, 12, 12), 2, device="cuda",
                            augmentation=Augmentation(probability=1.0)).batch(4) for storage in ("device", "memory", "disk")]
    assert all(part.device.type == "cuda" for part in batches[0])
    assert all(torch.equal(a, b) for other in batches[1:] for a, b in zip(batches[0], other))


@pytest.mark.parametrize(("memory", "gpu", "device", "expected"), [
    (100, 100, GPU, "device"), (100, 12, GPU, "memory"), (12, 12, GPU, "disk"), (100, 0, CPU, "memory"), (12, 0, CPU, "disk")])
def test_auto_takes_the_first_that_has_room(free, tmp_path, memory, gpu, device, expected):
    free(memory * 10**9, gpu * 10**9)
    place, message = choose_storage(10 * 10**9, 160, device, scratch=tmp_path)
    assert place == expected and message.startswith("160 cases need 10.00 GB")
    if memory == gpu == 12:
        assert "no room on cuda: 12.00 GB free" in message and "no room in memory: 12.00 GB free" in message
        assert message.endswith(f"kept in mapped files below {tmp_path}")
    if (memory, gpu) == (100, 12):
        assert "no room on cuda: 12.00 GB free on cuda, 4.29 GB of it" in message and message.endswith("kept in memory")


def test_the_reserve_counts(free):
    free(10 * 10**9)
    assert choose_storage(7 * 10**9, 1, CPU, "memory", reserve=2 * 10**9)[0] == "memory"
    with pytest.raises(StorageError):
        choose_storage(7 * 10**9, 1, CPU, "memory", reserve=4 * 10**9)
    free(10**9)  # a small machine keeps half for the step, not all
    assert choose_storage(4 * 10**8, 1, CPU)[0] == "memory"


@pytest.mark.parametrize(("storage", "device"), [("device", GPU), ("device", CPU), ("memory", CPU), ("auto", CPU)])
def test_what_does_not_fit_is_refused_with_numbers(free, storage, device):
    free(3 * 10**9, 3 * 10**9)
    with pytest.raises(MemoryError, match=r"7 cases need 5\.00 GB.*3\.00 GB free.*1\.50 GB of it.*mapped files.*fewer cases"):
        choose_storage(5 * 10**9, 7, device, storage)


def test_bad_storage_is_named(cases, tmp_path):
    with pytest.raises(ValueError, match="auto, device, memory, disk"):
        load_volumes(cases, storage="gpu")
    with pytest.raises(ValueError, match="scratch"):
        load_volumes(cases, storage="disk")


def test_the_message_says_how_many_how_much_and_where(cases, capsys, tmp_path):
    load_volumes(cases, storage="disk", scratch=tmp_path)
    assert capsys.readouterr().out == f"3 cases need 0.1 MB; kept in mapped files below {tmp_path}\n"
    load_volumes(cases)
    assert capsys.readouterr().out.rstrip().endswith("of it for the training step; kept in memory")
    assert load_volumes([]) == [] and capsys.readouterr().out == ""


def test_sizes_are_compared_before_a_voxel_is_read(cases, free, monkeypatch):
    free(0)
    monkeypatch.setattr(volumes, "read_nifti", lambda path: pytest.fail("voxels were read"))
    with pytest.raises(StorageError):
        load_volumes(cases)


def test_mapped_files_are_used_again_and_written_anew_when_the_source_changed(cases, tmp_path, monkeypatch):
    folder, scratch = tmp_path / "preprocessed", tmp_path / "mapped"
    shutil.copytree(cases[0].folder.parent, folder)
    own = discover(folder)
    load_volumes(own, storage="disk", scratch=scratch)
    before = {path.name: path.stat().st_mtime_ns for path in scratch.iterdir()}
    assert len(before) == 6 and not any(name.startswith(".") for name in before)
    with monkeypatch.context() as patch:
        patch.setattr(volumes, "read_nifti", lambda path: pytest.fail("a source was read again"))
        old = load_volumes(own, storage="disk", scratch=scratch)
    assert {path.name: path.stat().st_mtime_ns for path in scratch.iterdir()} == before
    first = old[0].imaging.clone()
    write_nifti(own[0].imaging, np.ones(SHAPES[0], np.float32), np.eye(4))
    os.utime(own[0].imaging, ns=(1, 1))  # also an older file is another one
    new = load_volumes(own, storage="disk", scratch=scratch)
    assert (new[0].imaging == 1).all() and torch.equal(old[0].imaging, first)  # who had it mapped keeps it
    assert len(list(scratch.iterdir())) == 6


def test_a_mapped_file_of_the_wrong_size_is_written_anew(cases, tmp_path):
    expected = load_volumes(cases[:1], storage="disk", scratch=tmp_path)[0].imaging.clone()
    path = mapped_file(cases[0], "imaging", tmp_path)
    path.unlink()
    path.write_bytes(b"cut")
    assert torch.equal(load_volumes(cases[:1], storage="disk", scratch=tmp_path)[0].imaging, expected)


def test_runs_beside_each_other_share_mapped_files(cases, tmp_path):
    code = ("import sys\nfrom pathlib import Path\nfrom kitsnb.data.cases import discover\nfrom kitsnb.training.volumes import load_volumes\n"
            "v = load_volumes(discover(sys.argv[1]), storage='disk', scratch=Path(sys.argv[2]))\n"
            "print(sum(float(one.imaging.double().sum()) for one in v))")
    command = [sys.executable, "-c", code, str(cases[0].folder.parent), str(tmp_path)]
    runs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [run.communicate(timeout=200)[0].splitlines()[-1] for run in runs]
    assert all(run.returncode == 0 for run in runs) and len(set(answers)) == 1
    assert float(answers[0]) == sum(float(v.imaging.double().sum()) for v in load_volumes(cases))
    assert len(list(tmp_path.iterdir())) == 6


def test_a_full_disk_is_said_before_anything_is_written(cases, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(1000))
    with pytest.raises(OSError, match="3 cases need 0.1 MB here.*make room"):
        load_volumes(cases, storage="disk", scratch=tmp_path / "mapped")
    assert not (tmp_path / "mapped").exists()


def test_imaging_and_segmentation_of_different_shape_are_refused(cases, tmp_path):
    shutil.copytree(cases[0].folder, tmp_path / "case_00000")
    write_nifti(tmp_path / "case_00000" / "segmentation.nii.gz", np.zeros((4, 4, 4), np.uint8), np.eye(4))
    with pytest.raises(CaseError, match="differ in shape"):
        load_volumes([Case(tmp_path / "case_00000")])


def test_only_cases_that_were_preprocessed_are_taken(cases):
    folder = cases[0].folder.parent
    assert cases_below(folder, [Case(folder / "case_00001"), Case(folder / "case_00099")]) == [cases[1]]


def test_loading_holds_three_bytes_a_voxel_and_one_case(tmp_path):
    """What is beside the volumes does not grow with their number: one case as its file has it, and what reading needs."""
    shape, counts = (60, 80, 90), (10, 40)
    cases, voxels = write_simulated_cases(tmp_path, [shape] * counts[1]), math.prod(shape)
    load_volumes(cases[:1])  # what a first use loads
    few, many = (peak_process_bytes(lambda n=n: load_volumes(cases[:n])) for n in counts)
    added = (counts[1] - counts[0]) * voxels
    assert 0.9 * BYTES_A_VOXEL * added < many - few < 1.15 * BYTES_A_VOXEL * added
    assert many < BYTES_A_VOXEL * voxels * counts[1] + (40 << 20)


def test_memory_of_a_training_set_is_measured(tmp_path):
    found = memory(tmp_path, cases=20, shape=(60, 80, 90), patch=16)
    assert found["cases"] == 20 and found["voxels"] == pytest.approx(20 * 60 * 80 * 90, rel=0.05)
    assert BYTES_A_VOXEL * found["voxels"] < found["bytes"] < BYTES_A_VOXEL * found["voxels"] + (60 << 20)


def test_free_memory_is_what_is_available_within_the_control_group(tmp_path):
    assert 0 < free_bytes(CPU) < 2**50
    groups, root = tmp_path / "cgroup", tmp_path / "fs"
    for level, most in (("", None), ("slurm", "5000"), ("slurm/job", "max")):
        (root / level).mkdir(parents=True, exist_ok=True)
        if most:
            (root / level / "memory.max").write_text(most)
            (root / level / "memory.current").write_text("3000")
            (root / level / "memory.stat").write_text("anon 1\ninactive_file 500\n")
    groups.write_text("0::/slurm/job\n")
    assert volumes._group_limits(groups, root) == [2500]
    old = root / "memory" / "job"
    old.mkdir(parents=True)
    for name, value in (("limit_in_bytes", 900), ("usage_in_bytes", 1000)):
        (old / f"memory.{name}").write_text(str(value))
    (old / "memory.stat").write_text("total_inactive_file 50\n")
    groups.write_text("4:cpu:/\n3:memory:/job\n")
    assert volumes._group_limits(groups, root) == [0]
    assert volumes._group_limits(tmp_path / "none", root) == []
