"""In which arithmetic a run is trained: asked of the GPU, or tried on the CPU.

No list of processors: bfloat16 is 2.6 times faster than float32 on a CPU with AMX, and 17 times slower on AVX2 alone.
"""

import math
import os
import platform
import time
from pathlib import Path

import torch
from filelock import FileLock

from kitsnb.files import read_json, write_json
from kitsnb.training.settings import Training

#: bfloat16 is taken where it needs less than this share of float32's time: in doubt, float32.
CLEARLY_FASTER = 0.95
#: Seconds for trying, about, and voxels of a patch to try on, at most.
SECONDS, VOXELS = 0.8, 48**3
#: Filters and depth of a network to try, at most.
WIDTH, DEPTH = 16, 3


def choose_precision(settings: Training, folder: Path) -> str:
    """Lightning's name of the precision for a run: what ``settings`` name, or for "auto" what is fastest here.

    On a CPU, some steps of the run's own network decide; the answer is kept in ``folder/precision.json``, so that all
    runs of a build on one machine take the same. ValueError for what the device lacks.
    """
    check_precision(settings.precision)
    if settings.precision != "auto":
        return settings.precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    folder.mkdir(parents=True, exist_ok=True)
    path, key = folder / "precision.json", f"{machine()} / {settings.network.as_json()} / {list(settings.patch_size)}"
    with FileLock(folder / ".precision.lock"):
        known = read_json(path)
        if key not in known:
            seconds = try_out(settings)
            faster = seconds["bf16-mixed"] < CLEARLY_FASTER * seconds["32-true"]
            known[key] = {"precision": "bf16-mixed" if faster else "32-true", "seconds": seconds}
            write_json(path, known)
    found = known[key]
    times = ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in found["seconds"].items())
    print(f"precision: {found['precision']} (auto; a step on a small patch: {times})", flush=True)
    return found["precision"]


def check_precision(name: str) -> None:
    """ValueError for a precision that this machine's GPU lacks, or that needs one."""
    gpu = torch.cuda.is_available()
    if name == "16-mixed" and not gpu:
        raise ValueError('precision "16-mixed" needs a GPU; on a CPU take "auto", "bf16-mixed" or "32-true"')
    if name == "bf16-mixed" and gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError('precision "bf16-mixed" is not in this GPU; take "auto", "16-mixed" or "32-true"')


def machine() -> str:
    """What decides how fast a CPU is at either: its name, what oneDNN may use of it, and torch."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
                platform.processor())
    return f"{name}, {os.environ.get('ONEDNN_MAX_CPU_ISA', 'all')}, torch {torch.__version__}"


def try_out(settings: Training) -> dict[str, float]:
    """Processor seconds of a step, the best of some, by turns; about ``SECONDS`` in all."""
    from kitsnb.training.module import TimedStep  # Lightning takes seconds to import

    # Narrower where it is wide: bfloat16 can take minutes where the processor does not have it.
    own, sides = settings.network, list(settings.patch_size)
    own = own.changed(base_filters=min(own.base_filters, WIDTH), depth=min(own.depth, DEPTH))
    least = 2**own.depth
    while math.prod(sides) > VOXELS and max(sides) >= 2 * least:
        longest = sides.index(max(sides))
        sides[longest] = max(least, sides[longest] // 2 // least * least)
    batch = min(settings.batch_size, 2)  # one patch takes another way through oneDNN than two
    tried, clock = Training(network=own, batch_size=batch), time.process_time  # other processes do not count
    with torch.random.fork_rng(devices=[]):
        steps = {name: TimedStep(tried, "cpu", name) for name in ("32-true", "bf16-mixed")}
        warm = {name: [step.seconds([2 * least] * 3, clock) for _ in range(2)][-1] for name, step in steps.items()}
        if warm["bf16-mixed"] > 3 * warm["32-true"]:  # plain already, and a whole patch might take a minute
            return warm
        times, ends = [], time.perf_counter() + SECONDS
        while len(times) < 2 or time.perf_counter() < ends:
            times.append([step.seconds(sides, clock) for step in steps.values()])
    return dict(zip(steps, map(min, zip(*times[1:]))))
