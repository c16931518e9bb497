"""A made-up case and the ways in which files are broken, for the tests of reading and of checks."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from kitsnb.data.cases import Case
from kitsnb.data.nifti import read_nifti

AFFINE = np.array([[0, 0, -0.8, 11], [0, -0.8, 0, -7], [-3.0, 0, 0, 5], [0, 0, 0, 1]])
SHAPE = (30, 7, 6)


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


def with_header(path: Path, order: str | None = None, **fields) -> None:
    """Fields of the NIfTI header overwritten in the file itself, past nibabel's own checks."""
    raw = gzip.decompress(path.read_bytes())
    header = nib.Nifti1Header(raw[:348], endianness=order, check=False)
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(gzip.compress(header.binaryblock + raw[348:]))


def scaled(path: Path, factor: float) -> None:
    """The geometry of a file in another unit."""
    image = nib.load(path)
    affine = np.diag([factor, factor, factor, 1]) @ image.affine
    nib.Nifti1Image(np.asanyarray(image.dataobj), affine).to_filename(path)


def lose(path: Path, count: int) -> None:
    """The last ``count`` bytes of a file are gone."""
    path.write_bytes(path.read_bytes()[:-count])


def spoil(cases: list[Case]) -> dict[str, str]:
    """Five of ten cases spoilt in five ways; what must be said of each."""
    with_header(cases[1].imaging, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    for path in (cases[2].imaging, cases[2].segmentation):
        scaled(path, 0.05)
    array, affine = read_nifti(cases[4].imaging)
    write(cases[4].imaging, (array / 1000).astype(np.float32), affine)
    with_header(cases[7].imaging, srow_x=[np.nan] * 4)
    cases[9].imaging.write_text("version https://git-lfs.github.com/spec/v1")
    return {cases[1].name: "no file of this size", cases[2].name: "cm wide", cases[4].name: "no HU of a patient",
            cases[7].name: "spacing [nan", cases[9].name: "git-lfs"}


def check_named(found: dict[str, str], expected: dict[str, str]) -> None:
    assert sorted(found) == sorted(expected)
    for name, part in expected.items():
        assert part in found[name], found[name]
