"""Jobs that kitsnb and a well-known package both do: each function returns rows of ``measure.beside``, a row a job and
peer.

What has the size of a case has it here: 200 slices of 512 x 512, the paper's grid, patches of 80.
"""

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
import torchio as tio
from numpy.typing import NDArray
from torch import Tensor
from torchio.data.io import sitk  # as torchio has it: no dependency of our own

from kitsnb import losses as own
from kitsnb.data.cases import discover
from kitsnb.data.nifti import read_nifti, spacing_of, write_nifti
from kitsnb.inference.sliding_window import Window, slide
from kitsnb.metric.score import kits19_score
from kitsnb.preprocessing.prepare import Preprocessing, one_hot, preprocess
from kitsnb.preprocessing.resampling import grid_size, to_native
from kitsnb.simulation.phantom import simulate_case
from kitsnb.training.patches import PatchSampler
from kitsnb.training.settings import Augmentation
from kitsnb.training.volumes import Volume
from peers.measure import beside, peak_bytes, peak_process_bytes

#: As most of KiTS19: axes inferior, posterior, left; 3 mm slices of 0.78 mm pixels.
AFFINE = np.array([[0, 0, -0.78, 0], [0, -0.78, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])
#: Shape of a volume on the working grid, and the window over it: the paper's, and a small one.
WINDOWS = (
    ((130, 200, 200), Window(patch_size=(80, 80, 80), overlap=(40, 40, 40))),
    ((40, 80, 88), Window(patch_size=(32, 48, 48), overlap=(16, 24, 24))),
)


def by(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))


@contextmanager
def itk_on_one_thread() -> Iterator[None]:
    """SimpleITK, which torchio resamples with, on one thread inside, as many as before outside."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def reading(repeats: int, slices: int = 420, side: int = 512) -> list[dict]:
    """A CT from its ``.nii.gz``, gzip checksum verified, against nibabel's plain read, which does not verify it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = np.where(x**2 / 0.7 + y**2 / 0.4 < 1, 40 + 30 * np.sin(7 * x) * np.cos(5 * y), -1000)
    noise = rng.normal(0, 12, (8, side, side))  # with it, the file is compressed about as a CT's
    volume = np.stack([np.round(body + np.roll(noise[i % 8], 3 * i, 1)) for i in range(slices)]).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        path = write_nifti(Path(folder) / "case_00000" / "imaging.nii.gz", volume, AFFINE)
        job = f"read and verify a CT of {path.stat().st_size / 1e6:.0f} MB"
        functions = (lambda: read_nifti(path), lambda: np.asanyarray(nib.load(path).dataobj))
        return [beside(job, "nibabel, unverified", *functions, repeats)]


def simulated_subject(shape: Sequence[int]) -> tio.Subject:
    """Smooth random HU (int16) and boxes for kidney and tumour: no anatomy, but the size and types of a case."""
    coarse = torch.randn(1, 1, *(max(2, n // 16) for n in shape), generator=torch.Generator().manual_seed(0)) * 300
    segmentation = torch.zeros(1, *shape, dtype=torch.uint8)
    for label, (first, last) in {1: (0.3, 0.5), 2: (0.4, 0.48)}.items():
        segmentation[(0, *(slice(int(first * n), int(last * n)) for n in shape))] = label
    imaging = F.interpolate(coarse, tuple(shape), mode="trilinear")[0].short()
    return tio.Subject(imaging=tio.ScalarImage(tensor=imaging, affine=AFFINE),
                       segmentation=tio.LabelMap(tensor=segmentation, affine=AFFINE), name="case_00000")


def preprocessing(repeats: int, shape: Sequence[int] = (200, 512, 512)) -> list[dict]:
    """Image and label of one case to the paper's grid, and the labels back; a round takes some 15 s, nearly all the
    peers'.
    """
    subject = simulated_subject(shape)
    linear, cubic = Preprocessing(resize_in_plane=None), Preprocessing(resize_in_plane=None, interpolation="cubic")
    halved = Preprocessing(resize_in_plane=[n // 2 for n in shape[1:]])
    jobs = [("to the grid, linear", "torchio", linear, "linear"),
            ("to the grid, half the pixels first", "torchio, half first", halved, "linear"),
            ("to the grid, cubic", "torchio", cubic, "linear"),
            ("to the grid, cubic", "torchio, B-spline", cubic, "bspline")]
    grid = one_hot(simulated_subject(grid_size(shape, spacing_of(AFFINE), linear.spacing))["segmentation"].data)
    with itk_on_one_thread():
        rows = [beside(job, peer, partial(preprocess, subject, settings),
                       partial(_torchio(settings, kind, shape[0]), subject), repeats, peak_process_bytes)
                for job, peer, settings, kind in jobs]
    back, at_once = partial(to_native, grid, shape, AFFINE), partial(_back_at_once, grid, shape)
    return [*rows, beside("labels back to native", "torch, whole volume", back, at_once, repeats, peak_process_bytes)]


def _torchio(settings: Preprocessing, interpolation: str, depth: int) -> tio.Compose:
    first = [tio.Resize((depth, *settings.resize_in_plane))] if settings.resize_in_plane else []
    resample = tio.Resample(tuple(settings.spacing), image_interpolation=interpolation)
    return tio.Compose([tio.Clamp(*settings.clip), *first, resample, tio.ZNormalization()])


def _back_at_once(probabilities: Tensor, shape: Sequence[int]) -> NDArray:
    return F.interpolate(probabilities[None], tuple(shape), mode="trilinear")[0].argmax(0).byte().numpy()


def sampling(repeats: int, patch: int = 80, shape: Sequence[int] = (128, 247, 247)) -> list[dict]:
    """A patch with all eight augmentations, from a volume on the working grid, and its place alone.

    torchio gets the patch already cut, so finding and cutting it counts here only; its ``LabelSampler``, asked for one
    place after the other, cuts the patch too. MONAI cuts first, from a volume whose foreground it has remembered.
    """
    subject = simulated_subject(shape)
    imaging, segmentation = subject["imaging"].data.half(), subject["segmentation"].data
    volume = Volume("case_00000", imaging[0], segmentation[0], {1: torch.nonzero(segmentation[0] > 0)[:4096]})
    sampler = PatchSampler([volume], (patch,) * 3, 1, foreground=1.0, augmentation=Augmentation(probability=1.0))
    plain = PatchSampler([volume], (patch,) * 3, 1, foreground=1.0)
    part = plain.batch(0)
    cut = tio.Subject(imaging=tio.ScalarImage(tensor=part[0][0]), segmentation=tio.LabelMap(tensor=part[1]))
    transform, places = torchio_transforms(), tio.LabelSampler(patch, "segmentation")(subject)
    remember, cut_and_change = monai_transforms(patch)
    kept = remember({"imaging": imaging.float(), "segmentation": segmentation})
    steps, random = itertools.count(), torch.Generator().manual_seed(0)
    jobs = [("augmented patch", "torchio", lambda: sampler.batch(next(steps)), lambda: transform(cut)),
            ("augmented patch", "MONAI", lambda: sampler.batch(next(steps)), lambda: cut_and_change(dict(kept))),
            ("place of a foreground patch", "torchio, LabelSampler", lambda: plain.centre(volume, random),
             lambda: next(places))]
    with itk_on_one_thread():
        return [beside(*job, repeats) for job in jobs]


def torchio_transforms() -> tio.Compose:
    """All eight at the strengths of ``Augmentation``; torchio has no brightness and contrast of its own."""
    return tio.Compose([
        tio.RandomAffine(scales=(0.85, 1.25), degrees=15, isotropic=True),
        tio.RandomElasticDeformation(num_control_points=7, max_displacement=6),
        tio.RandomFlip((0, 1, 2)),
        tio.Lambda(lambda image: image * 1.2, types_to_apply=[tio.INTENSITY]),
        tio.Lambda(lambda image: (image - image.mean()) * 1.1 + image.mean(), types_to_apply=[tio.INTENSITY]),
        tio.RandomGamma(log_gamma=(-0.3, 0.4)),
        tio.RandomNoise(std=(0, 0.2)),
    ])


def monai_transforms(patch: int) -> tuple:
    """What MONAI's ``CacheDataset`` would do once a volume, and all eight augmentations of a patch, as ``Augmentation``
    has them.
    """
    from monai import transforms as mt

    both, one, a = ["imaging", "segmentation"], ["imaging"], Augmentation()
    return mt.FgBgToIndicesd("segmentation"), mt.Compose([
        mt.RandCropByPosNegLabeld(both, "segmentation", (patch,) * 3, pos=1, neg=0, num_samples=1,
                                  fg_indices_key="segmentation_fg_indices", bg_indices_key="segmentation_bg_indices"),
        mt.Rand3DElasticd(both, sigma_range=(5, 7), magnitude_range=(50, 150), prob=1.0,
                          rotate_range=[np.radians(a.rotation)] * 3, scale_range=[tuple(f - 1 for f in a.scaling)] * 3,
                          mode=["bilinear", "nearest"], padding_mode=["border", "zeros"]),
        *(mt.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(3)),
        mt.RandScaleIntensityd(one, factors=[f - 1 for f in a.brightness], prob=1.0),
        mt.RandScaleIntensityFixedMeand(one, factors=[f - 1 for f in a.contrast], prob=1.0, fixed_mean=True),
        mt.RandAdjustContrastd(one, gamma=tuple(a.gamma), prob=1.0),
        mt.RandGaussianNoised(one, prob=1.0, std=a.noise**0.5),
    ])


def trivial(patches: Tensor) -> Tensor:
    """A network that costs no more than a copy: its input three times. (MONAI writes into what it gets, so no view.)"""
    return patches.repeat(1, 3, 1, 1, 1)


def inference(repeats: int) -> list[dict]:
    """The sliding window with a ``trivial`` network: time a patch, and peak of the process, with the result."""
    import monai.inferers

    rows = []
    for shape, window in WINDOWS:
        volume = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        share = [o / p for o, p in zip(window.overlap, window.patch_size)]
        peer = partial(monai.inferers.sliding_window_inference, volume[None, None], window.patch_size,
                       window.at_a_time, trivial, overlap=share, mode="gaussian")
        rows.append(beside(
            f"sliding window, patches of {by(window.patch_size)}", f"MONAI {monai.__version__}, Gaussian",
            partial(slide, trivial, volume, window, 3), peer, repeats, peak_process_bytes,
            per=len(list(itertools.product(*window.starts(shape))))))
    return rows


def plain_score(prediction: NDArray, reference: NDArray) -> dict[str, float]:
    """The challenge's two Dice scores as its own code has them: boolean arrays of the volume's size. Not for empty
    regions.
    """
    pairs = {"kidney_and_tumour": (prediction > 0, reference > 0), "tumour": (prediction == 2, reference == 2)}
    return {name: float(2 * np.logical_and(a, b).sum() / (a.sum() + b.sum())) for name, (a, b) in pairs.items()}


def perturbed(labels: NDArray) -> NDArray:
    """A prediction for labels [D, H, W]: moved by a few voxels, with background and tumour changed about in a central
    box.
    """
    moved = np.roll(labels, (1, 3, -2), (0, 1, 2))
    centre = tuple(slice(n // 2, n // 2 + max(1, n // 8)) for n in labels.shape)
    moved[centre] = 2 - moved[centre]
    return moved


def labels_for(folder: Path | None, validation: Sequence[int]) -> Iterator[NDArray]:
    """The labels of the cases ``validation`` (first and last number) in ``folder``, one at a time; phantoms without
    one.
    """
    if folder is None:
        for number in range(5):  # a phantom is small; blown up, it has the size of a CT
            yield np.kron(simulate_case(0, number).segmentation, np.ones((3, 4, 4), np.uint8))
    else:
        for case in discover(folder):
            if validation[0] <= case.number <= validation[1]:
                yield read_nifti(case.segmentation)[0]


def metric(repeats: int, labels: Iterable[NDArray]) -> list[dict]:
    """``kits19_score`` of ``perturbed`` copies of ``labels`` against ``plain_score``; raises ValueError where they
    differ.

    Predictions lie in memory as the labels do, or the other way, as fresh ones may. Times are sums over cases, memory
    is the largest.
    """
    jobs = {"KiTS19 score, arrays alike in memory": [], "KiTS19 score, another memory order": []}
    for reference in labels:
        prediction = perturbed(reference)
        turned = np.asarray(prediction, order="F" if prediction.flags.c_contiguous else "C")
        for (job, rows), array in zip(jobs.items(), (prediction, turned)):
            here, peer = (partial(score, array, reference) for score in (kits19_score, plain_score))
            if any(here()[name] != value for name, value in peer().items()):
                raise ValueError(f"{job}: {here()} is not {peer()}")
            rows.append(beside(job, "boolean arrays of full size", here, peer, repeats, peak_process_bytes))
    return [_together(rows) for rows in jobs.values()]


def _together(rows: list[dict]) -> dict:
    here = sum(row["milliseconds"] for row in rows)
    peer = sum(row["milliseconds"] / row["time_ratio"] for row in rows)
    return max(rows, key=lambda row: row["megabytes"]) | {"milliseconds": here, "time_ratio": here / peer}


def losses(repeats: int, sizes: Sequence[Sequence[int]]) -> list[dict]:
    """Forward and backward of four losses and of MONAI's on random logits of ``sizes``; memory is what torch held at
    most.
    """
    import monai.losses as monai

    options = {"softmax": True, "to_onehot_y": True}
    pairs = {
        "Dice": (own.DiceLoss(), monai.DiceLoss(**options)),
        # MONAI's alpha is on false positives.
        "Tversky": (own.TverskyLoss(), monai.TverskyLoss(alpha=0.3, beta=0.7, **options)),
        "generalized Dice": (own.GeneralizedDiceLoss(), monai.GeneralizedDiceLoss(**options)),
        "focal": (own.FocalLoss(), monai.FocalLoss(use_softmax=True, to_onehot_y=True)),
    }
    rows = []
    for batch, classes, *spatial in sizes:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(batch, classes, *spatial, generator=generator).requires_grad_()
        target = torch.randint(0, classes, (batch, 1, *spatial), generator=generator)
        for name, pair in pairs.items():
            steps = (lambda loss=loss: torch.autograd.grad(loss(logits, target), logits) for loss in pair)
            rows.append(beside(f"{name} loss, {by(logits.shape)}", "MONAI", *steps, repeats, peak_bytes))
    return rows
