"""Prediction of new CT: geometry, folders, names, refusals, what belongs to a run, and what is said before it starts."""

import dataclasses
import os
import re
import shutil
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio
from helpers.files_at_hand import rewrite
from helpers.network_at_hand import Bright
from peers.measure import peak_bytes
from rich.console import Console
from typer.testing import CliRunner

from kitsnb.__main__ import app
from kitsnb.data.cases import Case
from kitsnb.data.nifti import CaseError, Header, read_header, read_nifti, spacing_of, write_nifti
from kitsnb.inference.predict import Job, Options, find_jobs, forecast, predict_all, predict_file
from kitsnb.preprocessing.prepare import Preprocessing, preprocess, to_grid, z_score
from kitsnb.preprocessing.resampling import working_shape
from kitsnb.simulation.phantom import Phantom, reorient

def command(*arguments) -> tuple[int, str]:
    """Exit status of ``python -m kitsnb predict``, and all that it says, on one line."""
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    said = result.output + (result.exception.code if result.exception and isinstance(result.exception.code, str) else "")
    return result.exit_code, " ".join(said.split())


@pytest.mark.parametrize("orientation", ["IPL", "LPS", "RAS", "ASR"])
@pytest.mark.parametrize("resize", [None, (48, 40)])
def test_slab_by_slab_is_what_training_saw(phantom, orientation, resize):
    settings = Preprocessing(spacing=(7.0, 6.0, 5.0), resize_in_plane=resize)
    turned = reorient(phantom, orientation)
    subject = tio.Subject(name="case_00001", imaging=tio.ScalarImage(
        tensor=torch.from_numpy(turned.imaging.astype(np.float32))[None], affine=turned.affine))
    expected = preprocess(subject, settings)["imaging"].data[0]
    before = turned.imaging.copy()
    got, _ = z_score(to_grid(turned.imaging, turned.affine, settings)[0][0], settings)
    assert got.shape == expected.shape == working_shape(turned.imaging.shape, turned.affine, settings.spacing)
    assert torch.allclose(got, expected, atol=1e-4) and got.dtype == torch.float32
    assert np.array_equal(turned.imaging, before)
    floats = turned.imaging.astype(np.float32)
    assert torch.equal(z_score(to_grid(floats, turned.affine, settings)[0][0], settings)[0], got)
    assert np.array_equal(floats, before)


def test_a_whole_ct_never_exists_as_float():
    array, affine, grid = np.ones((256, 256, 256), np.int16), np.diag([2.0, 2.0, 2.0, 1]), Preprocessing(spacing=(8, 8, 8), resize_in_plane=None)
    array[::2] = 9
    tracemalloc.start()
    try:
        to_grid(array, affine, grid)
        held_by_numpy = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held_by_numpy + peak_bytes(lambda: to_grid(array, affine, grid)) < 4 * array.size


def test_labels_lie_where_the_ct_lies(trained, phantom, tmp_path):
    """In every orientation the same labels at the same place of the world, in the geometry of the file."""
    found, sides, trained = {}, {}, dataclasses.replace(trained, network=Bright())
    for orientation in ("IPL", "LPS", "RAS"):
        turned = reorient(phantom, orientation)
        source = write_nifti(tmp_path / f"{orientation}.nii.gz", turned.imaging, turned.affine)
        job = Job(orientation, source, tmp_path / "labels" / f"{orientation}.nii.gz")
        pieces, _ = predict_file(trained, job)
        labels, affine = read_nifti(job.output)
        assert labels.shape == turned.imaging.shape and labels.dtype == np.uint8 and np.array_equal(affine, read_nifti(source)[1])
        kidney = sum(piece.kidney_ml for piece in pieces)
        assert kidney == pytest.approx((labels == 1).sum() * np.prod(spacing_of(affine)) / 1000)
        sides[orientation] = [(piece.side, round(piece.ml), piece.away) for piece in pieces if piece.ml > 5]
        found[orientation] = reorient(Phantom(labels, labels, labels, affine), "IPL").imaging
    assert np.unique(found["IPL"]).tolist() == [0, 1, 2]
    for orientation in ("LPS", "RAS"):
        assert sides[orientation] == sides["IPL"] and (found[orientation] != found["IPL"]).mean() < 1e-4


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


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_folder_with_one_bad_case_among_three(run, phantom, tmp_path):
    for number in (210, 211, 212):
        write_nifti(Case(tmp_path / "data" / f"case_{number:05d}").imaging, phantom.imaging, phantom.affine)
    bad = tmp_path / "data" / "case_00211" / "imaging.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-1000])
    status, said = command(tmp_path / "data", "--run", run, "--output", tmp_path / "out", "--no-picture")
    assert status == 1 and "simulated CT" in said and "case_00211: refused" in said and "refused: case_00211: imaging.nii.gz: corrupt" in said
    assert re.search(r"3 to predict on cpu: about \d+:\d\d, [\d.]+ GB of memory", said)
    names = ["prediction_00210.nii.gz", "prediction_00212.nii.gz"]
    assert visible(tmp_path / "out") == names

    write_nifti(bad, phantom.imaging, phantom.affine)
    spoilt = tmp_path / "out" / names[1]
    spoilt.write_bytes(spoilt.read_bytes()[:-20])
    before = (tmp_path / "out" / names[0]).stat().st_mtime_ns
    status, said = command(tmp_path / "data", "--run", run, "--output", tmp_path / "out")
    assert status == 0 and "1 of 3 are predicted already" in said and "2 to predict" in said
    assert (tmp_path / "out" / names[0]).stat().st_mtime_ns == before
    status, said = command(tmp_path / "data", "--run", run, "--output", tmp_path / "out", "--force", "--keep-components", 1)
    assert status == 0 and "3 to predict" in said and (tmp_path / "out" / names[0]).stat().st_mtime_ns > before


def test_names_and_places(tmp_path, phantom):
    for name in ("case_00007", "scan"):
        write_nifti(tmp_path / "files" / f"{name}.nii.gz", phantom.imaging, phantom.affine)
    write_nifti(Case(tmp_path / "case_00300").imaging, phantom.imaging, phantom.affine)
    write_nifti(Case(tmp_path / "case_00300").segmentation, phantom.segmentation, phantom.affine)
    out, files = tmp_path / "out", tmp_path / "files"
    assert [job.output.name for job in find_jobs(files, out)[0]] == ["prediction_00007.nii.gz", "prediction_scan.nii.gz"]
    alone = Job("case_00300", tmp_path / "case_00300" / "imaging.nii.gz", out / "prediction_00300.nii.gz")
    assert find_jobs(tmp_path / "case_00300", out) == ([alone], [])
    one = Job("scan", files / "scan.nii.gz", tmp_path / "a.nii.gz")
    assert find_jobs(files / "scan.nii.gz", tmp_path / "a.nii.gz") == ([one], [])
    (tmp_path / "empty").mkdir()
    for imaging, output, said in [
        (files, tmp_path / "a.nii.gz", "many predictions need a folder"),
        (files / "scan.nii.gz", tmp_path / "a.png", "ends in .nii.gz"),
        (files, files, "labels would be CT the next time"),
        (tmp_path / "nothing", out, "no such file or folder"),
        (tmp_path / "empty", out, "case_XXXXX"),
    ]:
        with pytest.raises((CaseError, FileNotFoundError), match=said):
            find_jobs(imaging, output)


def spoilt_cts(folder: Path, phantom: Phantom) -> dict[str, Path]:
    """By what must be said: CT that cannot be used."""
    nan = phantom.imaging.astype(np.float32)
    nan[0, 0, 0] = np.nan
    metres = np.diag([1e-3, 1e-3, 1e-3, 1]) @ phantom.affine
    arrays = {
        "voxels are colours": (np.zeros(phantom.imaging.shape, np.dtype([(c, "u1") for c in "RGB"])), phantom.affine),
        "is no volume": (np.stack([phantom.imaging] * 2, -1), phantom.affine),
        "1 voxels are NaN or infinite": (nan, phantom.affine),
        "all voxels are -79 HU after clipping": (np.where(phantom.imaging > 0, -100, -400).astype(np.int16), phantom.affine),
        "all voxels are equal": (np.full((30, 30, 30), 9999, np.int16), np.diag([5, 5, 5, 1.0])),
        "nothing but air": (np.where(phantom.imaging > 0, -900, -1000).astype(np.int16), phantom.affine),
        "no HU (unscaled 12-bit values?)": (phantom.imaging + 1024 - min(0, int(phantom.imaging.min()) + 1024), phantom.affine),
        "the volume would be": (phantom.imaging, metres),
    }
    paths = {said: write_nifti(folder / f"{i}.nii.gz", *pair) for i, (said, pair) in enumerate(arrays.items())}
    paths["neither a gzip nor a NIfTI file"] = folder / "plain.nii"
    paths["neither a gzip nor a NIfTI file"].write_bytes(b"x" * 400)
    paths["missing; put it"] = folder / "absent.nii.gz"
    return paths


def test_ct_that_cannot_be_used_is_refused_by_name(trained, phantom, tmp_path):
    paths = spoilt_cts(tmp_path, phantom)
    jobs = [Job(path.name.split(".")[0], path, tmp_path / "out" / f"{path.name}") for path in paths.values()]
    refused = predict_all(trained, jobs, Console(quiet=True))
    assert sorted(refused) == sorted(job.name for job in jobs) and not (tmp_path / "out").exists()
    for job, said in zip(jobs, paths):
        assert said in str(refused[job.name])
        assert str(refused[job.name]).startswith(f"{job.name}: {job.imaging.name}: ")


def test_a_run_predicts_from_any_folder(own_run, phantom, tmp_path):
    moved = shutil.move(own_run, tmp_path / "archive" / "2026" / "dice")
    shutil.rmtree(tmp_path / "profile")
    source = write_nifti(tmp_path / "ct.nii.gz", phantom.imaging, phantom.affine)
    assert command(source, "--run", moved, "--output", tmp_path / "out.nii.gz", "--no-picture")[0] == 0


def test_the_profile_s_folder_names_its_runs(profile):
    status, said = command(profile / "data", "--run", profile, "--output", profile / "out")
    assert status == 1 and "give one of its runs (dice-seed0)" in said


@pytest.fixture
def labelled(run, phantom, tmp_path):
    """A CT in a folder with brackets in its name, its labels, and the command that predicts them; extra arguments go behind."""
    folder = tmp_path / "[one]"
    source = write_nifti(folder / "ct.nii.gz", phantom.imaging, phantom.affine)
    output = folder / "labels.nii.gz"
    return source, output, lambda *more: command(source, "--output", output, "--run", run, "--no-picture", *more)


def test_labels_are_kept_while_ct_run_and_options_are_the_same(labelled):
    source, output, predict = labelled
    status, message = predict()
    assert status == 0 and str(output) in message
    before = output.stat().st_mtime_ns
    assert "1 of 1 are predicted already" in predict()[1] and output.stat().st_mtime_ns == before
    os.utime(source)  # no other content
    assert "1 of 1 are predicted already" in predict()[1]
    assert "is wanted anew: predicted again" in predict("--force")[1] and output.stat().st_mtime_ns > before


def test_labels_of_another_ct_run_or_options_are_made_anew(labelled, own_run, phantom):
    source, output, predict = labelled
    predict()
    assert "came from another --keep-components: predicted again" in predict("--keep-components", 1)[1]
    write_nifti(source, np.where(phantom.imaging > 0, phantom.imaging + 1, phantom.imaging), phantom.affine)
    assert "came from another CT: predicted again" in predict("--keep-components", 1)[1]
    rewrite(own_run / "run.json", lambda c: c["settings"].update(overlap=[4, 4, 4]))
    assert "came from another run and --keep-components" in predict("--run", own_run)[1]
    assert "1 of 1 are predicted already" in predict("--run", own_run)[1]


@pytest.mark.parametrize("more", [[], ["--force"]])
def test_what_is_no_prediction_of_ours_is_never_replaced(labelled, phantom, more):
    source, output, predict = labelled
    write_nifti(output, phantom.segmentation, phantom.affine)  # a reference
    reference = output.read_bytes()
    status, message = predict(*more)
    assert status == 1 and "no receipt says that it is a prediction" in message and output.read_bytes() == reference
    output.unlink()
    assert predict(*more)[0] == 0
    write_nifti(output, phantom.segmentation, phantom.affine)  # a correction by hand
    status, message = predict(*more)
    assert status == 1 and "was changed after it was predicted" in message and output.read_bytes() == reference


def test_the_ct_itself_is_never_replaced(run, phantom, tmp_path):
    source = write_nifti(tmp_path / "ct.nii.gz", phantom.imaging, phantom.affine)
    before = source.read_bytes()
    assert command(source, "--run", run, "--output", source, "--force")[0] == 1 and source.read_bytes() == before


def test_a_damaged_prediction_is_made_again(labelled):
    _, output, predict = labelled
    predict()
    whole = output.read_bytes()
    output.write_bytes(whole[:-20])
    assert "is damaged: predicted again" in predict()[1] and output.read_bytes() == whole


def test_what_components_were_removed_is_said(trained, phantom, tmp_path):
    source = write_nifti(tmp_path / "ct.nii.gz", phantom.imaging, phantom.affine)
    job, bright = Job("ct", source, tmp_path / "labels.nii.gz"), dataclasses.replace(trained, network=Bright())
    whole, said = predict_file(bright, job)
    assert not any("removed" in line for line in said)
    kept, said = predict_file(bright, job, Options(keep=1))
    (line,) = (line for line in said if "removed" in line)
    removed = sum(piece.ml for piece in whole) - sum(piece.ml for piece in kept)
    assert len(kept) == 1 and f"removed {removed:.1f} ml in {len(whole) - 1} pieces" in line
    labels, affine = read_nifti(job.output)
    assert (labels > 0).sum() * np.prod(spacing_of(affine)) / 1000 == pytest.approx(kept[0].ml)


def test_what_was_found_is_said(labelled, monkeypatch):
    """Nothing, by a network that finds nothing; and where no kidney was located, the whole scan is labelled."""
    _, _, predict = labelled
    monkeypatch.setattr("kitsnb.inference.trained.load_network", lambda *_: Nothing())
    _, said = predict()
    assert "no kidney and no tumour" in said and "located" not in said
    assert "came from another --locate" in (said := predict("--locate")[1]) and "no kidney was located" in said


class Nothing(Bright):
    def forward(self, x):
        return torch.cat([0 * x + 1, 0 * x, 0 * x], 1)


def test_a_folder_of_unpacked_files_predicts_and_the_rest_is_listed(run, phantom, tmp_path):
    source = tmp_path / "ct"
    write_nifti(source / "a.nii", phantom.imaging, phantom.affine)
    for name in ("a", "b"):
        write_nifti(source / f"{name}.nii.gz", phantom.imaging, phantom.affine)
    (source / "[notes].txt").write_text("nothing")
    jobs, skipped = find_jobs(source, tmp_path / "out")
    assert [job.imaging.name for job in jobs] == ["a.nii.gz", "b.nii.gz"] and skipped == ["[notes].txt", "a.nii"]
    for name in ("a", "b"):
        (source / f"{name}.nii.gz").unlink()
    status, message = command(source, "--run", run, "--output", tmp_path / "out", "--no-picture")
    assert status == 0 and "skipped, as no CT: [notes].txt" in message and "is not compressed" in message
    assert visible(tmp_path / "out") == ["prediction_a.nii.gz"]


def test_good_ct_that_is_stored_otherwise_is_used(run, phantom, tmp_path):
    folder, hu, affine = tmp_path / "ct", phantom.imaging, phantom.affine
    arrays = {
        "plain": (hu, affine), "four axes": (hu[..., None], affine), "floats": (hu.astype(np.float32), affine),
        "turned": (hu[:, ::-1], affine @ np.diag([1, -1, 1, 1])), "metres": (hu, np.diag([1e-3, 1e-3, 1e-3, 1]) @ affine),
    }
    folder.mkdir()
    for name, (array, matrix) in arrays.items():
        image = nib.Nifti1Image(np.asarray(array), matrix)
        image.header.set_xyzt_units("meter" if name == "metres" else "mm")
        image.to_filename(folder / f"{name}.nii{'' if name == 'plain' else '.gz'}")
    status, said = command(folder, "--run", run, "--output", tmp_path / "out", "--no-picture")
    assert status == 0 and "metres: metres.nii.gz: its geometry is stored in metres" in said
    assert visible(tmp_path / "out") == [f"prediction_{name}.nii.gz" for name in sorted(arrays)]


def test_labels_keep_both_forms_of_the_ct_s_header(trained, phantom, tmp_path):
    image = nib.Nifti1Image(phantom.imaging, None)
    image.set_qform(phantom.affine, code=1)
    image.set_sform(phantom.affine, code=4)
    image.to_filename(tmp_path / "ct.nii.gz")
    predict_file(trained, Job("ct", tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz"))
    for name in ("qform", "sform"):
        before, after = (nib.load(tmp_path / f"{file}.nii.gz") for file in ("ct", "labels"))
        assert np.array_equal(*(getattr(image, f"get_{name}")() for image in (before, after)))
        assert before.header[f"{name}_code"] == after.header[f"{name}_code"] > 0


def test_a_picture_lies_beside_the_labels_and_replaces_no_other(labelled):
    _, output, predict = labelled
    picture = output.with_name("labels.png")
    assert predict("--picture")[0] == 0 and picture.read_bytes().startswith(b"\x89PNG")
    assert "none of ours" not in predict("--picture", "--force")[1]
    picture.write_bytes(b"mine")
    assert "none of ours" in predict("--picture", "--force")[1] and picture.read_bytes() == b"mine"


def test_whether_the_ct_was_simulated_is_said(own_run, tmp_path, phantom):
    source = write_nifti(tmp_path / "ct.nii.gz", phantom.imaging, phantom.affine)
    rewrite(own_run / "run.json", lambda c: c.update(simulated=False))
    assert "simulated" not in command(source, "--run", own_run, "--output", tmp_path / "out.nii.gz")[1]
    rewrite(own_run / "run.json", lambda c: c.pop("simulated"))
    assert "Was the network trained on simulated CT?" in command(source, "--run", own_run, "--output", tmp_path / "out.nii.gz")[1]


def test_the_forecast_grows_with_the_work(trained, phantom, tmp_path):
    header = read_header(write_nifti(tmp_path / "ct.nii.gz", phantom.imaging, phantom.affine))
    large = Header((600, 512, 512), np.diag([1.0, 0.8, 0.8, 1]), np.dtype(np.int16))
    few, many = forecast(trained, [header]), forecast(trained, [header, large])
    assert 0 < few[0] < many[0] and many[1] - few[1] > 500e6
