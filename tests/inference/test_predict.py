"""Prediction of new CT: geometry, folders, names, refusals, what belongs to a run, and what is said before it starts."""

import dataclasses
import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import torchio as tio
from peers.measure import peak_bytes
from rich.console import Console
from typer.testing import CliRunner

from kitsnb.__main__ import app
from kitsnb.data.cases import Case, discover
from kitsnb.data.nifti import CaseError, Header, read_header, read_nifti, spacing_of, write_nifti
from kitsnb.inference.predict import Job, find_jobs, forecast, predict_all, predict_file, working_shape
from kitsnb.inference.trained import load_run
from kitsnb.preprocessing.prepare import Preprocessing, preprocess, preprocess_cases, to_grid, z_score
from kitsnb.simulation.phantom import Phantom, reorient, simulate_case, write_dataset
from kitsnb.training.run import train
from kitsnb.training.settings import Training
from kitsnb.training.volumes import load_volumes

TINY = Training(network={"base_filters": 2, "depth": 2}, patch_size=(16, 16, 16), batch_size=1, steps_per_epoch=2, epochs=1,
                augmentation=None)
GRID = Preprocessing(spacing=(8.0, 8.0, 8.0), resize_in_plane=None)


@pytest.fixture(scope="module")
def profile(tmp_path_factory) -> Path:
    """The folder of a profile whose one run was trained for two steps."""
    build = tmp_path_factory.mktemp("profile")
    cases = write_dataset(build / "data", 2, 0)
    preprocess_cases(cases, build / "preprocessed", GRID)
    volumes, run = load_volumes(discover(build / "preprocessed")), build / "runs" / "dice-seed0"
    summary = train(TINY, volumes[:1], volumes[1:], run)
    settings = {**TINY.as_json(), "overlap": [8, 8, 8], "training": [0, 0], "validation": [1, 1], "excluded": []}
    (run / "run.json").write_text(json.dumps({"experiment": "dice", "simulated": True, **summary, "settings": settings}))
    return build


@pytest.fixture(scope="module")
def run(profile) -> Path:
    return profile / "runs" / "dice-seed0"


@pytest.fixture(scope="module")
def trained(run):
    return load_run(run)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return reorient(simulate_case(0, 1), "IPL")


@pytest.fixture
def own_run(profile, tmp_path) -> Path:
    """A copy of the run, and of what it needs, to spoil."""
    copy = tmp_path / "profile"
    shutil.copytree(profile, copy, ignore=shutil.ignore_patterns("data", "logs", "case_*"))
    return copy / "runs" / "dice-seed0"


def command(*arguments) -> tuple[int, str]:
    """Exit status of ``python -m kitsnb predict``, and all that it says, on one line."""
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    told = result.output + (result.exception.code if result.exception and isinstance(result.exception.code, str) else "")
    return result.exit_code, " ".join(told.split())


@pytest.mark.parametrize("orientation", ["IPL", "LPS", "RAS", "ASR"])
@pytest.mark.parametrize("resize", [None, (48, 40)])
def test_slab_by_slab_is_what_training_saw(phantom, orientation, resize):
    settings = Preprocessing(spacing=(7.0, 6.0, 5.0), resize_in_plane=resize)
    turned = reorient(phantom, orientation)
    subject = tio.Subject(name="case_00001", imaging=tio.ScalarImage(
        tensor=torch.from_numpy(turned.imaging.astype(np.float32))[None], affine=turned.affine))
    expected = preprocess(subject, settings)["imaging"].data[0]
    before = turned.imaging.copy()
    got = z_score(to_grid(turned.imaging, turned.affine, settings)[0][0], settings)
    assert got.shape == expected.shape == working_shape(turned.imaging.shape, turned.affine, settings)
    assert torch.allclose(got, expected, atol=1e-4) and got.dtype == torch.float32
    assert np.array_equal(turned.imaging, before)
    floats = turned.imaging.astype(np.float32)
    assert torch.equal(z_score(to_grid(floats, turned.affine, settings)[0][0], settings), got)
    assert np.array_equal(floats, before)


def test_a_whole_ct_never_exists_as_float():
    array, affine = np.ones((256, 256, 256), np.int16), np.diag([2.0, 2.0, 2.0, 1])
    array[::2] = 9
    tracemalloc.start()
    try:
        to_grid(array, affine, GRID)
        held_by_numpy = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held_by_numpy + peak_bytes(lambda: to_grid(array, affine, GRID)) < 4 * array.size


class Bright(torch.nn.Module):
    """Background below the mean, kidney above, tumour where it is brightest."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.cat([-4 * x, 4 * x, 8 * x - 8], 1)


def test_labels_lie_where_the_ct_lies(trained, phantom, tmp_path):
    """In every orientation the same labels at the same place of the world, in the geometry of the file."""
    found, trained = {}, dataclasses.replace(trained, network=Bright())
    for orientation in ("IPL", "LPS", "RAS"):
        turned = reorient(phantom, orientation)
        source = write_nifti(tmp_path / f"{orientation}.nii.gz", turned.imaging, turned.affine)
        job = Job(orientation, source, tmp_path / "labels" / f"{orientation}.nii.gz")
        volumes = predict_file(trained, job)
        labels, affine = read_nifti(job.output)
        assert labels.shape == turned.imaging.shape and labels.dtype == np.uint8 and np.array_equal(affine, read_nifti(source)[1])
        assert volumes["kidney_ml"] == pytest.approx((labels == 1).sum() * np.prod(spacing_of(affine)) / 1000)
        found[orientation] = reorient(Phantom(labels, labels, affine), "IPL").imaging
    assert np.unique(found["IPL"]).tolist() == [0, 1, 2]
    for orientation in ("LPS", "RAS"):
        assert (found[orientation] != found["IPL"]).mean() < 1e-4


def test_an_oblique_ct_keeps_its_affine(trained, phantom, tmp_path):
    trained, turn = dataclasses.replace(trained, network=Bright()), np.eye(4)
    turn[:3, :3] = [[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]
    turned = reorient(phantom, "LPS")
    source = write_nifti(tmp_path / "oblique.nii.gz", turned.imaging, turn @ turned.affine)
    predict_file(trained, Job("oblique", source, tmp_path / "labels.nii.gz"))
    (labels, affine), (_, stored) = read_nifti(tmp_path / "labels.nii.gz"), read_nifti(source)
    assert np.array_equal(affine, stored) and np.abs(affine[0, :2]).min() > 0.5
    predict_file(trained, Job("straight", write_nifti(tmp_path / "straight.nii.gz", turned.imaging, turned.affine),
                              tmp_path / "straight_labels.nii.gz"))
    assert np.array_equal(labels, read_nifti(tmp_path / "straight_labels.nii.gz")[0]) and len(np.unique(labels)) == 3


def test_a_folder_with_one_bad_case_among_three(run, phantom, tmp_path):
    for number in (210, 211, 212):
        write_nifti(Case(tmp_path / "data" / f"case_{number:05d}").imaging, phantom.imaging, phantom.affine)
    bad = tmp_path / "data" / "case_00211" / "imaging.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-1000])
    status, told = command(tmp_path / "data", "--run", run, "--output", tmp_path / "out")
    assert status == 1 and "simulated CT" in told and "case_00211: refused" in told and "what to do" in told
    assert "3 to predict on cpu: about 0:0" in told and "GB of memory" in told
    names = ["prediction_00210.nii.gz", "prediction_00212.nii.gz"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names

    write_nifti(bad, phantom.imaging, phantom.affine)
    spoilt = tmp_path / "out" / names[1]
    spoilt.write_bytes(spoilt.read_bytes()[:-20])
    before = (tmp_path / "out" / names[0]).stat().st_mtime_ns
    status, told = command(tmp_path / "data", "--run", run, "--output", tmp_path / "out")
    assert status == 0 and "1 of 3 are predicted already" in told and "2 to predict" in told
    assert (tmp_path / "out" / names[0]).stat().st_mtime_ns == before
    status, told = command(tmp_path / "data", "--run", run, "--output", tmp_path / "out", "--force", "--keep-components", 1)
    assert status == 0 and "3 to predict" in told and (tmp_path / "out" / names[0]).stat().st_mtime_ns > before


def test_names_and_places(tmp_path, phantom):
    for name in ("case_00007", "scan"):
        write_nifti(tmp_path / "files" / f"{name}.nii.gz", phantom.imaging, phantom.affine)
    write_nifti(Case(tmp_path / "case_00300").imaging, phantom.imaging, phantom.affine)
    write_nifti(Case(tmp_path / "case_00300").segmentation, phantom.segmentation, phantom.affine)
    out, files = tmp_path / "out", tmp_path / "files"
    assert [job.output.name for job in find_jobs(files, out)] == ["prediction_00007.nii.gz", "prediction_scan.nii.gz"]
    assert find_jobs(tmp_path / "case_00300", out) == [
        Job("case_00300", tmp_path / "case_00300" / "imaging.nii.gz", out / "prediction_00300.nii.gz")]
    assert find_jobs(files / "scan.nii.gz", tmp_path / "a.nii.gz") == [
        Job("scan", files / "scan.nii.gz", tmp_path / "a.nii.gz")]
    (tmp_path / "empty").mkdir()
    for imaging, output, told in [
        (files, tmp_path / "a.nii.gz", "many predictions need a folder"),
        (files / "scan.nii.gz", tmp_path / "a.png", "ends in .nii.gz"),
        (files / "scan.nii.gz", files / "scan.nii.gz", "would replace it"),
        (files, files, "would be a CT itself"),
        (tmp_path / "nothing", out, "no such file or folder"),
        (tmp_path / "empty", out, "case_XXXXX"),
    ]:
        with pytest.raises((CaseError, FileNotFoundError), match=told):
            find_jobs(imaging, output)


def spoilt_cts(folder: Path, phantom: Phantom) -> dict[str, Path]:
    """By what must be said: CT that cannot be used."""
    nan = phantom.imaging.astype(np.float32)
    nan[0, 0, 0] = np.nan
    metres = np.diag([1e-3, 1e-3, 1e-3, 1]) @ phantom.affine
    arrays = {
        "is no volume": (np.stack([phantom.imaging] * 2, -1), phantom.affine),
        "1 voxels are NaN or infinite": (nan, phantom.affine),
        "all voxels are -79 HU after clipping": (np.where(phantom.imaging > 0, -100, -400).astype(np.int16), phantom.affine),
        "all voxels are equal": (np.full((30, 30, 30), 9999, np.int16), np.diag([5, 5, 5, 1.0])),
        "nothing but air": (np.where(phantom.imaging > 0, -900, -1000).astype(np.int16), phantom.affine),
        "no HU (unscaled 12-bit values?)": (phantom.imaging + 1024 - min(0, int(phantom.imaging.min()) + 1024), phantom.affine),
        "the volume would be": (phantom.imaging, metres),
    }
    paths = {told: write_nifti(folder / f"{i}.nii.gz", *pair) for i, (told, pair) in enumerate(arrays.items())}
    paths["neither a gzip nor a NIfTI file"] = folder / "plain.nii"
    paths["neither a gzip nor a NIfTI file"].write_bytes(b"x" * 400)
    paths["missing; put it"] = folder / "absent.nii.gz"
    return paths


def test_ct_that_cannot_be_used_is_refused_by_name(trained, phantom, tmp_path):
    paths = spoilt_cts(tmp_path, phantom)
    jobs = [Job(path.name.split(".")[0], path, tmp_path / "out" / f"{path.name}") for path in paths.values()]
    refused = predict_all(trained, jobs, Console(quiet=True))
    assert sorted(refused) == sorted(job.name for job in jobs) and not (tmp_path / "out").exists()
    for job, told in zip(jobs, paths):
        assert told in str(refused[job.name])
        assert str(refused[job.name]).startswith(f"{job.name}: {job.imaging.name}: ")


@pytest.mark.parametrize("lost", ["run.json", "settings.json", "checkpoints/best.ckpt", "../../preprocessed/report.json"])
def test_what_a_run_lacks_is_named(own_run, lost):
    (own_run / lost).unlink()
    with pytest.raises(CaseError, match=f"dice-seed0: {Path(lost).name}: .* is missing"):
        load_run(own_run)


def rewrite(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(("file", "change", "told"), [
    ("run.json", lambda c: c["settings"].pop("overlap"), "run.json: settings lack overlap"),
    ("settings.json", lambda c: c.update(learning_rate=1.0), "belong to other settings .learning_rate: 1.0 there, 0.0001"),
    ("../../preprocessed/report.json", lambda c: c.pop("settings"), "report.json: .*settings"),
    ("../../preprocessed/report.json", lambda c: c["settings"].update(colour=1), "report.json: .*colour"),
])
def test_settings_that_do_not_belong_are_named(own_run, file, change, told):
    rewrite(own_run / file, change)
    with pytest.raises(CaseError, match=told):
        load_run(own_run)


def test_a_checkpoint_of_another_network_is_named(own_run):
    for name in ("run.json", "settings.json"):
        rewrite(own_run / name, lambda c: c.get("settings", c)["network"].update(base_filters=4))
    with pytest.raises(CaseError, match="best.ckpt: does not fit run.json's network"):
        load_run(own_run)
    (own_run / "checkpoints" / "best.ckpt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CaseError, match="best.ckpt"):
        load_run(own_run)


def test_the_profile_s_folder_names_its_runs(profile):
    status, told = command(profile / "data", "--run", profile, "--output", profile / "out")
    assert status == 1 and "give one of its runs (dice-seed0)" in told


def test_whether_the_ct_was_simulated_is_said(own_run, tmp_path, phantom):
    source = write_nifti(tmp_path / "ct.nii.gz", phantom.imaging, phantom.affine)
    record = json.loads((own_run / "run.json").read_text())
    (own_run / "run.json").write_text(json.dumps(record | {"simulated": False}))
    assert "simulated" not in command(source, "--run", own_run, "--output", tmp_path / "out.nii.gz")[1]
    (own_run / "run.json").write_text(json.dumps({key: value for key, value in record.items() if key != "simulated"}))
    assert "Was the network trained on simulated CT?" in command(source, "--run", own_run, "--output", tmp_path / "out.nii.gz")[1]


def test_the_forecast_grows_with_the_work(trained, phantom, tmp_path):
    header = read_header(write_nifti(tmp_path / "ct.nii.gz", phantom.imaging, phantom.affine))
    large = Header((600, 512, 512), np.diag([1.0, 0.8, 0.8, 1]), np.dtype(np.int16))
    few, many = forecast(trained, [header]), forecast(trained, [header, large])
    assert 0 < few[0] < many[0] and many[1] - few[1] > 500e6
