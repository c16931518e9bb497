"""What is looked at: reading a CT with its labels, the facts, the error map, and refusals."""

import nibabel as nib
import numpy as np
import pytest

from kitsnb.data.nifti import CaseError
from kitsnb.drawing import three_views
from kitsnb.viewing.scan import as_nifti, find_scans, in_short, read_scan, thinned
from kitsnb.viewing.still import gallery

AFFINE = np.array([[0, 0, -8.0, 40], [0, -8.0, 0, 30], [-9.0, 0, 0, 60], [0, 0, 0, 1]])  # KiTS19's IPL


@pytest.fixture
def folder(tmp_path):
    """A case with a kidney and a tumour, and a prediction that misses one voxel, invents one, and mixes up one."""
    label = np.zeros((12, 20, 24), np.uint8)
    label[3:9, 5:15, 4:10], label[4:7, 6:10, 5:8] = 1, 2
    prediction = label.copy()
    prediction[3, 5, 4], prediction[0, 0, 0], prediction[4, 6, 5] = 0, 1, 1
    imaging = np.random.default_rng(0).normal(40, 20, label.shape)
    imaging[4, 6, 5], imaging[0] = 123, -1000
    case = tmp_path / "case_00007"
    case.mkdir()
    for path, array in ((case / "imaging.nii.gz", imaging.astype(np.int16)), (case / "segmentation.nii.gz", label),
                        (tmp_path / "predictions" / "case_00007.nii.gz", prediction)):
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(array, AFFINE), path)
    return tmp_path


def test_a_case_of_a_folder_has_layers_facts_and_a_centre_in_its_tumour(folder):
    ((case, prediction),) = find_scans(folder, folder / "predictions").values()
    scan = read_scan(case, None, prediction)
    assert list(scan.layers) == ["label", "prediction", "errors"]
    assert [int((scan.layers["errors"] == number).sum()) for number in (1, 2, 3)] == [1, 1, 1]
    assert scan.layers["errors"][3, 5, 4] == 1 and scan.layers["errors"][0, 0, 0] == 2
    assert scan.facts["spacing"] == "9.00 x 8.00 x 8.00 mm"
    assert scan.facts["label"].startswith(f"kidney {324 * 576 / 1000:.0f} ml, tumour {36 * 576 / 1000:.1f} ml")
    assert scan.label[scan.centre] == 2


def test_a_ct_of_ones_own_needs_no_label(folder):
    path = folder / "case_00007" / "imaging.nii.gz"
    ((own, prediction),) = find_scans(path).values()
    scan = read_scan(own, None, prediction)
    assert scan.layers == {} and scan.name == "imaging"
    assert three_views(scan.imaging, scan.layers, scan.spacing, scan.name).axes


def test_a_label_of_another_ct_is_refused_by_name(folder):
    path = folder / "case_00007" / "imaging.nii.gz"
    other = folder / "other.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5), np.uint8), AFFINE), other)
    for given in ({"label": other}, {"prediction": other}):
        with pytest.raises(CaseError, match="other.nii.gz"):
            read_scan(path, **given)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_scans(folder / "nowhere")


def test_what_goes_to_the_browser_keeps_hu_places_and_size(folder):
    ((case, _),) = find_scans(folder).values()
    scan = read_scan(case)
    imaging, affine = thinned(scan, "imaging", 800)
    assert 200 < imaging.size <= 800 and thinned(scan, "label", 800)[0].shape == imaging.shape
    read = nib.Nifti1Image.from_bytes(as_nifti(imaging, affine))
    assert np.array_equal(np.asarray(read.dataobj), imaging)
    step = [-(-n // m) for n, m in zip(scan.imaging.shape, imaging.shape)]
    assert np.allclose(affine @ [1, 1, 1, 1], scan.affine @ [*step, 1])
    assert f"drawn: {imaging.shape[0]} x " in in_short(scan, 800) and "drawn" not in in_short(scan)


def test_stills_draw_every_layer(folder):
    ((case, prediction),) = find_scans(folder, folder / "predictions").values()
    scan = read_scan(case, None, prediction)
    assert len(three_views(scan.imaging, scan.layers, scan.spacing, scan.name, simulated=True).axes) == 9
    figure = gallery([("worst", scan), ("best", scan)], "Two cases", simulated=True)
    assert len(figure.axes) == 6 and "simulated" in figure.get_suptitle()


def test_predictions_are_found_in_a_run_by_number_and_as_one_file(folder):
    run, file = folder / "run", folder / "predictions" / "case_00007.nii.gz"
    (run / "predictions").mkdir(parents=True)
    named = file.rename(run / "predictions" / "prediction_00007.nii.gz")
    for given in (run, run / "predictions", named):
        assert find_scans(folder, given)["case_00007"][1] == named
    (folder / "case_00008").mkdir()
    with pytest.raises(ValueError, match="holds 2"):
        find_scans(folder, named)
