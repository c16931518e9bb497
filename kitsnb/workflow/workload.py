"""How much a profile's training is: its cases and their size on the working grid, and the arithmetic of its network.

Nothing is computed and no volume is read: shapes come from headers, FLOPs and activations from PyTorch's meta device.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from kitsnb.data.cases import Case, discover, select
from kitsnb.data.nifti import CaseError, orientation_of, read_header, spacing_of
from kitsnb.files import resolve
from kitsnb.inference.sliding_window import Window
from kitsnb.preprocessing.prepare import Preprocessing
from kitsnb.preprocessing.resampling import grid_size
from kitsnb.unet import UNet3D
from kitsnb.workflow.profile import Profile

#: Mean working grid of the real KiTS19 cases under the paper's settings, for where no data are at hand.
PAPER_GRID = (128, 247, 247)
#: Phantoms that are simulated to know the size of all.
SAMPLE = 3


@dataclass(frozen=True)
class Cases:
    """Cases of a profile: their number, their mean voxels and patches in prediction, and how that is known."""

    number: int
    grid: tuple[int, ...]  # typical shape, for people
    voxels: float
    windows: float
    known: str


@dataclass(frozen=True)
class Arithmetic:
    """FLOPs (a multiply-add is two) and bytes of one patch, and the network's trainable parameters."""

    forward: int
    training: int  # forward and backward
    activations: int
    parameters: int


def settings_of(profile: Profile, stage: str) -> dict:
    """Every parameter of a stage's notebook as the profile runs it, defaults included."""
    return profile.parameters[stage]


def count_cases(profile: Profile) -> Cases:
    """The cases that ``profile`` trains on and holds out, from what is at hand: working grid, headers, phantoms, or the paper.

    Reads headers at most, except where phantoms must be simulated (``SAMPLE`` of them).
    """
    told = settings_of(profile, "training")
    prepared = settings_of(profile, "preprocessing")
    settings = Preprocessing(**{key: prepared[key] for key in ("spacing", "clip", "resize_in_plane", "interpolation")})
    shapes, known = _shapes(profile, told, settings)
    numbers = range(told["training"][0], told["validation"][1] + 1) if shapes is None else shapes
    split = select([Case(Path(f"case_{n:05d}")) for n in numbers], told["training"], told["validation"], told["excluded"])
    wanted = [case.number for case in (*split.training, *split.validation)]
    if not wanted:
        raise ValueError(f"{profile.name}: the ranges of training and validation hold no case that is at hand")
    if shapes is None:  # at another spacing, the paper's grid has so many voxels more or fewer
        found = [tuple(round(n * p / s) for n, p, s in zip(PAPER_GRID, Preprocessing().spacing, settings.spacing))]
    else:
        found = [shapes[number] for number in wanted]
    window = Window(patch_size=told["patch_size"], overlap=told["overlap"])
    windows = [math.prod(map(len, window.starts(shape))) for shape in found]
    grid = tuple(round(sum(axis) / len(found)) for axis in zip(*found))
    return Cases(len(wanted), grid, sum(map(math.prod, found)) / len(found), sum(windows) / len(found), known)


def _shapes(profile: Profile, told: dict, settings: Preprocessing) -> tuple[dict[int, tuple] | None, str]:
    """Shapes on the working grid by the case's number (None: not known), and how they are known."""
    report = profile.build.preprocessed / "report.json"
    if report.is_file():
        content = json.loads(report.read_text())
        if content.get("settings") == settings.as_json():
            return {Case(Path(name)).number: tuple(row["shape"]) for name, row in content["rows"].items()}, "preprocessed cases"
    if told["source"] == "phantom":
        from kitsnb.simulation.phantom import simulate_case

        seed = profile.parameters.get("data_analysis", {}).get("phantom_seed", 0)
        first = told["training"][0]
        made = [simulate_case(seed, first + n) for n in range(SAMPLE)]
        sizes = [working_grid(one.imaging.shape, one.affine, settings) for one in made]
        numbers = range(min(first, told["validation"][0]), max(told["training"][1], told["validation"][1]) + 1)
        return {n: sizes[n % SAMPLE] for n in numbers}, f"{SAMPLE} simulated cases stand for all"
    try:
        return _from_headers(discover(resolve(told["folder"])), settings), "headers of the files"
    except (OSError, TypeError):
        return None, "no data at hand: the known mean of KiTS19, all cases of the ranges"


def _from_headers(cases: list[Case], settings: Preprocessing) -> dict[int, tuple]:
    shapes = {}
    for case in cases:
        try:
            header = read_header(case.imaging if case.imaging.is_file() else case.segmentation)
            shapes[case.number] = working_grid(header.shape[:3], header.affine, settings)
        except CaseError:
            continue  # it will be refused, with the reason
    return shapes


def working_grid(shape, affine, settings: Preprocessing) -> tuple[int, ...]:
    """Shape (slice, height, width) that a volume of native ``shape`` and ``affine`` gets on the working grid."""
    axes = [next(i for i, letter in enumerate(orientation_of(affine)) if letter in pair) for pair in ("IS", "AP", "LR")]
    sizes, spacing = [shape[i] for i in axes], [float(spacing_of(affine)[i]) for i in axes]
    if settings.resize_in_plane:
        between = [sizes[0], *settings.resize_in_plane]
        spacing = [step * old / new for step, old, new in zip(spacing, sizes, between)]
        sizes = between
    return grid_size(sizes, spacing, settings.spacing)


def count_arithmetic(network: dict, patch_size, half: bool = False) -> Arithmetic:
    """FLOPs and kept activations of one patch through ``UNet3D(**network)``, counted without computing anything.

    ``half``: activations in 16 bits, as under autocast.
    """
    with torch.device("meta"):
        model = UNet3D(**network).to(torch.bfloat16 if half else torch.float32)
        patch = torch.empty(1, 1, *patch_size, dtype=torch.bfloat16 if half else torch.float32)
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(patch)
        forward = counter.get_total_flops()
        activations = sum(storage.nbytes() for key, storage in kept.items() if key not in own)
        logits.float().sum().backward()
    return Arithmetic(forward, counter.get_total_flops(), activations, sum(p.numel() for p in model.parameters()))


def held_out(told: dict, cases: Cases, folds: int | None) -> float:
    """Cases that a run holds out, on average."""
    if folds:
        return cases.number / folds
    split = select([Case(Path(f"case_{n:05d}")) for n in range(told["validation"][0], told["validation"][1] + 1)],
                   told["training"], told["validation"], told["excluded"])
    return min(len(split.validation), cases.number)
