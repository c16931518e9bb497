"""Prediction of new CT: geometry, names that ``score`` finds, what is refused, and what is said."""

import gzip

import matplotlib
import nibabel as nib
import numpy as np
import pytest

from kitsnb.data.cases import Case
from kitsnb.data.nifti import CaseError, read_nifti, write_nifti
from kitsnb.inference import predict
from kitsnb.inference.predict import Job, find_jobs, keep_largest, main, predict_file
from kitsnb.inference.score import score_folder
from kitsnb.preprocessing import reorient


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "oblique"])
def test_labels_lie_where_the_ct_lies(trained, ct, tmp_path, orientation):
    """In every orientation the same labels at the same place of the world, in the geometry of the file."""
    turned = ct.turned("LPS" if orientation == "oblique" else orientation)
    affine = turned.affine
    if orientation == "oblique":
        affine = np.array([[0.96, -0.28, 0, 0], [0.28, 0.96, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ affine
    found = {}
    for name, imaging, where in (("straight", ct.imaging, ct.affine), ("turned", turned.imaging, affine)):
        source = write_nifti(tmp_path / f"{name}.nii.gz", imaging, where)
        output = tmp_path / "labels" / f"{name}.nii.gz"
        said, *_ = predict_file(trained, Job(name, source, output))
        labels, stored = read_nifti(output)
        assert labels.shape == imaging.shape and np.array_equal(stored, read_nifti(source)[1])
        millilitres = [(labels == label).sum() * 0.036 for label in (1, 2)]
        assert said == "kidney {:.1f} ml, tumour {:.1f} ml".format(*millilitres) and min(millilitres) > 0
        found[name] = reorient(labels, where)[0]
    assert (found["straight"] != found["turned"]).mean() < 1e-4


def test_the_header_s_geometry_is_kept(trained, ct, tmp_path):
    image = nib.Nifti1Image(ct.imaging, ct.affine)
    image.set_qform(ct.affine, code=2)
    image.set_sform(ct.affine, code=4)
    image.to_filename(tmp_path / "ct.nii.gz")
    predict_file(trained, Job("ct", tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz"))
    labels = nib.load(tmp_path / "labels.nii.gz")
    assert np.array_equal(image.get_qform(), labels.get_qform()) and labels.header["qform_code"] == 2
    assert np.array_equal(image.get_sform(), labels.get_sform()) and labels.header["sform_code"] == 4


@pytest.mark.parametrize("slices", [1, 3])
def test_a_ct_thinner_than_a_patch_is_predicted(trained, ct, tmp_path, slices):
    middle = slice(18, 18 + slices)
    source = write_nifti(tmp_path / "thin.nii.gz", ct.imaging[middle], ct.affine)
    predict_file(trained, Job("thin", source, tmp_path / "labels.nii.gz"))
    labels, _ = read_nifti(tmp_path / "labels.nii.gz")
    assert labels.shape == (slices, 40, 44) and ((labels > 0) == (ct.labels[middle] > 0)).mean() > 0.9


@pytest.mark.parametrize(("name", "own"), [
    ("case_00210", "case_00210"), ("anna.nii.gz", "anna"), ("case_00300_0000.nii.gz", "case_00300"),
    ("scan_20240115.nii", "scan_20240115"), ("ANNA.NII.GZ", "ANNA"), ("1000012.nii.gz", "1000012"),
])
def test_score_finds_what_predict_writes(run, ct, tmp_path, name, own):
    """As a case in KiTS19's format, or a CT with its reference of the same name in another folder."""
    references = tmp_path / "references"
    if own == name:
        ct.write(Case(tmp_path / "ct" / name))
        references = tmp_path / "ct"
    else:
        packed = write_nifti(tmp_path / "ct" / f"{own}.nii.gz", ct.imaging, ct.affine)
        written = packed.read_bytes() if name.lower().endswith(".gz") else gzip.decompress(packed.read_bytes())
        packed.unlink()
        (tmp_path / "ct" / name).write_bytes(written)
        write_nifti(references / f"{own}.nii.gz", ct.labels, ct.affine)
    assert main(tmp_path / "ct", run, tmp_path / "out", picture=False) == 0
    found = score_folder(tmp_path / "out", references)
    assert len(found["cases"]) == 1 and not found["refused"]


def test_names_in_a_folder(tmp_path, ct):
    folder = tmp_path / "files"
    for name in ("case_00007.nii.gz", "scan.nii.gz", "prediction_x.nii.gz", ".hidden.nii.gz"):
        write_nifti(folder / name, ct.imaging, ct.affine)
    ct.write(Case(folder / "case_00300"))
    (folder / "case_00301").mkdir()
    (folder / "notes.txt").write_text("")
    jobs, others = find_jobs(folder, tmp_path / "out")
    names = {job.name: job.output.name for job in jobs}
    assert names == {
        "case_00007": "prediction_00007.nii.gz", "case_00300": "prediction_00300.nii.gz",
        "case_00301": "prediction_00301.nii.gz", "x": "x.nii.gz", "scan": "scan.nii.gz",
    }
    assert others == ["notes.txt"]
    alone, _ = find_jobs(folder / "case_00300", tmp_path / "out")
    assert [job.output.name for job in alone] == ["prediction_00300.nii.gz"]
    alone, _ = find_jobs(folder / "scan.nii.gz", tmp_path / "out" / "a.nii.gz")
    assert alone == [Job("scan", folder / "scan.nii.gz", tmp_path / "out" / "a.nii.gz")]
    alone, _ = find_jobs(folder / "scan.nii.gz", tmp_path / "out")
    assert [job.output.name for job in alone] == ["scan.nii.gz"]


@pytest.mark.parametrize(("imaging", "output", "said"), [
    ("files", "a.nii.gz", "no place for these labels; give"),
    ("files/scan.nii.gz", "a.nii", "a file that ends in .nii.gz"),
    ("files", "files", "labels would be CT the next time"),
    ("files/scan.nii.gz", "files", "labels would be CT the next time"),
    ("nothing", "out", "holds no CT"),
    ("empty", "out", "holds no CT"),
])
def test_places_that_cannot_be_are_named(tmp_path, ct, imaging, output, said):
    write_nifti(tmp_path / "files" / "scan.nii.gz", ct.imaging, ct.affine)
    (tmp_path / "empty").mkdir()
    with pytest.raises((CaseError, FileNotFoundError), match=said):
        find_jobs(tmp_path / imaging, tmp_path / output)


def visible(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("[!.]*"))


def test_a_folder_with_bad_ones_among_good(run, ct, tmp_path, capsys):
    """A cut file, a CT that holds only air, two that would make one output: named, and the others go on."""
    folder = tmp_path / "ct"
    for name in ("anna", "berta", "twin", "twin_0000"):
        write_nifti(folder / f"{name}.nii.gz", ct.imaging, ct.affine)
    write_nifti(folder / "air.nii.gz", np.full_like(ct.imaging, -1000), ct.affine)
    bad = folder / "berta.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-1000])
    assert main(folder, run, tmp_path / "out", picture=False) == 1
    said = capsys.readouterr().out
    assert visible(tmp_path / "out") == ["anna.nii.gz"]
    for line in ("refused: berta: berta.nii.gz:", "refused: air: air.nii.gz:", "refused: twin: twin.nii.gz: 2 CT have",
                 "refused: twin: twin_0000.nii.gz: 2 CT have", "Dice loss: trained on 100 cases of simulated CT",
                 "For research, not for patients.", "anna: kidney "):
        assert line in said


@pytest.mark.parametrize("mine", ["anna.nii.gz", "anna.png"])
def test_nothing_is_replaced_without_force(run, ct, tmp_path, capsys, mine):
    for name in ("anna", "berta"):
        write_nifti(tmp_path / "ct" / f"{name}.nii.gz", ct.imaging, ct.affine)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / mine).write_bytes(b"mine")
    assert main(tmp_path / "ct", run, tmp_path / "out") == 1
    assert "is there already; replace it with --force" in capsys.readouterr().out
    assert (tmp_path / "out" / mine).read_bytes() == b"mine"
    assert {"berta.nii.gz", "berta.png"} <= set(visible(tmp_path / "out"))
    assert main(tmp_path / "ct", run, tmp_path / "out", force=True) == 0
    assert (tmp_path / "out" / mine).read_bytes() != b"mine"


def test_the_ct_itself_is_never_replaced(run, ct, tmp_path):
    """Not by its own name, and not by a link to it."""
    source = write_nifti(tmp_path / "ct.nii.gz", ct.imaging, ct.affine)
    before = source.read_bytes()
    (tmp_path / "link.nii.gz").symlink_to(source)
    for output in (source, tmp_path / "link.nii.gz"):
        assert main(source, run, output, force=True) == 1
    assert source.read_bytes() == before


def test_the_largest_pieces_are_kept():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8, 2:8, 2:8] = 1
    labels[8, 8, 8] = 2  # touches by a corner
    labels[12:16, 12:16, 12:16] = 2
    labels[0, 19, 19] = 1
    kept = keep_largest(labels, 2)
    assert kept.sum() == labels.sum() - 1 and kept[8, 8, 8] == 2 and kept.dtype == np.uint8
    assert keep_largest(labels, 1)[8, 8, 8] == 2 and not keep_largest(labels, 1)[12:].any()
    assert np.array_equal(keep_largest(labels, 9), labels)
    assert not keep_largest(np.zeros_like(labels), 1).any()


def test_the_largest_piece_is_all_that_is_written(trained, ct, tmp_path):
    source = write_nifti(tmp_path / "ct.nii.gz", ct.imaging, ct.affine)
    whole, one = (Job("ct", source, tmp_path / f"{name}.nii.gz") for name in ("whole", "one"))
    predict_file(trained, whole)
    predict_file(trained, one, keep_components=1)
    assert np.array_equal(read_nifti(one.output)[0], keep_largest(read_nifti(whole.output)[0], 1))


@pytest.mark.parametrize(("folder", "simulated"), [("build/data/case_00000", True), ("mine/case_00000", False)])
def test_the_picture_names_the_case_and_says_what_is_simulated(trained, ct, tmp_path, monkeypatch, folder, simulated):
    """Simulated are the cases that the run's own build made. A reader's matplotlibrc with LaTeX does no harm."""
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    titles, real = [], predict.three_views

    def watched(*given):
        figure = real(*given)
        titles.append(figure.get_suptitle())
        return figure

    monkeypatch.setattr(predict, "three_views", watched)
    case = ct.write(Case(tmp_path / folder))
    job = Job(case.name, case.imaging, tmp_path / "labels.nii.gz")
    predict_file(trained, job, picture=True)
    assert job.picture.read_bytes().startswith(b"\x89PNG") and job.picture.name == "labels.png"
    assert "case_00000" in titles[0] and ("simulated" in titles[0]) == simulated
