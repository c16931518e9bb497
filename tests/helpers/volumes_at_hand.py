"""Volumes on the working grid, made in a moment: noise, brighter in boxes for kidney and tumour."""

from collections.abc import Sequence
from pathlib import Path

import torch

from kitsnb.data.cases import Case
from kitsnb.preprocessing.arrays import write_array
from kitsnb.training.volumes import MAX_CENTRES, Volume


def simulated_volume(shape: Sequence[int], seed: int = 0) -> Volume:
    """As ``load_volumes`` would hold it."""
    segmentation = torch.zeros(*shape, dtype=torch.uint8)
    for label, (first, last) in {1: (0.3, 0.5), 2: (0.4, 0.48)}.items():
        segmentation[tuple(slice(int(first * n), int(last * n)) for n in shape)] = label
    noise = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    centres = {label: torch.nonzero(segmentation == label)[:MAX_CENTRES] for label in (1, 2)}
    return Volume((0.3 * noise + segmentation).half(), segmentation, centres)


def write_simulated_cases(folder: Path) -> tuple[list[Case], list[Case]]:
    """Two cases to train on, and a held-out one, as preprocessing writes them."""
    cases = []
    for number, shape in enumerate([(22, 26, 24), (20, 28, 30), (24, 24, 26)]):
        volume = simulated_volume(shape, number)
        case = Case(folder / f"case_{number:05d}")
        write_array(case.folder, "imaging", volume.imaging.numpy())
        write_array(case.folder, "segmentation", volume.segmentation.numpy())
        cases.append(case)
    return cases[:2], cases[2:]
