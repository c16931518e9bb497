"""Training patches against torchio's transforms."""

from collections.abc import Sequence
from itertools import count

import torch
import torchio as tio

from kitsnb.training.patches import PatchSampler
from kitsnb.training.settings import Augmentation
from kitsnb.training.volumes import MAX_CENTRES, Volume
from peers.measure import median_seconds, one_thread
from peers.preprocessing import itk_on_one_thread


def simulated_volume(shape: Sequence[int], seed: int = 0) -> Volume:
    """Noise and boxes for kidney and tumour, as ``load_volumes`` would hold them."""
    segmentation = torch.zeros(*shape, dtype=torch.uint8)
    for label, (first, last) in {1: (0.3, 0.5), 2: (0.4, 0.48)}.items():
        segmentation[tuple(slice(int(first * n), int(last * n)) for n in shape)] = label
    imaging = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    centres = {label: torch.nonzero(segmentation == label)[:MAX_CENTRES] for label in (1, 2)}
    return Volume("case_00000", imaging.half(), segmentation, centres)


def compare(repeats: int, patch: int = 80, shape: Sequence[int] = (128, 247, 247)) -> list[dict]:
    """A patch of side ``patch`` from a simulated volume of ``shape``: all eight augmentations, and the place alone.

    torchio gets the patch already cut, so finding and cutting it counts here only. Its ``LabelSampler``, asked for one place
    after the other, cuts the patch too.
    A row a job: ``job``, ``peer``, ``milliseconds`` here, ``time_ratio`` to the peer's; memory is not measured (None).
    """
    volume = simulated_volume(shape)
    sampler = PatchSampler([volume], (patch,) * 3, 1, foreground=1.0, augmentation=Augmentation(probability=1.0))
    plain = PatchSampler([volume], (patch,) * 3, 1, foreground=1.0)
    imaging, segmentation = plain.batch(0)
    cut = _subject(imaging[0], segmentation)
    transform = torchio_transforms()
    places = tio.LabelSampler(patch, "segmentation")(_subject(volume.imaging[None].float(), volume.segmentation[None]))
    steps, random = count(), torch.Generator().manual_seed(0)
    jobs = {
        "augmented patch": ("torchio", lambda: sampler.batch(next(steps)), lambda: transform(cut)),
        "place of a foreground patch": ("torchio, LabelSampler", lambda: plain.centre(volume, random), lambda: next(places)),
    }
    rows = []
    with one_thread(), itk_on_one_thread():
        for job, (peer, here, there) in jobs.items():
            seconds = median_seconds({"here": here, "peer": there}, repeats)
            rows.append({"job": job, "peer": peer, "milliseconds": 1000 * seconds["here"], "megabytes": None,
                         "time_ratio": seconds["here"] / seconds["peer"], "memory_ratio": None})
    return rows


def _subject(imaging: torch.Tensor, segmentation: torch.Tensor) -> tio.Subject:
    return tio.Subject(imaging=tio.ScalarImage(tensor=imaging), segmentation=tio.LabelMap(tensor=segmentation))


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
