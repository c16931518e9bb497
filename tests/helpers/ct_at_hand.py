"""A small CT with two kidneys and a tumour, made in a moment, in any orientation."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from helpers.network_at_hand import Constant

from kitsnb.data.cases import Case
from kitsnb.data.nifti import write_nifti
from kitsnb.preprocessing.resampling import reorient

#: Axes IPL, 4 x 3 x 3 mm.
AFFINE = np.array([[0, 0, -3.0, 70], [0, -3.0, 0, 60], [-4.0, 0, 0, 80], [0, 0, 0, 1]])


class CT(NamedTuple):
    imaging: np.ndarray
    labels: np.ndarray
    affine: np.ndarray

    def turned(self, orientation: str) -> "CT":
        imaging, affine = reorient(self.imaging, self.affine, orientation)
        labels, _ = reorient(self.labels, self.affine, orientation)
        return CT(imaging.copy(), labels.copy(), affine)

    def write(self, case: Case) -> Case:
        write_nifti(case.imaging, self.imaging, self.affine)
        write_nifti(case.segmentation, self.labels, self.affine)
        return case


def small_ct(seed: int = 0) -> CT:
    """A body of soft tissue in air; kidneys of 200 HU, the first with a tumour of 90 HU that is half of it."""
    shape = (36, 40, 44)
    depth, height, width = np.indices(shape) / np.reshape(shape, (3, 1, 1, 1))
    labels = np.zeros(shape, np.uint8)
    for middle in (0.3, 0.7):
        labels[((depth - 0.5) / 0.3) ** 2 + ((height - 0.6) / 0.15) ** 2 + ((width - middle) / 0.12) ** 2 < 1] = 1
    labels[(labels == 1) & (width < 0.5) & (depth < 0.5)] = 2
    body = ((height - 0.5) / 0.45) ** 2 + ((width - 0.5) / 0.47) ** 2 < 1
    hu = np.where(body, 40, -1000) + np.array([0, 160, 50])[labels]
    noise = np.random.default_rng(seed).normal(0, 10, shape)
    return CT((hu + noise).astype(np.int16), labels, AFFINE)


def write_cases(folder: Path, count: int) -> list[Case]:
    return [small_ct(number).write(Case(folder / f"case_{number:05d}")) for number in range(count)]


class Kidneys(Constant):
    """A network that finds kidneys and tumour of ``small_ct`` by their HU."""

    def forward(self, x):
        return torch.cat([0 * x, 12 * x - 18.2, 4 * x - 3], 1)
