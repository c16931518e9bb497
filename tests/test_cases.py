"""Cases: discovery, split, reading, and every fault refused by name."""

import gzip
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kitsnb import cases
from kitsnb.cases import Case, CaseError

AFFINE = np.array([[0, 0, -0.8, 11], [0, -0.8, 0, -7], [-3.0, 0, 0, 5], [0, 0, 0, 1]])
SHAPE = (5, 7, 6)


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(array, affine).to_filename(path)


def make_case(folder: Path, number: int = 0) -> Case:
    """A good pair: random HU, a kidney with a tumour."""
    case = Case(folder / f"case_{number:05d}")
    rng = np.random.default_rng(number)
    write(case.imaging, rng.integers(-1000, 1000, SHAPE).astype(np.int16))
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:5, 2:5], labels[2, 3, 3] = 1, 2
    write(case.segmentation, labels)
    return case


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path, 7)


def test_a_good_case_passes_and_reads_back(case):
    cases.check_case(case)
    array, affine = cases.read_nifti(case.imaging)
    image = nib.load(case.imaging)
    assert array.dtype == np.int16 and array.flags.writeable
    np.testing.assert_array_equal(array, np.asanyarray(image.dataobj))
    np.testing.assert_array_equal(affine, image.affine)
    header = cases.read_header(case.imaging)
    assert header.shape == SHAPE and header.dtype == np.int16
    np.testing.assert_array_equal(header.affine, image.affine)


def test_geometry_of_kits19_axes():
    np.testing.assert_allclose(cases.spacing_of(AFFINE), [3.0, 0.8, 0.8])
    assert cases.orientation_of(AFFINE) == "IPL"
    angle = np.deg2rad(10)  # an oblique volume keeps its spacing, which the diagonal would not show
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    np.testing.assert_allclose(cases.spacing_of(turn @ AFFINE), [3.0, 0.8, 0.8])


def test_qform_alone_is_honoured(case):
    image = nib.load(case.segmentation)
    image.set_sform(None, code=0)
    image.set_qform(AFFINE, code=1)
    image = nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header)
    image.to_filename(case.segmentation)
    header = nib.load(case.segmentation).header
    assert (header["sform_code"], header["qform_code"]) == (0, 1)
    np.testing.assert_allclose(cases.read_nifti(case.segmentation)[1], AFFINE, atol=1e-5)
    cases.check_case(case)


def test_scaled_and_big_endian_values(tmp_path):
    path = tmp_path / "case_00001" / "imaging.nii.gz"
    stored = np.arange(np.prod(SHAPE), dtype=">i2").reshape(SHAPE)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    write(path, stored)
    nib.Nifti1Image(stored, AFFINE, header).to_filename(path)
    array, _ = cases.read_nifti(path)
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, stored)

    raw = bytearray(gzip.decompress(path.read_bytes()))
    order = ">" if raw[:4] == struct.pack(">i", 348) else "<"
    raw[112:120] = struct.pack(f"{order}ff", 2.0, -1024.0)  # scl_slope, scl_inter
    path.write_bytes(gzip.compress(bytes(raw)))
    array, _ = cases.read_nifti(path)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, 2.0 * stored - 1024)


def test_discover_sorts_and_ignores_other_names(tmp_path):
    for name in ("case_00010", "case_00002", "case_3", "notes", "case_000001"):
        (tmp_path / name).mkdir()
    (tmp_path / "case_00004").write_text("a file, no folder")
    assert [c.name for c in cases.discover(tmp_path)] == ["case_00002", "case_00010"]
    assert [c.number for c in cases.discover(tmp_path)] == [2, 10]


def test_discover_says_where_the_cases_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        cases.discover(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="case_XXXXX"):
        cases.discover(tmp_path)
    (tmp_path / "data" / "case_00000").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="did you mean .*data"):
        cases.discover(tmp_path)


def test_select_ranges_exclusions_and_missing():
    found = [Case(Path(f"case_{n:05d}")) for n in (0, 1, 15, 16, 30)]
    split = cases.select(found, [0, 17], [30, 31])
    assert [c.number for c in split.training] == [0, 1, 16]
    assert [c.number for c in split.validation] == [30]
    assert split.missing == [f"case_{n:05d}" for n in (*range(2, 15), 17, 31)]
    assert 15 in [c.number for c in cases.select(found, [0, 17], [30, 31], excluded=[]).training]
    assert [c.number for c in cases.select(found, [0, 1], [15, 16], excluded=[0]).training] == [1]


@pytest.mark.parametrize(("training", "validation"), [([0, 10], [10, 20]), ([5, 2], [10, 20]), ([0, 1, 2], [5, 6])])
def test_select_refuses_shared_cases_and_broken_ranges(training, validation):
    with pytest.raises(ValueError, match="give"):
        cases.select([], training, validation)


def cut(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def lose_the_tail(path):
    path.write_bytes(path.read_bytes()[:-8])  # the stream decodes fully; only the checksum and length are gone


def flip_the_checksum(path):
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)


CORRUPTIONS = {
    "cut": lambda path: cut(path, 0.5),
    "cut inside the header": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "cut inside the gzip header": lambda path: path.write_bytes(path.read_bytes()[:5]),
    "flipped bit": flip_a_bit,
    "lost tail": lose_the_tail,
    "flipped checksum": flip_the_checksum,
    "empty": lambda path: path.write_bytes(b""),
    "HTML page": lambda path: path.write_text("<!DOCTYPE html><title>503 Service Unavailable</title>" * 20),
    "gzip of something else": lambda path: path.write_bytes(gzip.compress(b"<html>" * 500)),
    "too few voxels": lambda path: path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-10])),
}


@pytest.mark.parametrize("file", ["imaging", "segmentation"])
@pytest.mark.parametrize("fault", CORRUPTIONS)
def test_a_corrupt_file_is_refused_by_name(case, file, fault):
    CORRUPTIONS[fault](getattr(case, file))
    with pytest.raises(CaseError) as caught:
        cases.check_case(case)
    assert (caught.value.case, caught.value.file) == ("case_00007", f"{file}.nii.gz")
    for part in ("case_00007", f"{file}.nii.gz", "corrupt", "download it again"):
        assert part in str(caught.value)


def test_every_single_bit_of_the_voxels_counts(case):
    """Whatever bit of the compressed stream flips, the voxels are never returned changed.

    A few flips change nothing: one back-reference into a run of zeros is as good as another.
    """
    good = case.segmentation.read_bytes()
    expected, _ = cases.read_nifti(case.segmentation)
    harmless = 0
    for bit in range(10 * 8, len(good) * 8):  # the ten bytes before are gzip's header: flags, time and system
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        case.segmentation.write_bytes(data)
        try:
            array, _ = cases.read_nifti(case.segmentation)
        except CaseError:
            continue
        assert gzip.decompress(bytes(data)) == gzip.decompress(good)
        np.testing.assert_array_equal(array, expected)
        harmless += 1
    assert harmless < 0.1 * 8 * len(good)


def replaced(file, array, affine=AFFINE):
    return lambda case: write(getattr(case, file), array, affine)


def shifted(millimetres):
    affine = AFFINE.copy()
    affine[1, 3] += millimetres
    return affine


def without_spacing(path):
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[280:328] = bytes(48)  # the sform's three rows
    path.write_bytes(gzip.compress(bytes(raw)))


def labels_with(value, dtype):
    array = np.zeros(SHAPE, dtype)
    array[0, 0, 0] = value
    return array


FAULTS = {
    "shape": (replaced("segmentation", np.zeros((5, 7, 7), np.uint8)), "shape (5, 7, 7) differs"),
    "no volume": (replaced("segmentation", np.zeros((*SHAPE, 2), np.uint8)), "no volume"),
    "shifted": (replaced("segmentation", np.zeros(SHAPE, np.uint8), shifted(0.01)), "0.01 mm apart"),
    "spacing": (replaced("segmentation", labels_with(0, np.uint8), AFFINE @ np.diag([1.1, 1, 1, 1])), "affine differs"),
    "label 3": (replaced("segmentation", labels_with(3, np.uint8)), "labels 3, not only 0, 1, 2"),
    "label -1": (replaced("segmentation", labels_with(-1, np.int16)), "labels -1"),
    "label 0.5": (replaced("segmentation", labels_with(0.5, np.float32)), "labels 0.5"),
    "label NaN": (replaced("segmentation", labels_with(np.nan, np.float32)), "1 voxels are NaN"),
    "NaN": (replaced("imaging", labels_with(np.nan, np.float32)), "1 voxels are NaN"),
    "infinite": (replaced("imaging", labels_with(np.inf, np.float64)), "1 voxels are NaN or infinite"),
    "no imaging": (lambda case: case.imaging.unlink(), "missing"),
    "no segmentation": (lambda case: case.segmentation.unlink(), "missing"),
    "folder for a file": (lambda case: (case.imaging.unlink(), case.imaging.mkdir()), "missing"),
    "zero spacing": (lambda case: without_spacing(case.segmentation), "spacing 0 x 0 x 0 mm is impossible"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_case_is_refused_by_name(case, fault):
    break_it, reason = FAULTS[fault]
    break_it(case)
    with pytest.raises(CaseError) as caught:
        cases.check_case(case)
    assert str(caught.value).startswith("case_00007: ")
    assert reason in caught.value.reason and caught.value.advice
    with pytest.raises(CaseError):
        cases.load_subject(case)


def test_a_rounding_difference_of_affines_is_accepted(case):
    write(case.segmentation, np.zeros(SHAPE, np.uint8), shifted(5e-4))
    cases.check_case(case)


def test_float_labels_are_accepted(case):
    write(case.segmentation, labels_with(2, np.float64))
    cases.check_case(case)


def test_labels_alone(case):
    case.imaging.unlink()
    cases.check_case(case, imaging=False)
    write(case.segmentation, labels_with(3, np.uint8))
    with pytest.raises(CaseError, match="labels 3"):
        cases.check_case(case, imaging=False)


def test_one_bad_case_does_not_stop_the_others(tmp_path):
    made = [make_case(tmp_path, number) for number in range(4)]
    lose_the_tail(made[1].imaging)
    made[2].segmentation.unlink()
    usable, refused = cases.check_cases(cases.discover(tmp_path))
    assert [c.name for c in usable] == ["case_00000", "case_00003"]
    assert list(refused) == ["case_00001", "case_00002"]
    assert "imaging.nii.gz: corrupt" in refused["case_00001"] and "download it again" in refused["case_00001"]
    assert "segmentation.nii.gz: missing" in refused["case_00002"]


def test_each_file_is_read_once_a_check(case, monkeypatch):
    read, seen = cases.read_nifti, []
    monkeypatch.setattr(cases, "read_nifti", lambda path: (seen.append(path.name), read(path))[1])
    cases.load_subject(case)
    assert sorted(seen) == ["imaging.nii.gz", "segmentation.nii.gz"]


def test_subject(case):
    subject = cases.load_subject(case)
    imaging, affine = cases.read_nifti(case.imaging)
    assert subject["name"] == "case_00007"
    dtypes = [str(subject[name].data.dtype) for name in ("imaging", "segmentation")]
    assert dtypes == ["torch.float32", "torch.uint8"]
    np.testing.assert_array_equal(subject["imaging"].data[0].numpy(), imaging)
    np.testing.assert_allclose(subject["segmentation"].affine, affine)
    assert subject["segmentation"].data.unique().tolist() == [0, 1, 2]


@pytest.mark.skipif(not os.environ.get("KITSNB_DATA"), reason="KITSNB_DATA names no folder of real KiTS19 labels")
def test_the_real_labels():
    found = cases.discover(os.environ["KITSNB_DATA"])
    assert len(found) == 210
    split = cases.select(found)
    assert (len(split.training), len(split.validation), split.missing) == (160, 44, [])
    headers = [cases.read_header(case.segmentation) for case in found]
    assert {cases.orientation_of(header.affine) for header in headers} == {"IPL"}
    assert {h.shape[1:] for h in headers} == {(512, 512), (512, 796)}
    # Cases 15 and 23 have no sform, and case 160 is the one that is wider than the others.
    usable, refused = cases.check_cases([found[15], found[23], found[160]], imaging=False)
    assert len(usable) == 3 and not refused
