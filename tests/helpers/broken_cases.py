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


def with_header(path: Path, version: int = 1, **fields) -> None:
    """Fields of the NIfTI header overwritten in the file itself, past nibabel's own checks."""
    raw = gzip.decompress(path.read_bytes())
    kind = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    header = kind(raw[: kind.sizeof_hdr], check=False)
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(gzip.compress(header.binaryblock + raw[kind.sizeof_hdr :]))


def scaled(path: Path, factor: float) -> None:
    """The geometry of a file in another unit."""
    image = nib.load(path)
    affine = np.diag([factor, factor, factor, 1]) @ image.affine
    nib.Nifti1Image(np.asanyarray(image.dataobj), affine).to_filename(path)


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
