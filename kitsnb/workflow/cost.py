"""What a profile will cost, said before anything is trained: runs, steps, time, GPU-hours, memory.

Every line says where its number comes from: "profile" is written there, "computed" follows from it, "measured" was timed
on this machine just now, "assumed" is a guess that can be changed. Costs are upper limits, as early stopping may end a run.
"""

import math
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from kitsnb.losses import build_loss
from kitsnb.training.volumes import BYTES_A_VOXEL, free_bytes
from kitsnb.unet import UNet3D
from kitsnb.workflow.profile import Profile
from kitsnb.workflow.workload import count_arithmetic, count_cases, held_out, settings_of

#: Assumed sustained rates in TFLOPS, never measured here: 10 %, as one small patch fills no large GPU, of what the data sheet of
#: an NVIDIA A100 gives, 156 in TF32 (in which PyTorch computes float32 convolutions there unless told otherwise) and 312 in
#: bfloat16 or float16.
ASSUMED_SHARE, PEAK = 0.1, {"32": 156.0, "16": 312.0}
#: What autocast computes in, by Lightning's name of the precision.
AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
#: Seconds that measuring may take: on demand, and before a run.
LONG, SHORT = 12.0, 1.0


@dataclass(frozen=True)
class Step:
    """A measured training step: median seconds, how many were timed, and where."""

    seconds: float
    steps: int
    where: str


def measure_step(profile: Profile, flops: int, memory: int, threads: int, seconds: float) -> Step | str:
    """Time real training steps (network, loss, Adam; random patches) for about ``seconds``, or say why not.

    ``flops`` and ``memory`` (bytes) of a step decide beforehand whether it fits.
    """
    told = settings_of(profile, "training")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if told["precision"] not in AUTOCAST:
        return f"precision {told['precision']} is not measured"
    if memory > (free := free_bytes(torch.device(device))):
        return f"a step needs {memory / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if device == "cpu" and (guess := 3 * flops / _matrix_rate()) > seconds:
            return f"three steps would take about {guess:.0f} s"
        return _timed(told, profile.experiments[0], device, seconds, threads)
    finally:
        torch.set_num_threads(before)


def _matrix_rate() -> float:
    """FLOPs a second of a matrix product here, an upper limit for a network."""
    matrix = torch.ones(512, 512)
    matrix @ matrix
    began = time.perf_counter()
    for _ in range(4):
        matrix @ matrix
    return 4 * 2 * 512**3 / max(time.perf_counter() - began, 1e-9)


def _timed(told: dict, experiment, device: str, seconds: float, threads: int) -> Step:
    layout = torch.channels_last_3d
    network = UNet3D(**told["network"]).to(device, memory_format=layout)
    loss, optimizer = build_loss(experiment.loss, **experiment.parameters), torch.optim.Adam(network.parameters())
    shape = (told["batch_size"], *told["patch_size"])
    imaging = torch.randn(shape, device=device)[:, None].to(memory_format=layout)
    labels, kind, times = torch.randint(0, 3, shape, dtype=torch.uint8, device=device), AUTOCAST[told["precision"]], []
    started = time.perf_counter()
    while len(times) < 2 or (len(times) < 20 and time.perf_counter() - started < seconds):  # the first one warms up
        began = time.perf_counter()
        with torch.autocast(device, kind) if kind else nullcontext():
            logits = network(imaging)
        optimizer.zero_grad()
        loss(logits, labels).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {threads} thread{'s' * (threads > 1)}"
    return Step(sorted(times[1:])[len(times[1:]) // 2], len(times) - 1, where)


def assumed_tflops(precision: str) -> float:
    """The assumed sustained rate for Lightning's name of a precision."""
    return ASSUMED_SHARE * PEAK["16" if "16" in precision else "32"]


def estimate(profile: Profile, *, workers: int | None = None, runs: int | None = None, tflops: float | None = None,
             seconds: float = LONG) -> str:
    """The cost of ``profile``, a line each item, with where it comes from in brackets.

    ``runs``: how many are to be trained now, None for all of them. ``tflops`` replaces the assumed rate; steps are measured
    for about ``seconds``, with 0 not at all. Raises ValueError for a profile that trains nothing, and where its ranges hold
    no case.
    """
    if "training" not in profile.stages:
        raise ValueError(f"{profile.name} trains nothing, so there is nothing to estimate")
    told, cases, number = settings_of(profile, "training"), count_cases(profile), len(profile.runs)
    half, batch, workers = "16" in told["precision"], told["batch_size"], workers or profile.workers
    work = count_arithmetic(told["network"], told["patch_size"], half)
    steps = told["epochs"] * told["steps_per_epoch"]
    # A patch a held-out case and epoch, then whole cases.
    checking = (told["epochs"] + cases.windows) * held_out(told, cases, profile.folds) * work.forward
    total = steps * batch * work.training + checking
    network, activations = 16 * work.parameters, batch * work.activations  # weights, gradients, Adam's two moments: 4 bytes each
    volumes = cases.number * cases.voxels * BYTES_A_VOXEL
    rate = tflops or assumed_tflops(told["precision"])
    hours = total / (rate * 1e12) / 3600
    origin = "the rate is given" if tflops else f"the rate is assumed: {ASSUMED_SHARE:.0%} of an A100's data sheet"
    now = f", {runs} of them to train now" if runs not in (None, number) else ""
    rows = [
        ("grid", f"{_product(profile)} = {_plural(number, 'run')}{now}", "profile"),
        ("a run", f"at most {_plural(told['epochs'], 'epoch')} of {_plural(told['steps_per_epoch'], 'step')}: {steps:,} steps, "
                  f"{steps * batch:,} patches of {_by(told['patch_size'])}", "profile"),
        ("arithmetic", f"{work.training / 1e9:.0f} GFLOP a patch, forward and backward; {total / 1e15:,.3g} PFLOP a run, "
                       f"{checking / total:.0%} of it validation and prediction", "computed"),
        ("GPU-hours", f"at most {_hours(hours)} a run, {_hours(hours * number)} in all, at {rate:.3g} TFLOPS sustained", origin),
        *_time_here(profile, told, (total, batch * work.training, network + 2 * activations), workers, runs or number, seconds),
        ("volumes", f"{cases.number} cases of about {_by(cases.grid)} voxels, {BYTES_A_VOXEL} bytes each: {volumes / 1e9:.2f} GB",
         cases.known),
        ("network", f"{work.parameters / 1e6:.1f} M parameters with gradients and Adam {network / 1e9:.2f} GB, "
                    f"activations {activations / 1e9:.2f} GB", "computed"),
        ("memory", f"{(volumes + network + activations) / 1e9:.2f} GB a run, beside what the libraries need", "sum of these"),
    ]
    patience = _plural(told["stop_patience"], "epoch")
    lines = [f"{profile.title}: upper limits, since a run stops after {patience} without improvement"]
    return "\n".join([*lines, *(f"  {name:<13}{text} [{source}]" for name, text, source in rows)])


def _product(profile: Profile) -> str:
    parts = [_plural(len(profile.experiments), "experiment"), _plural(len(profile.seeds), "seed")]
    return " x ".join(parts + ([_plural(profile.folds, "fold")] if profile.folds else []))


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _by(sides) -> str:
    return " x ".join(map(str, sides))


def _hours(hours: float) -> str:
    return f"{hours:.3g}" if hours >= 0.01 else "less than 0.01"


def _time_here(profile: Profile, told: dict, cost: tuple, workers: int, runs: int, seconds: float) -> list[tuple[str, str, str]]:
    """Rows on the time here, from real steps scaled by arithmetic to the whole, or why there are none.

    ``cost``: FLOPs of a run, FLOPs of a step, and bytes of a step.
    """
    total, flops, memory = cost
    threads = 1 if workers > 1 else int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1
    step = measure_step(profile, flops, memory, threads, seconds) if seconds else "left out"
    if isinstance(step, str):
        return [("time here", f"not measured: {step}", "see GPU-hours")]
    run = step.seconds * total / flops
    return [
        ("a step here", f"{step.seconds:.3g} s: network, loss and Adam, without drawing patches",
         f"measured, {_plural(step.steps, 'step')} on {step.where}"),
        ("time here", f"at most {in_words(run)} a run, {in_words(math.ceil(runs / workers) * run)} for {_plural(runs, 'run')}, "
                      f"{workers} at a time", "computed from that step"),
    ]


def in_words(seconds: float) -> str:
    """``seconds`` in the unit that suits: s, min, h or days."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def before_start(profile: Profile, workers: int, runs: int, here: bool = True) -> str:
    """The estimate in short, for ``runs`` that are about to start: steps are timed only where that takes a moment.

    Never on a GPU, where this process would keep memory that the runs need, and not where they are trained elsewhere (``here``
    is False). A message where no estimate can be made: a run must not fail for want of one.
    """
    try:
        return estimate(profile, workers=workers, runs=runs, seconds=SHORT if here and not torch.cuda.is_available() else 0)
    except (KeyError, TypeError, ValueError, OSError) as error:
        return f"no estimate: {type(error).__name__}: {error}"
