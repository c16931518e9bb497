"""A training step: how fast, how far from what the device can do, and how long it waits for data, here and fed by the peers.

``python -m peers.training`` measures it on the GPU where there is one, ``--help`` shows the settings, and
``--memory`` measures what the volumes of a whole training set take instead. All data are simulated.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torchio as tio
import typer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kitsnb.data.cases import Case
from kitsnb.losses import build_loss
from kitsnb.preprocessing.arrays import KEPT, write_array
from kitsnb.training.patches import PatchSampler, fixed_patches
from kitsnb.training.settings import Augmentation
from kitsnb.training.volumes import Volume, load_volumes
from kitsnb.unet import UNet3D
from kitsnb.workflow.execute import ENVIRONMENT
from peers.measure import one_thread, peak_process_bytes
from peers.preprocessing import itk_on_one_thread
from peers.sampling import simulated_volume, torchio_transforms

#: Autocast's dtype of each precision, by Lightning's names; None computes in float32.
PRECISIONS = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "32-true": None}
#: Patches that the Queue cuts of a volume that it has augmented as a whole; torchio's examples take so many, or more.
PATCHES_A_VOLUME = 8
FOREGROUND = 2 / 3  # share of patches on foreground, for all

Batch = tuple[Tensor, Tensor]  # imaging [1, 1, *patch], segmentation [1, *patch]


class Step:
    """The network, the Dice loss and Adam; called with a batch, it makes one step of training on ``device``.

    ``precision`` is one of ``PRECISIONS``, with ``channels_last`` memory or contiguous.
    """

    def __init__(self, device: torch.device, precision: str, channels_last: bool, base_filters: int, depth: int):
        torch.manual_seed(0)
        self.format = torch.channels_last_3d if channels_last else torch.contiguous_format
        self.network = UNet3D(base_filters=base_filters, depth=depth).to(device, memory_format=self.format)
        self.loss, self.optimizer = build_loss("dice"), torch.optim.Adam(self.network.parameters(), lr=1e-4)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
        self.device, self.dtype = device, PRECISIONS[precision]

    def __call__(self, imaging: Tensor, segmentation: Tensor) -> None:
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, dtype=self.dtype) if self.dtype else nullcontext():
            loss = self.loss(self.network(imaging.to(memory_format=self.format)), segmentation)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


def step_flops(patch: int, base_filters: int, depth: int) -> int:
    """Operations (a multiplication and an addition are two) of a step's convolutions, forward and backward, on one patch."""
    with torch.device("meta"):
        network, imaging = UNet3D(base_filters=base_filters, depth=depth), torch.empty(1, 1, patch, patch, patch)
        with FlopCounterMode(display=False) as counter:
            network(imaging).sum().backward()
    return counter.get_total_flops()


def peak_flops(device: torch.device, precision: str, side: int, repeats: int = 5) -> float:
    """Operations a second of the best of some products of square matrices: what this device can do, measured and not typed."""
    a, b = torch.randn(2, side, side, device=device, dtype=PRECISIONS[precision] or torch.float32).unbind()
    clock, seconds = _clock(device, 0), []
    for _ in range(repeats + 1):
        started = clock()
        a @ b
        seconds.append(clock() - started)
    return 2 * side**3 / min(seconds[1:])


def _clock(device: torch.device, workers: int) -> Callable[[], float]:
    """Seconds, once the device has done all it was given. On a CPU without workers only this thread's time counts."""
    if device.type == "cuda":
        return lambda: (torch.cuda.synchronize(device), time.perf_counter())[1]
    return time.perf_counter if workers else time.thread_time


def own_feed(volumes: list[Volume], patch: int, device: torch.device) -> Iterator[Batch]:
    """Batches of one patch from ``PatchSampler``, all eight augmentations on."""
    augmentation = Augmentation(probability=1.0)
    sampler = PatchSampler(volumes, (patch,) * 3, 1, foreground=FOREGROUND, augmentation=augmentation, device=device)
    return (sampler.batch(step) for step in count())


def torchio_feed(volumes: list[Volume], patch: int, device: torch.device, workers: int) -> Iterator[Batch]:
    """The same by torchio's ``Queue``: volumes in memory are augmented as a whole, and ``PATCHES_A_VOLUME`` are cut of each."""
    subjects = [tio.Subject(imaging=tio.ScalarImage(tensor=v.imaging[None].float().cpu()),
                            segmentation=tio.LabelMap(tensor=v.segmentation[None].cpu())) for v in volumes]
    shares = {0: 1 - FOREGROUND, 1: FOREGROUND / 2, 2: FOREGROUND / 2}
    sampler = tio.LabelSampler(patch, "segmentation", shares)
    queue = tio.Queue(tio.SubjectsDataset(subjects, torchio_transforms()), max_length=PATCHES_A_VOLUME * max(1, workers),
                      samples_per_volume=PATCHES_A_VOLUME, sampler=sampler, num_workers=workers)
    while True:
        for batch in tio.SubjectsLoader(queue, batch_size=1, num_workers=0):
            yield batch["imaging"]["data"].to(device), batch["segmentation"]["data"][:, 0].byte().to(device)


def monai_feed(volumes: list[Volume], patch: int, device: torch.device, workers: int) -> Iterator[Batch]:
    """The same by MONAI: ``CacheDataset``, a patch cut first, then its random transforms, and MONAI's ``DataLoader``."""
    from monai import transforms as mt
    from monai.data import CacheDataset, DataLoader

    both, one, a = ["imaging", "segmentation"], ["imaging"], Augmentation()
    turn = [np.radians(a.rotation)] * 3
    steps = [
        mt.FgBgToIndicesd("segmentation"),  # kept with the volume, so that it is not searched for each patch
        mt.RandCropByPosNegLabeld(both, "segmentation", (patch,) * 3, pos=FOREGROUND, neg=1 - FOREGROUND, num_samples=1,
                                  fg_indices_key="segmentation_fg_indices", bg_indices_key="segmentation_bg_indices"),
        mt.Rand3DElasticd(both, sigma_range=(5, 7), magnitude_range=(50, 150), prob=1.0, rotate_range=turn,
                          scale_range=[(a.scaling[0] - 1, a.scaling[1] - 1)] * 3, mode=["bilinear", "nearest"],
                          padding_mode=["border", "zeros"]),
        *(mt.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(3)),
        mt.RandScaleIntensityd(one, factors=(a.brightness[0] - 1, a.brightness[1] - 1), prob=1.0),
        mt.RandScaleIntensityFixedMeand(one, factors=(a.contrast[0] - 1, a.contrast[1] - 1), prob=1.0, fixed_mean=True),
        mt.RandAdjustContrastd(one, gamma=tuple(a.gamma), prob=1.0),
        mt.RandGaussianNoised(one, prob=1.0, std=a.noise**0.5),
        mt.SelectItemsd(both),
    ]
    data = [{"imaging": v.imaging[None].float().cpu(), "segmentation": v.segmentation[None].cpu()} for v in volumes]
    dataset = CacheDataset(data, mt.Compose(steps), num_workers=1, progress=False)
    while True:
        for batch in DataLoader(dataset, batch_size=1, shuffle=True, num_workers=workers):
            yield batch["imaging"].as_tensor().to(device), batch["segmentation"].as_tensor()[:, 0].byte().to(device)


def time_loop(step: Step, feed: Iterator[Batch], steps: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds a step of the loop, and seconds of these in which the device waited for ``feed``, as means of ``steps``.

    Each part is waited for, so that none hides behind another; only workers of a feed go on meanwhile. Two steps warm up.
    """
    waited = total = 0.0
    for number in range(steps + 2):
        started = clock()
        batch = next(feed)
        fed = clock()
        step(*batch)
        if number >= 2:
            waited, total = waited + fed - started, total + clock() - started
    return total / steps, waited / steps


def measure(
    steps: int = 10, device: str | None = None, precision: str = "bf16-mixed", patch: int = 80, base_filters: int = 32,
    depth: int = 4, shape: Sequence[int] = (128, 247, 247), cases: int = 4, workers: int = 0, matrix: int | None = None,
) -> dict:
    """A step of training on one simulated patch of side ``patch``, with all eight augmentations at probability 1.

    ``device`` None is the GPU where there is one. ``workers`` are the peers' processes; ``matrix`` the side of the product
    that measures the device's peak (None: 8192 on a GPU, 3072 on a CPU). On a CPU one thread's time counts, unless there are
    workers. Returns ``seconds`` a step with each feed and for float32 contiguous, ``waited`` (share of a step), ``flops`` of
    a step, ``peak`` (operations a second), ``floor`` (arithmetic floor over the time of a step) and what was measured.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    clock = _clock(place, workers)
    simulated = [simulated_volume(shape, seed) for seed in range(cases)]
    kept = [Volume(v.name, v.imaging.to(place), v.segmentation.to(place), v.centres) for v in simulated]
    feeds = {"kitsnb": own_feed(kept, patch, place), "torchio": torchio_feed(simulated, patch, place, workers),
             "MONAI": monai_feed(simulated, patch, place, workers)}
    with one_thread() if place.type == "cpu" else nullcontext(), itk_on_one_thread():
        step = Step(place, precision, True, base_filters, depth)
        # Whole volumes' worth of patches, or the Queue would be timed between its refills.
        lengths = {name: -(-steps // PATCHES_A_VOLUME) * PATCHES_A_VOLUME if name == "torchio" else steps for name in feeds}
        times = {name: time_loop(step, feed, lengths[name], clock) for name, feed in feeds.items()}
        plain = Step(place, "32-true", False, base_filters, depth)
        times["float32"] = time_loop(plain, own_feed(kept, patch, place), steps, clock)
        peak = peak_flops(place, precision, matrix or (8192 if place.type == "cuda" else 3072))
    flops = step_flops(patch, base_filters, depth)
    seconds = {name: total for name, (total, _) in times.items()}
    return {
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else "one CPU thread", "precision": precision,
        "patch": patch, "workers": workers, "seconds": seconds,
        "waited": {name: wait / total for name, (total, wait) in times.items()},
        "flops": flops, "peak": peak, "floor": flops / peak / (seconds["kitsnb"] - times["kitsnb"][1]),
    }


def rows_of(found: dict) -> list[dict]:
    """``measure``'s answer as rows of ``peers``: the step with each peer's feed, and in float32."""
    job = f"training step, patch of {found['patch']}"
    workers = f"{found['workers']} workers"
    peers = {"torchio": f"torchio, Queue, {workers}", "MONAI": f"MONAI, CacheDataset, {workers}", "float32": "float32, contiguous"}
    here = found["seconds"]["kitsnb"]
    return [{"job": job, "peer": peer, "milliseconds": 1000 * here, "time_ratio": here / found["seconds"][name],
             "megabytes": None, "memory_ratio": None} for name, peer in peers.items()]


def compare(repeats: int, device: str | None = None, patch: int = 80, **settings) -> list[dict]:
    """``rows_of(measure(...))``, with a mean of ``repeats`` steps each; ``settings`` are those of ``measure``."""
    found = measure(repeats, device, patch=patch, **settings)
    print(summary(found))
    return rows_of(found)


def summary(found: dict) -> str:
    """One line of what ``measure`` found."""
    times = {name: f"{seconds / found['seconds']['kitsnb']:.2f}" for name, seconds in found["seconds"].items()}
    return (f"{found['device']}, {found['precision']}: {1 / found['seconds']['kitsnb']:.3g} patches a second; "
            f"waited for data {found['waited']['kitsnb']:.1%} of a step (torchio {found['waited']['torchio']:.1%}, MONAI "
            f"{found['waited']['MONAI']:.1%}); {times['torchio']} times as fast as with torchio's Queue, {times['MONAI']} as "
            f"with MONAI's CacheDataset, {times['float32']} as float32 contiguous; {found['floor']:.0%} of the arithmetic floor "
            f"({found['flops'] / 1e9:.0f} GFLOP a step, {found['peak'] / 1e12:.3g} TFLOP a second measured)")


def write_simulated_cases(folder: Path, shapes: Sequence[Sequence[int]], seed: int = 0) -> list[Case]:
    """Cases as preprocessing writes them, one of each of ``shapes``: noise and two boxes."""
    cases = []
    for number, shape in enumerate(shapes):
        volume, case = simulated_volume(shape, seed + number), Case(folder / f"case_{number:05d}")
        for kind in KEPT:
            write_array(case.folder, kind, getattr(volume, kind).numpy())
        cases.append(case)
    return cases


def memory(folder: Path, cases: int = 160, shape: Sequence[int] = (128, 247, 247), patch: int = 80) -> dict:
    """Peak memory in a child process of loading simulated cases of about ``shape`` on the CPU, drawing some batches of side
    ``patch`` and the validation's patches: all that a training set takes beside the network. Files go below ``folder``.

    Returns ``cases``, ``voxels`` and ``bytes``.
    """
    sizes = np.random.default_rng(0).uniform(0.9, 1.1, (cases, 3))
    shapes = (sizes / sizes.mean(0) * shape).astype(int).tolist()
    written = write_simulated_cases(folder, shapes)

    def work():
        volumes = load_volumes(written)
        feed = own_feed(volumes, patch, torch.device("cpu"))
        return [next(feed) for _ in range(4)], fixed_patches(volumes, (patch,) * 3, 1)

    with one_thread():
        return {"cases": cases, "voxels": int(np.prod(shapes, axis=1).sum()), "bytes": peak_process_bytes(work)}


def main(
    device: str | None = None, precision: str = "bf16-mixed", steps: int = 10, patch: int = 80, base_filters: int = 32,
    depth: int = 4, shape: tuple[int, int, int] = (128, 247, 247), cases: int | None = None, workers: int = 0,
    measure_memory: bool = typer.Option(False, "--memory", help="Memory of a whole training set (160 cases) instead."),
    folder: Path | None = typer.Option(None, help="Where --memory writes its cases, some 4 GB, and deletes them."),
) -> None:
    """Measure a training step, and print a table and one line; data are simulated."""
    if measure_memory:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            found = memory(Path(scratch), cases or 160, shape, patch)
        print(f"{found['cases']} cases, {found['voxels'] / 1e6:.0f} million voxels: {found['bytes'] / 1e9:.2f} GB at most, "
              f"{found['bytes'] / found['voxels']:.2f} bytes a voxel")
        return
    found = measure(steps, device, precision, patch, base_filters, depth, shape, cases or 4, workers)
    print(pd.DataFrame(rows_of(found)).dropna(axis=1).round(3).to_string(index=False))
    print(summary(found))


if __name__ == "__main__":
    if not ENVIRONMENT.items() <= os.environ.items():  # a step's memory is reused, as in the runner's kernels
        os.execve(sys.executable, [sys.executable, "-m", "peers.training", *sys.argv[1:]], os.environ | ENVIRONMENT)
    typer.run(main)
