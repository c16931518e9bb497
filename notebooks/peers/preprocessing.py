"""The way to the working grid and back, against torchio's transforms and against torch's own resampling."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
import torchio as tio
from torch import Tensor
from torchio.data.io import sitk  # as torchio has it: no dependency of our own

from kitsnb.data.nifti import spacing_of
from kitsnb.preprocessing.prepare import Preprocessing, one_hot, preprocess
from kitsnb.preprocessing.resampling import grid_size, to_native
from peers.measure import median_seconds, one_thread, peak_process_bytes

#: As most of KiTS19: axes inferior, posterior, left; 3 mm slices of 0.78 mm pixels.
AFFINE = np.array([[0, 0, -0.78, 0], [0, -0.78, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])
LINEAR, HALVED, CUBIC = "to the grid, linear", "to the grid, half the pixels first", "to the grid, cubic"
BACK = "labels back to native"
PAIRS = [(LINEAR, "torchio"), (HALVED, "torchio, half first"), (CUBIC, "torchio"), (CUBIC, "torchio, B-spline"),
         (BACK, "torch, whole volume")]


@contextmanager
def itk_on_one_thread() -> Iterator[None]:
    """SimpleITK, which torchio resamples with, on one thread inside, as many as before outside."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def simulated_subject(shape: Sequence[int], seed: int = 0) -> tio.Subject:
    """Smooth random HU (int16) and boxes for kidney and tumour: no anatomy, but the size and types of a case."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, *(max(2, n // 16) for n in shape), generator=generator) * 300
    imaging = F.interpolate(coarse, tuple(shape), mode="trilinear")[0].short()
    segmentation = torch.zeros(1, *shape, dtype=torch.uint8)
    for label, (first, last) in {1: (0.3, 0.5), 2: (0.4, 0.48)}.items():
        segmentation[(0, *(slice(int(first * n), int(last * n)) for n in shape))] = label
    return tio.Subject(imaging=tio.ScalarImage(tensor=imaging, affine=AFFINE),
                       segmentation=tio.LabelMap(tensor=segmentation, affine=AFFINE), name="case_00000")


def compare(repeats: int, shape: Sequence[int] = (200, 512, 512)) -> list[dict]:
    """Image and label of one simulated case of ``shape`` to the paper's grid, and the labels back.

    A row a job and peer: ``job``, ``peer``, ``milliseconds`` and ``megabytes`` (peak of the process) here, ``time_ratio`` and
    ``memory_ratio`` to the peer's. A round at the default shape takes some 15 s, nearly all of it the peers'.
    """
    subject, half = simulated_subject(shape), [n // 2 for n in shape[1:]]
    direct, cubic = Preprocessing(resize_in_plane=None), Preprocessing(resize_in_plane=None, interpolation="cubic")
    halved = Preprocessing(resize_in_plane=half)
    size = grid_size(shape, spacing_of(AFFINE), direct.spacing)
    grid = one_hot(simulated_subject(size)["segmentation"].data)
    functions = {
        LINEAR: partial(preprocess, subject, direct),
        HALVED: partial(preprocess, subject, halved),
        CUBIC: partial(preprocess, subject, cubic),
        BACK: partial(to_native, grid, shape, AFFINE),
        "torchio": partial(_torchio(direct, "linear", shape[0]), subject),
        "torchio, half first": partial(_torchio(halved, "linear", shape[0]), subject),
        "torchio, B-spline": partial(_torchio(cubic, "bspline", shape[0]), subject),
        "torch, whole volume": partial(_back_at_once, grid, shape),
    }
    with one_thread(), itk_on_one_thread():
        # Memory first: what this process has used and given back would be there for its children to use, uncounted.
        held = {name: peak_process_bytes(function) for name, function in functions.items()}
        seconds = median_seconds(functions, repeats)
    return [
        {"job": job, "peer": peer, "milliseconds": 1000 * seconds[job], "time_ratio": seconds[job] / seconds[peer],
         "megabytes": held[job] / 1e6, "memory_ratio": held[job] / held[peer]}
        for job, peer in PAIRS
    ]


def _torchio(settings: Preprocessing, interpolation: str, depth: int) -> tio.Compose:
    first = [tio.Resize((depth, *settings.resize_in_plane))] if settings.resize_in_plane else []
    resample = tio.Resample(tuple(settings.spacing), image_interpolation=interpolation)
    return tio.Compose([tio.Clamp(*settings.clip), *first, resample, tio.ZNormalization()])


def _back_at_once(probabilities: Tensor, shape: Sequence[int]) -> np.ndarray:
    return F.interpolate(probabilities[None], tuple(shape), mode="trilinear")[0].argmax(0).byte().numpy()
