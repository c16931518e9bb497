"""Reading and writing NIfTI: values, geometry, and every corrupt file refused by name."""

import gzip
import struct
import tracemalloc
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.broken_cases import AFFINE, CORRUPTIONS, SHAPE, make_case, with_header, write

from kitsnb.data import nifti
from kitsnb.data.cases import Case
from kitsnb.data.checks import check_case
from kitsnb.data.nifti import CaseError


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path, 7)


def test_a_good_file_reads_back(case):
    array, affine = nifti.read_nifti(case.imaging)
    image = nib.load(case.imaging)
    assert array.dtype == np.int16 and array.flags.writeable
    np.testing.assert_array_equal(array, np.asanyarray(image.dataobj))
    np.testing.assert_array_equal(affine, image.affine)
    header = nifti.read_header(case.imaging)
    assert header.shape == SHAPE and header.dtype == np.int16
    np.testing.assert_array_equal(header.affine, image.affine)


def test_geometry_of_kits19_axes():
    np.testing.assert_allclose(nifti.spacing_of(AFFINE), [3.0, 0.8, 0.8])
    assert nifti.orientation_of(AFFINE) == "IPL"
    angle = np.deg2rad(10)  # an oblique volume keeps its spacing, which the diagonal would not show
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    np.testing.assert_allclose(nifti.spacing_of(turn @ AFFINE), [3.0, 0.8, 0.8])


def test_qform_alone_is_honoured(case):
    image = nib.load(case.segmentation)
    image.set_sform(None, code=0)
    image.set_qform(AFFINE, code=1)
    image = nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header)
    image.to_filename(case.segmentation)
    header = nib.load(case.segmentation).header
    assert (header["sform_code"], header["qform_code"]) == (0, 1)
    np.testing.assert_allclose(nifti.read_nifti(case.segmentation)[1], AFFINE, atol=1e-5)


def test_scaled_and_big_endian_values(tmp_path):
    path = tmp_path / "case_00001" / "imaging.nii.gz"
    stored = np.arange(np.prod(SHAPE), dtype=">i2").reshape(SHAPE)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    write(path, stored)
    nib.Nifti1Image(stored, AFFINE, header).to_filename(path)
    array, _ = nifti.read_nifti(path)
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, stored)

    raw = bytearray(gzip.decompress(path.read_bytes()))
    order = ">" if raw[:4] == struct.pack(">i", 348) else "<"
    raw[112:120] = struct.pack(f"{order}ff", 2.0, -1024.0)  # scl_slope, scl_inter
    path.write_bytes(gzip.compress(bytes(raw)))
    array, _ = nifti.read_nifti(path)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, 2.0 * stored - 1024)


@pytest.mark.parametrize("file", ["imaging", "segmentation"])
@pytest.mark.parametrize("fault", CORRUPTIONS)
def test_a_corrupt_file_is_refused_by_name(case, file, fault):
    CORRUPTIONS[fault](getattr(case, file))
    with pytest.raises(CaseError) as caught:
        nifti.read_nifti(getattr(case, file))
    assert (caught.value.case, caught.value.file) == ("case_00007", f"{file}.nii.gz")
    assert caught.value.code == "corrupt"
    for part in ("case_00007", f"{file}.nii.gz", "corrupt", "download it again"):
        assert part in str(caught.value)


def test_every_single_bit_of_the_voxels_counts(case):
    """Whatever bit of the compressed stream flips, the voxels are never returned changed.

    A few flips change nothing: one back-reference into a run of zeros is as good as another.
    """
    good = case.segmentation.read_bytes()
    expected, _ = nifti.read_nifti(case.segmentation)
    harmless = 0
    for bit in range(10 * 8, len(good) * 8):  # the ten bytes before are gzip's header: flags, time and system
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        case.segmentation.write_bytes(data)
        try:
            array, _ = nifti.read_nifti(case.segmentation)
        except CaseError:
            continue
        assert gzip.decompress(bytes(data)) == gzip.decompress(good)
        np.testing.assert_array_equal(array, expected)
        harmless += 1
    assert harmless < 0.1 * 8 * len(good)


def packed(path: Path, change) -> None:
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


RGB = np.dtype([(colour, "u1") for colour in "RGB"])
#: Odd files -> (how imaging is spoilt, part of the reason, part of the advice).
ODD = {
    "huge": (lambda path: with_header(path, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "no file of this size", "download it again"),
    "negative": (lambda path: with_header(path, dim=[3, -5, 7, 6, 1, 1, 1, 1]), "negative dimensions (-5, 7, 6)", "download it again"),
    "smaller than its voxels": (lambda path: with_header(path, dim=[3, 30, 7, 5, 1, 1, 1, 1]), "420 bytes follow", "does not belong"),
    "no offset": (lambda path: with_header(path, vox_offset=np.nan), "no valid NIfTI header", "download it again"),
    "infinite offset": (lambda path: with_header(path, vox_offset=np.inf), "no valid NIfTI header", "download it again"),
    "offset in the header": (lambda path: with_header(path, vox_offset=16), "corrupt", "download it again"),
    "colours": (lambda path: write(path, np.zeros(SHAPE, RGB)), "voxels are colours", "as integers or floats"),
    "complex": (lambda path: write(path, np.zeros(SHAPE, np.complex64)), "voxels are complex numbers", "as integers or floats"),
    "pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "pointer of Git LFS", "git lfs pull"),
    "page": (lambda path: path.write_text("\n<!DOCTYPE html>"), "a web page", "download it again"),
    "text": (lambda path: path.write_text("404: Not Found"), "neither a gzip nor a NIfTI file", "download it again"),
    "bytes after the stream": (lambda path: path.write_bytes(path.read_bytes() + b"<html> something else"), "other bytes follow the end", "download it again"),
    "bytes after the voxels": (lambda path: packed(path, lambda raw: raw + b"more"), "4 bytes follow the voxels", "does not belong"),
    "plain and cut": (lambda path: path.write_bytes(gzip.decompress(path.read_bytes())[:-1]), "no file of this size", "download it again"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ODD)
def test_an_odd_file_is_refused_with_its_own_reason(case, fault):
    make, reason, advice = ODD[fault]
    make(case.imaging)
    with pytest.raises(CaseError) as caught:
        nifti.read_nifti(case.imaging)
    assert (caught.value.case, caught.value.file) == ("case_00007", "imaging.nii.gz")
    assert reason in caught.value.reason and advice in caught.value.advice
    with pytest.raises(CaseError, match="^other: "):
        nifti.read_nifti(case.imaging, "other")


def test_a_huge_size_that_is_not_there_costs_no_memory(case):
    with_header(case.imaging, dim=[3, 30, 7, 60, 1, 1, 1, 1])  # small enough for what gzip could hold
    with pytest.raises(CaseError, match=r"corrupt: \d+ of \d+ bytes"):
        nifti.read_nifti(case.imaging)
    with_header(case.imaging, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    tracemalloc.start()
    with pytest.raises(CaseError):
        nifti.read_nifti(case.imaging)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 1e7


def test_too_little_memory_is_no_fault_of_the_file(case, monkeypatch):
    monkeypatch.setattr(nifti.np, "frombuffer", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(CaseError, match="case_00007: imaging.nii.gz: too large for this machine's memory; free some memory"):
        nifti.read_nifti(case.imaging)


@pytest.mark.parametrize("squared", [1 + 5e-5, 1 + 1e-3])
def test_a_quaternion_may_be_a_rounding_too_long(case, squared):
    with_header(case.imaging, sform_code=0, qform_code=1, quatern_b=0, quatern_c=squared**0.5, quatern_d=0)
    if squared < 1.0001:
        np.testing.assert_allclose(nifti.read_nifti(case.imaging)[1][:3, :3], np.diag([-3, 0.8, -0.8]), atol=1e-3)
    else:
        with pytest.raises(CaseError, match="no valid NIfTI header"):
            nifti.read_nifti(case.imaging)


def test_other_forms_of_the_file_are_read_alike(case):
    """NIfTI-2, plain, plain under a packed name, and an axis of one too many: the same voxels, with a note where it is odd."""
    good, affine = nifti.read_nifti(case.imaging)
    image, notes = nib.load(case.imaging), []
    nib.Nifti2Image(np.asanyarray(image.dataobj), affine).to_filename(case.imaging)
    np.testing.assert_array_equal(nifti.read_nifti(case.imaging, notes=notes)[0], good)
    assert not notes
    write(case.imaging, good[..., None])
    np.testing.assert_array_equal(nifti.read_nifti(case.imaging, notes=notes)[0], good)
    assert nifti.read_header(case.imaging).shape == SHAPE and notes[0].code == "squeezed"
    plain = case.folder / "imaging.nii"
    write(plain, good)
    case.imaging.write_bytes(plain.read_bytes())
    for path in (plain, case.imaging):
        notes = []
        np.testing.assert_array_equal(nifti.read_nifti(path, notes=notes)[0], good)
        assert [(found.code, found.message) for found in notes] == [("not_packed", f"{path.name}: is not compressed")]
    case.imaging.unlink()
    assert case.imaging == plain and check_case(case).status == "warning"


def test_both_forms_and_codes_are_kept(case):
    with_header(case.imaging, qform_code=2, sform_code=4, qoffset_x=41.0, xyzt_units=0)
    header = nifti.read_header(case.imaging)
    written = nifti.write_nifti(case.folder / "labels.nii.gz", np.zeros(SHAPE, np.uint8), header.affine, like=header)
    before, after = nib.load(case.imaging).header, nib.load(written).header
    for field in ("qform_code", "sform_code", "xyzt_units"):
        assert before[field] == after[field]
    np.testing.assert_array_equal(before.get_qform(), after.get_qform())
    np.testing.assert_array_equal(before.get_sform(), after.get_sform())
    np.testing.assert_array_equal(nifti.read_nifti(written)[1], header.affine)


def test_no_flipped_byte_of_a_header_ends_in_a_traceback(case):
    nifti.write_nifti(case.imaging, *nifti.read_nifti(case.imaging))  # with qform and sform
    raw, found = gzip.decompress(case.imaging.read_bytes()), {"ok": 0, "warning": 0, "refused": 0}
    rng = np.random.default_rng(0)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(1000):
            spoilt = bytearray(raw)
            spoilt[rng.integers(348)] ^= rng.integers(1, 256)
            case.imaging.write_bytes(gzip.compress(spoilt, 1))
            found[check_case(case).status] += 1
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(found.values()) == 1000 and min(found.values()) > 20, found
    assert held < 1e8, f"{held / 1e6:.0f} MB"
