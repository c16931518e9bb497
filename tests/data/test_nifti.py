"""Reading and writing NIfTI: values, geometry, and every corrupt file refused by name."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.broken_cases import AFFINE, CORRUPTIONS, SHAPE, make_case, write

from kitsnb.data import nifti
from kitsnb.data.cases import Case
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
