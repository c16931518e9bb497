"""Volumes on the working grid, made in a moment: noise, and boxes for kidney and tumour."""

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
    imaging = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    centres = {label: torch.nonzero(segmentation == label)[:MAX_CENTRES] for label in (1, 2)}
    return Volume("case_00000", imaging.half(), segmentation, centres)


def write_simulated_cases(folder: Path, shapes: Sequence[Sequence[int]], seed: int = 0) -> list[Case]:
    """Cases as preprocessing writes them, one of each of ``shapes``."""
    cases = []
    for number, shape in enumerate(shapes):
        volume, case = simulated_volume(shape, seed + number), Case(folder / f"case_{number:05d}")
        for kind in ("imaging", "segmentation"):
            write_array(case.folder, kind, getattr(volume, kind).numpy())
        cases.append(case)
    return cases
