"""What a profile will cost, said before anything is trained: runs, steps, time, GPU-hours, memory.

Every line says where its number comes from: "profile" is written there, "computed" follows from it, "measured" was timed
on this machine just now, "assumed" is a guess that can be changed. Costs are upper limits, as early stopping may end a run.
"""

import json
import math
import os
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from kitsnb.cases import Case, discover, select
from kitsnb.inference import Window
from kitsnb.losses import build_loss
from kitsnb.nifti import CaseError, orientation_of, read_header, spacing_of
from kitsnb.parameters import read_parameters
from kitsnb.paths import resolve
from kitsnb.preprocessing import Preprocessing
from kitsnb.profiles import STAGES, Profile
from kitsnb.resampling import grid_size
from kitsnb.unet import UNet3D

#: Bytes a voxel of a training volume takes: image in float16, label in uint8.
VOXEL_BYTES = 3
#: Mean working grid of the real KiTS19 cases under the paper's settings, for where no data are at hand.
PAPER_GRID = (128, 247, 247)
#: Assumed sustained rates in TFLOPS, never measured here: 30 % of what the data sheet of an NVIDIA A100 gives, 156 in TF32
#: (in which PyTorch computes float32 convolutions there unless told otherwise) and 312 in bfloat16 or float16.
ASSUMED_SHARE, PEAK = 0.3, {"32": 156.0, "16": 312.0}
#: What autocast computes in, by Lightning's name of the precision.
AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
#: Seconds that measuring may take: on demand, and before a run.
LONG, SHORT = 12.0, 1.0
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


@dataclass(frozen=True)
class Step:
    """A measured training step: median seconds, how many were timed, and where."""

    seconds: float
    steps: int
    where: str


def settings_of(profile: Profile, stage: str) -> dict:
    """Every parameter of a stage's notebook as the profile runs it, defaults included."""
    declared = read_parameters(profile.notebooks / STAGES[stage])
    return {name: parameter.default for name, parameter in declared.items()} | profile.parameters.get(stage, {})


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
    window = Window(told["patch_size"], told["overlap"])
    windows = [math.prod(map(len, window.starts(shape))) for shape in found]
    grid = tuple(round(sum(axis) / len(found)) for axis in zip(*found))
    return Cases(len(wanted), grid, sum(map(math.prod, found)) / len(found), sum(windows) / len(found), known)


def _shapes(profile: Profile, told: dict, settings: Preprocessing) -> tuple[dict[int, tuple] | None, str]:
    """Shapes on the working grid by the case's number (None: not known), and how they are known."""
    report = profile.build.preprocessed / "report.json"
    if report.is_file():
        content = json.loads(report.read_text())
        if content.get("settings") == json.loads(json.dumps(asdict(settings))):
            return {Case(Path(name)).number: tuple(row["shape"]) for name, row in content["rows"].items()}, "preprocessed cases"
    if told["source"] == "phantom":
        from kitsnb.phantom import simulate_case

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


def measure_step(profile: Profile, flops: int, memory: int, threads: int, seconds: float) -> Step | str:
    """Time real training steps (network, loss, Adam; random patches) for about ``seconds``, or say why not.

    ``flops`` and ``memory`` (bytes) of a step decide beforehand whether it fits.
    """
    told = settings_of(profile, "training")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if told["precision"] not in AUTOCAST:
        return f"precision {told['precision']} is not measured"
    if device == "cpu" and memory > (free := _free_memory()):
        return f"a step needs {memory / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if device == "cpu" and (guess := 3 * flops / _matrix_rate()) > seconds:
            return f"three steps would take about {guess:.0f} s"
        return _timed(told, profile.experiments[0], device, seconds, threads)
    finally:
        torch.set_num_threads(before)


def _free_memory() -> float:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not every system tells
        return math.inf


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
    checking = (told["epochs"] + cases.windows) * _held_out(told, cases, profile.folds) * work.forward
    total = steps * batch * work.training + checking
    network, activations = 16 * work.parameters, batch * work.activations  # weights, gradients, Adam's two moments: 4 bytes each
    volumes = cases.number * cases.voxels * VOXEL_BYTES
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
        ("volumes", f"{cases.number} cases of about {_by(cases.grid)} voxels, {VOXEL_BYTES} bytes each: {volumes / 1e9:.2f} GB", cases.known),
        ("network", f"{work.parameters / 1e6:.1f} M parameters with gradients and Adam {network / 1e9:.2f} GB, "
                    f"activations {activations / 1e9:.2f} GB", "computed"),
        ("memory", f"{(volumes + network + activations) / 1e9:.2f} GB a run, beside what the libraries need", "sum of these"),
    ]
    lines = [f"{profile.title}: upper limits, since a run stops after {_plural(told['stop_patience'], 'epoch')} without improvement"]
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


def _held_out(told: dict, cases: Cases, folds: int | None) -> float:
    """Cases that a run holds out, on average."""
    if folds:
        return cases.number / folds
    split = select([Case(Path(f"case_{n:05d}")) for n in range(told["validation"][0], told["validation"][1] + 1)],
                   told["training"], told["validation"], told["excluded"])
    return min(len(split.validation), cases.number)


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


def before_start(profile: Profile, workers: int, runs: int) -> str:
    """The estimate in short, for ``runs`` that are about to start: steps are timed only where that takes a moment.

    Never on a GPU, where this process would keep memory that the runs need. A message where no estimate can be made: a run
    must not fail for want of one.
    """
    try:
        return estimate(profile, workers=workers, runs=runs, seconds=0 if torch.cuda.is_available() else SHORT)
    except (KeyError, TypeError, ValueError, OSError) as error:
        return f"no estimate: {type(error).__name__}: {error}"
