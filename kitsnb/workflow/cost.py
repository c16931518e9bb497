"""What a profile will cost, said before anything is trained: runs, steps, time, GPU-hours, memory.

Every line says where its number comes from: "profile" is written there, "computed" follows from it, "measured" was
timed on this machine just now, "assumed" is a guess that can be changed.
"""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from kitsnb.data.cases import Case, discover, select
from kitsnb.data.nifti import CaseError, read_header
from kitsnb.files import SIMULATED_SOURCES, resolve
from kitsnb.inference.window import Window
from kitsnb.messages import duration
from kitsnb.preprocessing.arrays import BYTES_A_VOXEL
from kitsnb.preprocessing.resampling import working_shape
from kitsnb.preprocessing.settings import Preprocessing
from kitsnb.study.tables import plural
from kitsnb.training.settings import Training
from kitsnb.unet import UNet3D
from kitsnb.workflow.launch import cores
from kitsnb.workflow.profile import Profile

#: Assumed sustained rates in TFLOPS, never measured here: 10 %, as one small patch fills no large GPU, of what the data
#: sheet of an NVIDIA A100 gives, 156 in TF32 (PyTorch's usual way there of float32 convolutions) and 312 in 16 bits.
ASSUMED_SHARE, PEAK = 0.1, {"32": 156.0, "16": 312.0}
#: Seconds that measuring may take: on demand, and before a run.
LONG, SHORT = 12.0, 1.0
#: Mean working grid of the real KiTS19 cases under the paper's settings, for where no data are at hand.
PAPER_GRID = (128, 247, 247)


class Cases(NamedTuple):
    """Cases of a profile: how many, how many of them a run holds out, their mean size, and how that is known."""

    number: int
    held_out: float
    grid: tuple[int, ...]
    windows: float  # patches in prediction
    known: str


class Arithmetic(NamedTuple):
    """FLOPs (a multiply-add is two) and bytes of one patch, and the network's trainable parameters."""

    forward: int
    training: int  # forward and backward
    activations: int
    parameters: int


def count_arithmetic(network: dict, patch_size, half: bool = False) -> Arithmetic:
    """One patch through ``UNet3D(**network)``, counted without computing anything; ``half``: as under autocast."""
    dtype, kept = torch.bfloat16 if half else torch.float32, {}
    with torch.device("meta"):
        model, patch = UNet3D(**network).to(dtype), torch.empty(1, 1, *patch_size, dtype=dtype)
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

    def keep(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, saved:
        logits = model(patch)
        forward = counter.get_total_flops()
        activations = sum(storage.nbytes() for key, storage in kept.items() if key not in own)
        logits.float().sum().backward()
    return Arithmetic(forward, counter.get_total_flops(), activations, sum(p.numel() for p in model.parameters()))


def count_cases(profile: Profile) -> Cases:
    """The cases that ``profile`` trains on and holds out, from what is at hand: their files, a phantom, or the paper.

    Raises ValueError where the ranges hold no case.
    """
    given = profile.parameters["training"]
    shapes, known = _shapes(profile)
    everything = [Case(Path(f"case_{number:05d}")) for number in shapes]
    split = select(everything, given["training"], given["validation"], given["excluded"])
    found = [shapes[case.number] for case in (*split.training, *split.validation)]
    if not found:
        raise ValueError(f"{profile.name}: the ranges of training and validation hold no case that is at hand")
    window = Window(patch_size=given["patch_size"], overlap=given["overlap"])
    windows = np.mean([math.prod(map(len, window.starts(shape))) for shape in found])
    held_out = len(found) / profile.folds if profile.folds else len(split.validation)
    return Cases(len(found), held_out, tuple(np.mean(found, 0).round().astype(int).tolist()), float(windows), known)


def _shapes(profile: Profile) -> tuple[dict[int, tuple], str]:
    """Shapes on the working grid by the case's number, and how they are known."""
    given, shapes = profile.parameters["training"], {}
    settings = Preprocessing.among(profile.parameters["preprocessing"])
    folders = [profile.build.data] if given["source"] in SIMULATED_SOURCES else []
    folders += [resolve(given["folder"])] if given["folder"] else []
    for case in discover(folder) if (folder := next(filter(Path.is_dir, folders), None)) else ():
        try:
            header = read_header(case.imaging if case.imaging.is_file() else case.segmentation)
            shapes[case.number] = working_shape(header.shape, header.affine, settings.spacing)
        except CaseError:
            continue  # it will be refused, with the reason
    if shapes:
        return shapes, "headers of the files"
    numbers = range(max(given["training"][1], given["validation"][1]) + 1)
    if given["source"] == "phantom":
        from kitsnb.simulation.phantom import simulate_case

        one = simulate_case(profile.parameters["data_analysis"]["phantom_seed"], 0)
        size = working_shape(one.imaging.shape, one.affine, settings.spacing)
        return dict.fromkeys(numbers, size), "a simulated case stands for all"
    # At another spacing, the paper's grid has so many voxels more or fewer.
    scaled = tuple(round(n * p / s) for n, p, s in zip(PAPER_GRID, Preprocessing().spacing, settings.spacing))
    return dict.fromkeys(numbers, scaled), "no data at hand: the known mean of KiTS19, all cases of the ranges"


def measure_step(settings: Training, folder: Path, threads: int, seconds: float) -> tuple[float, str] | str:
    """Median seconds of steps as training takes them, on random patches, for about ``seconds``, and how many on what.

    Or why that was not measured. ``folder`` is where the choice of a precision is kept.
    """
    return "steps are not timed"


def estimate(profile: Profile, *, workers: int | None = None, runs: int | None = None, tflops: float | None = None,
             seconds: float = LONG) -> str:
    """The cost of ``profile``, a line each item, with where it comes from in brackets.

    ``runs`` are to be trained now (None: all). ``tflops`` replaces the assumed rate; steps are measured for about
    ``seconds``. Raises ValueError for a profile that trains nothing, and where its ranges hold no case.
    """
    if "training" not in profile.stages:
        raise ValueError(f"{profile.name} trains nothing, so there is nothing to estimate")
    given, number = profile.parameters["training"], len(profile.runs)
    training = Training.among(given)
    cases, bits = count_cases(profile), "32" if training.precision == "32-true" else "16"
    work = count_arithmetic(training.network.model_dump(), training.patch_size, bits == "16")
    grid = {"experiment": len(profile.experiments), "seed": len(profile.seeds), "fold": profile.folds}
    grid = " x ".join(plural(count, word) for word, count in grid.items() if count is not None)
    steps, patches = training.epochs * training.steps_per_epoch, training.epochs * training.patches_of_an_epoch
    # Of validation and prediction: a patch a held-out case and epoch, then whole cases.
    checking = (training.epochs + cases.windows) * cases.held_out * work.forward
    total, rate = patches * work.training + checking, tflops or ASSUMED_SHARE * PEAK[bits]
    hours = max(0.01, total / (rate * 1e12) / 3600)
    rows = [
        ("grid", f"{grid} = {plural(number, 'run')}" + (f", {runs} of them to train now" if runs else ""), "profile"),
        ("a run", f"at most {plural(training.epochs, 'epoch')} of {plural(training.steps_per_epoch, 'step')}: "
                  f"{steps:,} steps, {patches:,} patches of {_by(training.patch_size)}", "profile"),
        ("arithmetic", f"{work.training / 1e9:.0f} GFLOP a patch, forward and backward; {total / 1e15:,.3g} PFLOP "
                       f"a run, {checking / total:.0%} of it validation and prediction", "computed"),
        ("GPU-hours", f"at most {hours:.3g} a run, {hours * number:.3g} in all, at {rate:.3g} TFLOPS sustained",
         "the rate is given" if tflops else f"the rate is assumed: {ASSUMED_SHARE:.0%} of an A100's data sheet"),
        *_time_here(profile, training, total / (training.batch_size * work.training), workers or cores(),
                    runs or number, seconds),
        *_memory(training, cases, work),
    ]
    patience = plural(training.stop_patience, "epoch")
    head = f"{profile.title}: upper limits, since a run stops after {patience} without improvement"
    return "\n".join([head, *(f"  {name:<13}{text} [{source}]" for name, text, source in rows)])


def _time_here(profile: Profile, training: Training, steps: float, workers: int, runs: int, seconds: float) -> list:
    """Lines on the time of ``runs`` of so many ``steps`` here, from some that are measured, or why it is not known."""
    threads = 1 if workers > 1 else int(os.environ.get("OMP_NUM_THREADS") or 0) or os.cpu_count() or 1
    found = measure_step(training, profile.build.folder, threads, seconds) if seconds else "left out"
    if isinstance(found, str):
        return [("time here", f"not measured: {found}", "see GPU-hours")]
    step, measured = found
    run, rounds = step * steps, math.ceil(runs / workers)
    return [("a step here", f"{step:.3g} s: network, loss and Adam, without drawing patches", f"measured, {measured}"),
            ("time here", f"at most {duration(run)} (h:mm:ss) a run, {duration(rounds * run)} for "
                          f"{plural(runs, 'run')}, {workers} at a time", "computed from that step")]


def _memory(training: Training, cases: Cases, work: Arithmetic) -> list:
    volumes = cases.number * math.prod(cases.grid) * BYTES_A_VOXEL
    # Weights, gradients and Adam's two moments, four bytes each.
    network, activations = 16 * work.parameters, training.batch_size * work.activations
    return [("volumes", f"{cases.number} cases of about {_by(cases.grid)} voxels, {BYTES_A_VOXEL} bytes each: "
                        f"{volumes / 1e9:.2f} GB", cases.known),
            ("memory", f"{(volumes + network + activations) / 1e9:.2f} GB a run beside what the libraries need: these "
                       f"volumes, {work.parameters / 1e6:.1f} M parameters with gradients and Adam "
                       f"{network / 1e9:.2f}, activations {activations / 1e9:.2f}", "computed")]


def before_start(profile: Profile, workers: int, runs: int, here: bool = True) -> str:
    """The estimate for ``runs`` that are about to start, or why there is none: no run must fail for want of it.

    Steps are timed only where that takes a moment: not elsewhere, nor on a GPU, whose memory the runs need.
    """
    seconds = SHORT if here and not torch.cuda.is_available() else 0
    try:
        return estimate(profile, workers=workers, runs=runs, seconds=seconds)
    except (KeyError, TypeError, ValueError, OSError) as error:
        return f"no estimate: {type(error).__name__}: {error}"


def _by(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))
