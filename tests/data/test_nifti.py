"""Reading and writing NIfTI: values, geometry, and every corrupt file refused by name."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.broken_cases import AFFINE, SHAPE, lose, make_case, with_header, write

from kitsnb.data import geometry
from kitsnb.data.cases import Case
from kitsnb.data.checks import check_cases
from kitsnb.data.nifti import CaseError, read_header, read_nifti, write_nifti


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path, 7)


def test_what_an_affine_says():
    angle = np.deg2rad(10)  # an oblique volume keeps its spacing, which the diagonal would not show
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for affine in (AFFINE, turn @ AFFINE):
        np.testing.assert_allclose(geometry.spacing_of(affine), [3.0, 0.8, 0.8])
        assert geometry.orientation_of(affine) == "IPL" and geometry.slice_axis(affine) == 0
        assert geometry.voxel_ml(affine) == pytest.approx(3 * 0.8 * 0.8 / 1000)
    assert geometry.slice_axis(np.diag([0.8, 0.8, 3, 1])) == 2


def test_two_grids_are_one_within_a_tenth_of_a_voxel():
    shape = (120, 512, 512)
    itk = AFFINE @ (np.eye(4) + 1e-5 * np.eye(4, k=1))  # as ITK writes axes: a little off right angles
    assert geometry.difference((shape, itk), (shape, AFFINE)) is None
    moved = AFFINE.copy()
    moved[1, 3] += 0.07
    assert geometry.difference((shape, moved), (shape, AFFINE)) is None
    moved[1, 3] += 0.03
    assert geometry.difference((shape, moved), (shape, AFFINE)) == "its corners lie up to 0.1 mm away"
    said = "its shape (120, 512, 511) is not (120, 512, 512)"
    assert geometry.difference(((120, 512, 511), AFFINE), (shape, AFFINE)) == said


def test_qform_alone_is_honoured(case):
    with_header(case.imaging, sform_code=0, qform_code=1, quatern_b=0, quatern_c=1, quatern_d=0)
    np.testing.assert_allclose(read_nifti(case.imaging)[1][:3, :3], np.diag([-3, 0.8, -0.8]), atol=1e-3)
    with_header(case.imaging, quatern_c=1.01)
    with pytest.raises(CaseError, match="corrupt"):
        read_nifti(case.imaging)


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(1, 0, "i2"), (0, 5, "i2"), (np.nan, np.nan, "i2"), (2.5, -1024, "f4")])
@pytest.mark.parametrize("order", "<>")
def test_scale_and_byte_order(tmp_path, order, slope, intercept, dtype):
    stored = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(f"{order}i2")
    path = tmp_path / "imaging.nii.gz"
    nib.Nifti1Image(stored, AFFINE, nib.Nifti1Header(endianness=order), dtype=np.int16).to_filename(path)
    with_header(path, order=order, scl_slope=slope, scl_inter=intercept)
    array, _ = read_nifti(path)
    assert array.dtype == np.dtype(dtype) and array.dtype.isnative
    np.testing.assert_array_equal(array, stored if dtype == "i2" else 2.5 * stored - 1024)


def test_other_forms_of_the_file_are_read_alike(case):
    """NIfTI-2, plain under a packed name, plain."""
    image = nib.load(case.imaging)
    good, affine = read_nifti(case.imaging)
    np.testing.assert_array_equal(good, np.asanyarray(image.dataobj))
    np.testing.assert_array_equal(affine, image.affine)
    assert good.flags.writeable
    nib.Nifti2Image(good, affine).to_filename(case.imaging)
    np.testing.assert_array_equal(read_nifti(case.imaging)[0], good)
    case.imaging.write_bytes(gzip.decompress(case.imaging.read_bytes()))
    np.testing.assert_array_equal(read_nifti(case.imaging)[0], good)
    assert read_header(case.imaging)[0] == SHAPE
    case.imaging.rename(case.folder / "imaging.nii")
    assert case.imaging.name == "imaging.nii" and check_cases([case])[0].status == "ok"


def test_every_single_bit_of_the_voxels_counts(case):
    """Whatever bit of the compressed stream flips, the voxels are never returned changed."""
    good = case.segmentation.read_bytes()
    expected, _ = read_nifti(case.segmentation)
    harmless = 0  # one back-reference into a run of zeros is as good as another
    for bit in range(10 * 8, len(good) * 8, 11):  # the ten bytes before are gzip's header: flags, time and system
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        case.segmentation.write_bytes(data)
        try:
            array, _ = read_nifti(case.segmentation)
        except CaseError:
            continue
        np.testing.assert_array_equal(array, expected)
        harmless += 1
    assert harmless < 0.02 * 8 * len(good)


def packed(path: Path, change) -> None:
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


RGB = np.dtype([(colour, "u1") for colour in "RGB"])
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
#: Odd files -> (how imaging is spoilt, part of the message).
ODD = {
    "cut": (lambda path: lose(path, 700), "corrupt or unreadable"),
    "tail lost": (lambda path: lose(path, 8), "corrupt or unreadable"),  # of the checksum and the length alone
    "empty": (lambda path: path.write_bytes(b""), "neither a gzip nor a NIfTI file"),
    "page": (lambda path: path.write_text("<!DOCTYPE html>"), "neither a gzip nor a NIfTI file"),
    "pointer": (lambda path: path.write_text(POINTER), "it begins with b'version https://git-lfs"),
    "too few voxels": (lambda path: packed(path, lambda raw: raw[:-10]), "no file of this size"),
    "bytes behind": (lambda path: packed(path, lambda raw: raw + b"more"), "no file of this size"),
    "negative size": (lambda path: with_header(path, dim=[3, -5, 7, 6, 1, 1, 1, 1]), "no file of this size"),
    "no offset": (lambda path: with_header(path, vox_offset=np.nan), "corrupt or unreadable"),
    "colours": (lambda path: write(path, np.zeros(SHAPE, RGB)), "is no volume; store HU or labels as numbers"),
    "missing": (lambda path: path.unlink(), "missing; put it into"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ODD)
def test_an_odd_file_is_refused_with_its_own_reason(case, fault):
    make, said = ODD[fault]
    make(case.imaging)
    with pytest.raises(CaseError, match="^other: imaging.nii.gz: ") as caught:
        read_nifti(case.imaging, "other")
    assert said in str(caught.value)


def test_no_flipped_byte_of_a_header_ends_in_a_traceback(case):
    write_nifti(case.imaging, *read_nifti(case.imaging))  # with qform and sform
    raw = gzip.decompress(case.imaging.read_bytes())
    found = {"ok": 0, "warning": 0, "refused": 0}
    rng = np.random.default_rng(0)
    for _ in range(100):
        spoilt = bytearray(raw)
        spoilt[rng.integers(348)] ^= rng.integers(1, 256)
        case.imaging.write_bytes(gzip.compress(spoilt, 1))
        found[check_cases([case])[0].status] += 1
    assert found["ok"] > 10 and found["refused"] > 5, found
