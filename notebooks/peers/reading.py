"""Reading a CT from its ``.nii.gz``, gzip checksum verified, against nibabel's plain read, which does not verify it."""

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from kitsnb.data.nifti import read_nifti, write_nifti
from peers.measure import median_seconds, one_thread


def noisy_ct(slices: int, side: int, seed: int = 0) -> np.ndarray:
    """An int16 volume [``slices``, ``side``, ``side``] that compresses about as a CT does: smooth parts and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = np.where(x**2 / 0.7 + y**2 / 0.4 < 1, 40 + 30 * np.sin(7 * x) * np.cos(5 * y), -1000)
    noise = rng.normal(0, 12, (8, side, side))
    return np.stack([np.round(body + np.roll(noise[i % 8], 3 * i, 1)) for i in range(slices)]).astype(np.int16)


def compare(repeats: int, slices: int = 420, side: int = 512) -> list[dict]:
    """One row (see ``peers``) for a file of about 105 MB at the default size."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_nifti(Path(folder) / "case_00000" / "imaging.nii.gz", noisy_ct(slices, side), np.diag([-3.0, -0.8, -0.8, 1.0]))
        with one_thread():
            seconds = median_seconds({
                "here": lambda: read_nifti(path),
                "peer": lambda: np.asanyarray(nib.load(path).dataobj),
            }, repeats)
        job = f"read and verify a CT of {path.stat().st_size / 1e6:.0f} MB"
    return [{"job": job, "peer": "nibabel, unverified", "milliseconds": 1000 * seconds["here"],
             "time_ratio": seconds["here"] / seconds["peer"], "megabytes": None, "memory_ratio": None}]
