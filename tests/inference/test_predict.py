"""Prediction of new CT: geometry, names that ``score`` finds, what is refused, and what is said."""

import gzip

import matplotlib
import nibabel as nib
import numpy as np
import pytest

from kitsnb.data.cases import Case
from kitsnb.data.nifti import CaseError, read_nifti, write_nifti
from kitsnb.files import read_json, write_json
from kitsnb.inference import predict as module
from kitsnb.inference.predict import find, keep_largest, main, predict
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
        image = nib.Nifti1Image(imaging, where)
        image.set_qform(where, code=2)
        image.set_sform(where, code=4)
        image.to_filename(tmp_path / f"{name}.nii.gz")
        output = tmp_path / "labels" / f"{name}.nii.gz"
        said = predict(trained, tmp_path / f"{name}.nii.gz", output, picture=False)
        labels, _ = read_nifti(output)
        header = nib.load(output).header
        assert labels.shape == imaging.shape and np.array_equal(header.get_sform(), image.get_sform())
        assert np.array_equal(header.get_qform(), image.get_qform())
        assert header["qform_code"] == 2 and header["sform_code"] == 4
        millilitres = [(labels == label).sum() * 0.036 for label in (1, 2)]
        assert said == "kidney {:.1f} ml, tumour {:.1f} ml".format(*millilitres) and min(millilitres) > 0
        found[name] = reorient(labels, where)[0]
    assert (found["straight"] != found["turned"]).mean() < 1e-4


def test_score_finds_what_predict_writes(run, ct, tmp_path):
    """As a case in KiTS19's format, or a CT with its reference of the same name in another folder."""
    packed = write_nifti(tmp_path / "packed.nii.gz", ct.imaging, ct.affine).read_bytes()
    ct.write(Case(tmp_path / "ct" / "case_00210"))
    files = {"anna.nii.gz": "anna", "BERTA.NII.GZ": "BERTA", "case_00300_0000.nii.gz": "case_00300",
             "scan_20240115.nii": "scan_20240115"}
    for name in files:
        content = packed if name.lower().endswith(".gz") else gzip.decompress(packed)
        (tmp_path / "ct" / name).write_bytes(content)
    for name in ("case_00210", *files.values()):
        write_nifti(tmp_path / "references" / f"{name}.nii.gz", ct.labels, ct.affine)
    assert main(tmp_path / "ct", run, tmp_path / "out", picture=False) == 0
    found = score_folder(tmp_path / "out", tmp_path / "references")
    assert len(found["cases"]) == 5 and not found["refused"]


@pytest.mark.parametrize(("imaging", "output", "found", "others"), [
    ("", "out", ["case_00007", "case_00300", "case_00301", "x", "scan"], ["empty", "twins"]),
    ("case_00300", "out", ["case_00300"], []),
    ("scan.nii.gz", "out", ["scan"], []),
    ("scan.nii.gz", "a.nii.gz", [""], []),
    ("", "a.nii.gz", "a folder for many, as --output", []),
    ("scan.nii.gz", "a.nii", "a file that ends in .nii.gz", []),
    ("nothing", "out", "holds no CT", []),
    ("empty", "out", "holds no CT", []),
    ("twins", "out", "holds two CT of scan", []),
])
def test_names_in_a_folder_and_places_that_cannot_be(tmp_path, ct, imaging, output, found, others):
    folder = tmp_path / "files"
    for name in ("case_00007", "scan", "prediction_x", ".hidden", "twins/scan", "twins/scan_0000"):
        write_nifti(folder / f"{name}.nii.gz", ct.imaging, ct.affine)
    ct.write(Case(folder / "case_00300"))
    for name in ("case_00301", "empty"):
        (folder / name).mkdir()
    if isinstance(found, str):
        with pytest.raises((ValueError, FileNotFoundError), match=found):
            find(folder / imaging, tmp_path / output)
    else:
        places = [tmp_path / output / f"{name}.nii.gz" if name else tmp_path / output for name in found]
        labels, skipped = find(folder / imaging, tmp_path / output)
        assert list(labels.values()) == places and skipped == others


def test_a_folder_with_bad_ones_among_good(run, ct, tmp_path, capsys):
    """A cut file, a CT that holds only air, a case without CT: named, and the others go on."""
    folder = tmp_path / "ct"
    (folder / "case_00301").mkdir(parents=True)
    for name in ("anna", "berta"):
        write_nifti(folder / f"{name}.nii.gz", ct.imaging, ct.affine)
    write_nifti(folder / "air.nii.gz", np.full_like(ct.imaging, -1000), ct.affine)
    bad = folder / "berta.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-1000])
    assert main(folder, run, tmp_path / "out", picture=False) == 1
    said = capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").glob("*")] == ["anna.nii.gz"]
    for line in ("refused: berta: berta.nii.gz:", "refused: air: air.nii.gz:", "anna: kidney ",
                 "refused: case_00301: imaging.nii.gz: missing", "For research, not for patients.",
                 "Dice loss: trained on 100 cases of simulated CT"):
        assert line in said
    assert "no real slice without tumour" not in said
    record = read_json(run / "run.json")
    record["settings"]["data"] |= {"slab": {"in_plane": 320}, "more_training": ["build/hybrid/data"]}
    write_json(run / "run.json", record)
    main(folder / "anna.nii.gz", run, tmp_path / "slab.nii.gz", picture=False)
    said = capsys.readouterr().out
    assert "It has seen no real slice without tumour" in said and "100 cases of simulated CT and build/hybrid/data" in said
    record["settings"]["data"]["training"] = None
    write_json(run / "run.json", record)
    main(folder / "anna.nii.gz", run, tmp_path / "alone.nii.gz", picture=False)
    assert "trained on 100 cases of build/hybrid/data" in capsys.readouterr().out


@pytest.mark.parametrize("mine", ["ct.nii.gz", "ct.png"])
def test_nothing_is_replaced_without_force_and_the_ct_itself_never(trained, ct, tmp_path, mine):
    source = write_nifti(tmp_path / "ct.nii.gz", ct.imaging, ct.affine)
    output = tmp_path / "out" / "ct.nii.gz"
    output.parent.mkdir()
    (output.parent / mine).write_bytes(b"mine")
    with pytest.raises(CaseError, match=f"ct: {mine}: .*is there already; replace it with --force"):
        predict(trained, source, output)
    assert (output.parent / mine).read_bytes() == b"mine"
    predict(trained, source, output, force=True)
    assert (output.parent / mine).read_bytes() != b"mine"
    before = source.read_bytes()
    (tmp_path / "link.nii.gz").symlink_to(source)
    for itself in (source, tmp_path / "link.nii.gz"):
        with pytest.raises(CaseError, match="is the CT itself"):
            predict(trained, source, itself, force=True)
    assert source.read_bytes() == before


def test_the_largest_pieces_are_kept(trained, ct, tmp_path):
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8, 2:8, 2:8] = 1
    labels[8, 8, 8] = 2  # touches by a corner
    labels[12:16, 12:16, 12:16] = 2
    largest = np.where(np.arange(20)[:, None, None] < 12, labels, 0)
    assert np.array_equal(keep_largest(labels, 1), largest) and keep_largest(labels, 1).dtype == np.uint8
    assert np.array_equal(keep_largest(labels, 2), labels) and np.array_equal(keep_largest(labels, 9), labels)
    assert not keep_largest(np.zeros_like(labels), 1).any()
    source = write_nifti(tmp_path / "ct.nii.gz", ct.imaging, ct.affine)
    found = []
    for count in (None, 1):
        predict(trained, source, tmp_path / f"{count}.nii.gz", keep_components=count, picture=False)
        found.append(read_nifti(tmp_path / f"{count}.nii.gz")[0])
    assert np.array_equal(found[1], keep_largest(found[0], 1)) and found[1].any()


@pytest.mark.parametrize(("folder", "simulated"), [("build/data/case_00000", True), ("mine/case_00000", False)])
def test_the_picture_names_the_case_and_says_what_is_simulated(trained, ct, tmp_path, monkeypatch, folder, simulated):
    """Simulated are the cases that the run's own build made. A reader's matplotlibrc with LaTeX does no harm."""
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    figures, real = [], module.three_views
    monkeypatch.setattr(module, "three_views", lambda *given: figures.append(real(*given)) or figures[0])
    case = ct.write(Case(tmp_path / folder))
    predict(trained, case.imaging, tmp_path / "labels.nii.gz")
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")
    title = figures[0].get_suptitle()
    assert "case_00000" in title and ("simulated" in title) == simulated
