"""Prediction of new CT: geometry, names that ``score`` finds, what is refused, and what is said."""

import nibabel as nib
import numpy as np
import pytest
from helpers.ct_at_hand import Kidneys
from helpers.files_at_hand import rewrite

from kitsnb.data.cases import Case
from kitsnb.data.nifti import CaseError, read_nifti, write_nifti
from kitsnb.inference import load_run
from kitsnb.inference.predict import find, keep_largest, main, predict
from kitsnb.inference.score import score_folder
from kitsnb.preprocessing import reorient


@pytest.fixture
def predicted(run):
    """Predict with the settings of the run, and a network that finds the kidneys of ``small_ct``."""
    _, record = load_run(run)
    return lambda *given, **options: predict(Kidneys(), record.settings, *given, **options)


@pytest.mark.parametrize("orientation, turn", [
    ("RAS", np.eye(4)), ("LPS", [[0.96, -0.28, 0, 0], [0.28, 0.96, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
])
def test_labels_lie_where_the_ct_lies(predicted, ct, tmp_path, orientation, turn):
    """In every orientation, oblique too, the same labels at the same place, in the geometry of the file."""
    turned = ct.turned(orientation)
    affine = turn @ turned.affine
    found = {}
    for name, imaging, where in (("straight", ct.imaging, ct.affine), ("turned", turned.imaging, affine)):
        image = nib.Nifti1Image(imaging, where)
        image.set_qform(where, code=2)
        image.set_sform(where, code=4)
        image.to_filename(tmp_path / f"{name}.nii.gz")
        output = tmp_path / "labels" / f"{name}.nii.gz"
        said = predicted(tmp_path / f"{name}.nii.gz", output)
        labels, _ = read_nifti(output)
        header = nib.load(output).header
        assert labels.shape == imaging.shape and np.array_equal(header.get_sform(), image.get_sform())
        assert np.array_equal(header.get_qform(), image.get_qform())
        assert header["qform_code"] == 2 and header["sform_code"] == 4
        millilitres = [(labels == label).sum() * 0.036 for label in (1, 2)]
        assert said == "kidney {:.1f} ml, tumour {:.1f} ml".format(*millilitres) and min(millilitres) > 0
        found[name] = reorient(labels, where)[0]
    assert (found["straight"] != found["turned"]).mean() < 1e-4


@pytest.fixture
def folder(tmp_path, ct):
    """A case, CT as peers name them, a folder without CT, and what is none."""
    ct.write(Case(tmp_path / "ct" / "case_00210"))
    (tmp_path / "ct" / "case_00301").mkdir()
    (tmp_path / "ct" / "kits.json").touch()
    for name in ("anna.nii.gz", "BERTA.NII.GZ", "case_00300_0000.nii.gz", ".hidden.nii.gz"):
        (tmp_path / "ct" / name).write_bytes(Case(tmp_path / "ct" / "case_00210").imaging.read_bytes())
    return tmp_path / "ct"


def test_score_finds_what_predict_writes_and_bad_ones_among_good_are_named(run, ct, folder, tmp_path, capsys):
    """A cut file, a CT that holds only air, a case without CT: the others go on."""
    write_nifti(folder / "air.nii.gz", np.full_like(ct.imaging, -1000), ct.affine)
    (folder / "cut.nii.gz").write_bytes((folder / "anna.nii.gz").read_bytes()[:-1000])
    for name in ("case_00210", "anna", "BERTA", "case_00300"):
        write_nifti(tmp_path / "references" / f"{name}.nii.gz", ct.labels, ct.affine)
    assert main(folder, run, tmp_path / "out") == 1
    found = score_folder(tmp_path / "out", tmp_path / "references")
    assert len(found["cases"]) == 4 and not found["refused"]
    said = capsys.readouterr().out
    for line in ("refused: cut: cut.nii.gz:", "refused: air: air.nii.gz:", "anna: kidney ",
                 "refused: case_00301: imaging.nii.gz: missing", "For research, not for patients.",
                 "Dice loss: trained on 100 cases of simulated CT"):
        assert line in said
    assert "no real slice without tumour" not in said


def test_what_the_network_was_trained_on_is_said(run, folder, tmp_path, capsys):
    more = {"slab": {"in_plane": 320}, "more_training": ["build/hybrid/data"]}
    rewrite(run / "run.json", lambda record: record["settings"]["data"].update(more))
    assert main(folder / "anna.nii.gz", run, tmp_path / "slab.nii.gz") == 0
    said = capsys.readouterr().out
    assert "It has seen no real slice without tumour" in said and "100 cases of simulated CT and build/hybrid/data" in said


@pytest.mark.parametrize(("imaging", "output", "said"), [
    ("", "a.nii.gz", "a folder for many, as --output"), ("anna.nii.gz", "a.nii", "a file that ends in .nii.gz"),
    ("case_00301", "out", "holds no CT"), ("case_00210", "out", "holds two CT of case_00210"),
])
def test_places_that_cannot_be_are_named(folder, imaging, output, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        find(folder / imaging, folder / output)


def test_nothing_is_replaced_without_force_and_the_ct_itself_never(predicted, ct, tmp_path):
    source = write_nifti(tmp_path / "ct.nii.gz", ct.imaging, ct.affine)
    output = tmp_path / "labels.nii.gz"
    output.write_bytes(b"mine")
    with pytest.raises(CaseError, match="ct: labels.nii.gz: .*is there already; replace it with --force"):
        predicted(source, output)
    assert output.read_bytes() == b"mine"
    predicted(source, output, force=True)
    assert output.read_bytes() != b"mine"
    before = source.read_bytes()
    (tmp_path / "link.nii.gz").symlink_to(source)
    with pytest.raises(CaseError, match="is the CT itself"):
        predicted(source, tmp_path / "link.nii.gz", force=True)
    assert source.read_bytes() == before


def test_the_largest_pieces_are_kept(predicted, ct, tmp_path):
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8, 2:8, 2:8] = 1
    labels[8, 8, 8] = 2  # touches by a corner
    labels[12:16, 12:16, 12:16] = 2
    largest = np.where(np.arange(20)[:, None, None] < 12, labels, 0)
    assert np.array_equal(keep_largest(labels, 1), largest) and np.array_equal(keep_largest(labels, 9), labels)
    assert not keep_largest(np.zeros_like(labels), 1).any()
    source = write_nifti(tmp_path / "ct.nii.gz", ct.imaging, ct.affine)
    found = []
    for count in (None, 1):
        predicted(source, tmp_path / f"{count}.nii.gz", keep_components=count)
        found.append(read_nifti(tmp_path / f"{count}.nii.gz")[0])
    assert np.array_equal(found[1], keep_largest(found[0], 1)) and found[1].any()


@pytest.mark.parametrize("lost", ["run.json", "settings.json", "checkpoints/best.ckpt"])
def test_what_a_run_lacks_is_named(run, lost):
    (run / lost).unlink()
    with pytest.raises(CaseError, match=f"dice-seed0: .*{lost.rpartition('/')[2]}.* missing.*give the folder"):
        load_run(run)


def test_settings_and_a_checkpoint_that_do_not_belong_are_named(run):
    rewrite(run / "settings.json", lambda c: c["network"].update(base_filters=4))
    with pytest.raises(CaseError, match="settings.json is missing, or of other settings"):
        load_run(run)
    rewrite(run / "run.json", lambda c: c["settings"]["training"]["network"].update(base_filters=4))
    with pytest.raises(CaseError, match="size mismatch"):
        load_run(run)
    (run / "checkpoints" / "best.ckpt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CaseError, match="best.ckpt is damaged"):
        load_run(run)
