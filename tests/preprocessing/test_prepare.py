"""To the working grid and back: geometry, values, refusals, and what is kept."""

import errno
import shutil
from collections import namedtuple
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio
from scipy.ndimage import map_coordinates

from kitsnb.data.cases import Case, discover
from kitsnb.data.nifti import CaseError, orientation_of, read_nifti, spacing_of, write_nifti
from kitsnb.files import RECEIPT
from kitsnb.preprocessing import prepare as preprocessing
from kitsnb.preprocessing.arrays import ORGANS, hu_scale, read_array, read_arrays
from kitsnb.preprocessing.prepare import (
    Preprocessing, grid_ceiling, load_subject, one_hot, preprocess, preprocess_cases, to_grid,
)
from kitsnb.preprocessing.resampling import (
    axis_matrix, nearest_index, reorient, resize, resized_affine, to_native, working_shape,
)
from kitsnb.simulation.phantom import simulate_case, write_dataset

SMALL = Preprocessing(spacing=(6.0, 5.0, 5.0), resize_in_plane=None)


def subject(imaging: np.ndarray, segmentation: np.ndarray, affine: np.ndarray) -> tio.Subject:
    return tio.Subject(
        imaging=tio.ScalarImage(tensor=torch.from_numpy(imaging.astype(np.float32))[None], affine=affine),
        segmentation=tio.LabelMap(tensor=torch.from_numpy(segmentation)[None], affine=affine),
        name="case_00000",
    )


@pytest.mark.parametrize("orientation", ["IPL", "RAS", "LPS", "PIR"])
def test_any_orientation_gives_the_same_volume(orientation):
    phantom = simulate_case(0, 1)
    expected = preprocess(subject(phantom.imaging, phantom.segmentation, phantom.affine), SMALL)
    imaging, affine = reorient(phantom.imaging, phantom.affine, orientation)
    segmentation, _ = reorient(phantom.segmentation, phantom.affine, orientation)
    result = preprocess(subject(imaging.copy(), segmentation.copy(), affine), SMALL)
    assert orientation_of(result["imaging"].affine) == "IPL"
    assert torch.allclose(result["imaging"].data, expected["imaging"].data, atol=1e-4)
    assert torch.equal(result["segmentation"].data, expected["segmentation"].data)
    assert np.allclose(result["imaging"].affine, expected["imaging"].affine, atol=1e-6)


IPL = np.array([[0, 0, -1.5, 40], [0, -1.5, 0, -30], [-2.0, 0, 0, 100], [0, 0, 0, 1]])


def geometry(name: str) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of one volume with its axes along ``name``; "oblique" is IPL, turned as by a tilted gantry."""
    array, affine = reorient(np.empty((60, 80, 90)), IPL, "IPL" if name == "oblique" else name)
    if name == "oblique":
        affine[:3, :3] = nib.eulerangles.euler2mat(0.2, -0.15, 0.1) @ affine[:3, :3]
    return array.shape, affine


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("resize_in_plane", [None, (60, 70)])
@pytest.mark.parametrize("orientation", ["IPL", "RAS", "LPS", "oblique"])
def test_landmarks_stay_where_they_are(orientation, resize_in_plane, interpolation):
    """The centre of a smooth blob, in the world, moves by less than 0.01 mm."""
    shape, affine = geometry(orientation)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    landmark = nib.affines.apply_affine(affine, np.array(shape) * [0.45, 0.52, 0.57])
    distance = np.linalg.norm(nib.affines.apply_affine(affine, index) - landmark, axis=-1)
    blob = 300 * np.exp(-0.5 * (distance / 10) ** 2)
    settings = Preprocessing(spacing=(3.22, 1.62, 1.62), clip=(-79, 304), resize_in_plane=resize_in_plane, interpolation=interpolation)
    result = preprocess(subject(blob, np.zeros(shape, np.uint8), affine), settings)["imaging"]
    weight = result.numpy()[0] - result.numpy()[0].min()
    index = np.stack(np.meshgrid(*map(np.arange, result.spatial_shape), indexing="ij"), -1)
    near = np.linalg.norm(nib.affines.apply_affine(result.affine, index) - landmark, axis=-1) < 45
    centre = np.average(nib.affines.apply_affine(result.affine, index[near]), axis=0, weights=weight[near])
    assert np.linalg.norm(centre - landmark) < 0.01
    assert spacing_of(result.affine) == pytest.approx([3.22, 1.62, 1.62], rel=0.03)


def resampled_by_scipy(array: np.ndarray, affine: np.ndarray, size: tuple, order: int) -> tuple[np.ndarray, np.ndarray]:
    """By way of the world: where each new voxel lies, and what a spline of ``order`` says there."""
    new = resized_affine(affine, array.shape, size)
    index = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    places = nib.affines.apply_affine(np.linalg.inv(affine) @ new, index).clip(0, np.array(array.shape) - 1)
    return map_coordinates(array, np.moveaxis(places, -1, 0), order=order, mode="mirror"), new


@pytest.mark.parametrize(("interpolation", "order"), [("linear", 1), ("cubic", 3)])
@pytest.mark.parametrize("resize_in_plane", [None, (40, 44)])
def test_image_agrees_with_scipy(interpolation, order, resize_in_plane):
    phantom = simulate_case(0, 1)
    settings = Preprocessing(spacing=(3.22, 1.62, 1.62), clip=(-79, 304), resize_in_plane=resize_in_plane, interpolation=interpolation)
    result = preprocess(subject(phantom.imaging, phantom.segmentation, phantom.affine), settings)["imaging"]
    wanted, affine = reorient(phantom.imaging.astype(float).clip(-79, 304), phantom.affine)
    for size in ([(len(wanted), *resize_in_plane)] if resize_in_plane else []) + [result.spatial_shape]:
        wanted, affine = resampled_by_scipy(wanted, affine, size, order)
    wanted = (wanted - wanted.mean()) / wanted.std()
    assert np.abs(result.numpy()[0] - wanted).max() < 1e-4 * np.ptp(wanted)
    assert np.allclose(result.affine, affine, atol=1e-9)


def test_resizing_is_torchs_in_any_order_of_memory():
    volume = (torch.randn(2, 21, 40, 33, generator=torch.Generator().manual_seed(0)) * 300).short()
    wanted = torch.nn.functional.interpolate(volume[None].float().clamp(-79, 304), (17, 52, 20), mode="trilinear")[0]
    nearest = torch.nn.functional.interpolate(volume[None].float(), (17, 52, 20), mode="nearest-exact")[0].short()
    for order in [(0, 1, 2, 3), (0, 3, 2, 1), (0, 2, 3, 1)]:
        stored = volume.permute(order).contiguous().permute([order.index(axis) for axis in range(4)])
        before = stored.clone()
        assert torch.allclose(resize(stored, (17, 52, 20), clip=(-79, 304)), wanted, atol=1e-3)
        assert torch.equal(resize(stored, (17, 52, 20), labels=True), nearest)
        assert torch.equal(stored, before)


def test_matrices_of_an_axis():
    assert torch.equal(axis_matrix((5, 5), "linear"), torch.eye(5)) and torch.allclose(axis_matrix((5, 5), "cubic"), torch.eye(5))
    for lengths in [(1, 3), (2, 5), (40, 7), (9, 30, 11)]:
        for interpolation in ("linear", "cubic"):
            assert torch.allclose(axis_matrix(lengths, interpolation).sum(1), torch.ones(lengths[-1]), atol=1e-6)
        assert nearest_index(lengths).tolist() == sorted(nearest_index(lengths)) and len(nearest_index(lengths)) == lengths[-1]
    steps = [axis_matrix(pair, "cubic") for pair in pairwise((9, 30, 11))]
    assert torch.allclose(axis_matrix((9, 30, 11), "cubic"), steps[1] @ steps[0], atol=1e-6)


def test_image_is_clipped_and_z_scored():
    phantom = simulate_case(0, 2)
    data = preprocess(subject(phantom.imaging, phantom.segmentation, phantom.affine), SMALL)["imaging"].data
    assert float(data.mean()) == pytest.approx(0, abs=1e-3) and float(data.std()) == pytest.approx(1, abs=1e-3)


def test_way_back_is_exact_on_an_equal_grid():
    phantom = simulate_case(0, 3)
    for orientation in ("IPL", "RAS", "PIR"):
        labels, affine = reorient(phantom.segmentation, phantom.affine, orientation)
        grid, _ = reorient(labels, affine)
        back = to_native(one_hot(torch.from_numpy(grid.copy())[None]), labels.shape, affine)
        assert np.array_equal(back, labels)


def test_way_back_over_slabs_is_trilinear():
    torch.manual_seed(0)
    probabilities = torch.rand(3, 13, 9, 10).softmax(0)
    affine = np.diag([-1.0, -1.0, -1.0, 1.0])[:, [2, 1, 0, 3]]
    whole = torch.nn.functional.interpolate(probabilities[None], (37, 20, 21), mode="trilinear")[0].argmax(0)
    assert (to_native(probabilities, (37, 20, 21), affine) == whole.numpy()).mean() > 0.999


def test_way_back_of_background_and_of_ties():
    affine = np.diag([1.0, 1, 1, 1])
    assert not to_native(one_hot(torch.zeros(1, 5, 6, 7)), (9, 9, 9), affine).any()
    assert set(np.unique(to_native(torch.full((3, 5, 6, 7), 1 / 3), (9, 9, 9), affine))) <= {0, 1, 2}


def test_real_labels_survive_the_papers_spacing(kits19_labels):
    """Six cases spread over the paper's validation cases, and what the mean over all 44 must reach too."""
    scores = []
    for number in np.linspace(166, 209, 6).round().astype(int):
        labels, affine = read_nifti(Case(kits19_labels / f"case_{number:05d}").segmentation)
        prepared = preprocess(subject(labels, labels.astype(np.uint8), affine), Preprocessing(clip=(0, 2), resize_in_plane=None))
        scores.append(grid_ceiling(labels.astype(np.uint8), affine, prepared))
    assert np.mean([s["kidney_and_tumour"] for s in scores]) >= 0.98
    assert np.mean([s["tumour"] for s in scores]) >= 0.965


def test_one_bad_case_among_ten_does_not_stop_the_others(tmp_path):
    cases = write_dataset(tmp_path / "data", 10, 0)
    labels, affine = read_nifti(cases[1].segmentation)
    write_nifti(cases[1].segmentation, labels + 3, affine)
    with pytest.warns(UserWarning, match="refused"):
        report = preprocess_cases(cases, tmp_path / "grid", SMALL, workers=3)
    assert list(report["rows"]) == [case.name for case in cases if case != cases[1]]
    assert list(report["refused"]) == ["case_00001"] and "labels" in report["refused"]["case_00001"]
    prepared = discover(tmp_path / "grid")
    assert [case.name for case in prepared] == list(report["rows"])
    arrays = read_arrays(prepared[0])
    assert [array.shape for array in arrays.values()] == [tuple(report["rows"]["case_00000"]["shape"])] * 2
    whole = preprocess(load_subject(cases[0]), SMALL)
    assert np.array_equal(arrays["imaging"], whole["imaging"].numpy()[0].astype(np.float16))
    assert np.array_equal(arrays["segmentation"], whole["segmentation"].numpy()[0])


def test_a_case_of_one_value_is_refused(tmp_path):
    cases = write_dataset(tmp_path / "data", 1, 0)
    flat, affine = read_nifti(cases[0].imaging)
    write_nifti(cases[0].imaging, np.where(flat > 0, 900, flat.min()).astype(np.int16), affine)
    with pytest.warns(UserWarning, match="refused"):
        report = preprocess_cases(cases, tmp_path / "grid", Preprocessing(spacing=(6.0, 5.0, 5.0), clip=(1000.0, 2000.0), resize_in_plane=None))
    assert "clipping" in report["refused"]["case_00000"] and not report["rows"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_only_what_changed_is_done_again(tmp_path):
    cases, grid = write_dataset(tmp_path / "data", 3, 0), tmp_path / "grid"
    first = preprocess_cases(cases, grid, SMALL)
    files = contents(grid)
    again = preprocess_cases(cases, grid, SMALL, workers=1)
    assert first["kept"] == [] and again["kept"] == [case.name for case in cases]
    assert contents(grid) == files and again["rows"] == first["rows"]
    array, affine = read_nifti(cases[1].imaging)
    write_nifti(cases[1].imaging, array + 1, affine)
    (grid / "case_00002" / "imaging.npy").write_bytes(b"half")
    assert preprocess_cases(cases, grid, SMALL)["kept"] == ["case_00000"]
    changed = {name for name, new in contents(grid).items() if new != files[name]}
    assert changed == {"report.json", "case_00001/imaging.npy", f"case_00001/{RECEIPT}", f"case_00002/{RECEIPT}"}
    cubic = Preprocessing(spacing=SMALL.spacing, clip=SMALL.clip, resize_in_plane=None, interpolation="cubic")
    assert preprocess_cases(cases, grid, cubic)["kept"] == []
    assert [case.name for case in discover(grid)] == [case.name for case in cases]
    assert preprocess_cases(cases[:2], grid, cubic)["kept"] == ["case_00000", "case_00001"]
    assert not (grid / "case_00002").exists()


def test_an_organ_map_is_kept_and_the_z_score_is_said(tmp_path):
    cases = write_dataset(tmp_path / "data", 2, 0)
    labels, affine = read_nifti(cases[0].segmentation)
    write_nifti(cases[0].organs, labels * 7, affine)
    cases[1].organs.unlink()  # as of a real case
    fixed = SMALL.changed(z_score_by=(101.0, 76.9))
    preprocess_cases(cases[1:], tmp_path / "own", SMALL)
    rows = preprocess_cases(cases, tmp_path / "grid", fixed)["rows"]
    first, other = discover(tmp_path / "grid")
    assert np.array_equal(read_array(first, ORGANS), 7 * read_array(first, "segmentation")) and read_array(first, ORGANS).max() == 14
    assert rows["case_00001"]["hu_scale"] == [101.0, 76.9] and hu_scale(other) == (101.0, 76.9, -79.0, 304.0)
    own = Case(tmp_path / "own" / other.name)
    mean, sd, *_ = hu_scale(own)
    hu = [array.astype(float) * scale + middle for array, scale, middle in (
        (read_array(own, "imaging"), sd, mean), (read_array(other, "imaging"), 76.9, 101.0))]
    assert np.abs(hu[0] - hu[1]).max() < 1 and sd != 76.9
    with pytest.raises(CaseError, match="organs.npy is missing; only simulated cases have it"):
        read_array(other, ORGANS)
    write_nifti(cases[0].organs, labels, affine)
    assert preprocess_cases(cases, tmp_path / "grid", fixed)["kept"] == ["case_00001"]


def test_a_killed_run_leaves_no_half_case(tmp_path, monkeypatch):
    cases, grid = write_dataset(tmp_path / "data", 2, 0), tmp_path / "grid"
    real = preprocessing.write_array

    def dies(folder, kind, array):
        if folder.name == ".case_00001" and kind == "segmentation":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(folder, kind, array)

    monkeypatch.setattr(preprocessing, "write_array", dies)
    with pytest.raises(OSError, match="No space"):
        preprocess_cases(cases, grid, SMALL, workers=1)
    assert [case.name for case in discover(grid)] == ["case_00000"]
    monkeypatch.undo()
    assert preprocess_cases(cases, grid, SMALL)["kept"] == ["case_00000"]
    assert sorted(path.name for path in grid.iterdir()) == ["case_00000", "case_00001", "report.json"]


def test_a_folder_that_cannot_take_the_cases_is_said_before_work(tmp_path, monkeypatch):
    cases = write_dataset(tmp_path / "data", 1, 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written to .* another build folder"):
        preprocess_cases(cases, tmp_path / "file" / "grid", SMALL)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: namedtuple("Usage", "free")(1000))
    with pytest.raises(OSError, match="1 cases need about .* make room"):
        preprocess_cases(cases, tmp_path / "grid", SMALL)
    assert not (tmp_path / "grid" / "case_00000").exists()


def test_a_constant_volume_is_named():
    affine = np.diag([1.0, 1, 1, 1])
    with pytest.raises(CaseError, match="Hounsfield"):
        preprocess(subject(np.zeros((4, 4, 4)), np.zeros((4, 4, 4), np.uint8), affine), SMALL)


def test_unsigned_words_and_other_labels_are_prepared(tmp_path):
    from kitsnb.data.checks import Accept

    cases = write_dataset(tmp_path / "data", 1, 0)
    labels, affine = read_nifti(cases[0].segmentation)
    labels[labels == 2] = 3
    write_nifti(cases[0].segmentation, labels, affine)
    with pytest.warns(UserWarning, match="labels 3"):
        assert "case_00000" in preprocess_cases(cases, tmp_path / "refused", SMALL)["refused"]
    report = preprocess_cases(cases, tmp_path / "mapped", SMALL, accept=Accept(label_map={3: 2}))
    assert report["cases"] == 1 and np.unique(np.load(tmp_path / "mapped/case_00000/segmentation.npy")).tolist() == [0, 1, 2]
    whole = np.arange(216, dtype=np.uint16).reshape(6, 6, 6)
    volume, _ = preprocessing.to_grid(whole, affine, SMALL)
    assert torch.equal(volume, preprocessing.to_grid(whole.astype(np.int16), affine, SMALL)[0]) and volume.dtype == torch.float32


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("resize", [None, [24, 24]])
def test_the_shape_is_known_from_a_header(axes, resize):
    affine = np.zeros((4, 4))
    for column, (world, step) in enumerate([((2, 1, 0)[axis], (-5.0, -2.0, -1.5)[axis]) for axis in axes]):
        affine[world, column] = step
    affine[3, 3] = 1
    shape = tuple((9, 31, 40)[axis] for axis in axes)
    settings = Preprocessing(spacing=(3.22, 1.62, 1.62), clip=(-79.0, 304.0), resize_in_plane=resize)
    made, _ = to_grid(np.zeros(shape, np.int16), affine, settings)
    assert working_shape(shape, affine, settings.spacing) == tuple(made.shape[1:])
