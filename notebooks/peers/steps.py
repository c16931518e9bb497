"""A step of training in each precision and layout, beside what its arithmetic would take: which is best hangs on the
machine.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import torch

from kitsnb.files import NOTEBOOKS
from kitsnb.training.module import TimedStep
from kitsnb.training.settings import Training
from kitsnb.workflow.cost import count_arithmetic
from kitsnb.workflow.profile import read
from peers.measure import one_thread

#: Profiles whose network and patch are timed.
PROFILES = {"quick": "quick.yml", "hybrid": "hybrid.yml", "the paper's": "kits19.yml"}
#: Precisions that each kind of device knows, and the type of their products.
PRECISIONS = {"cpu": {"32-true": torch.float32, "bf16-mixed": torch.bfloat16},
              "cuda": {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}}
CLOCKS = {"cpu": time.thread_time, "cuda": time.perf_counter}
LAYOUTS = {"channels last": torch.channels_last_3d, "contiguous": torch.contiguous_format}


def settings_of(file: str) -> Training:
    """What a profile says of its training, by the file's name below ``notebooks/profiles``."""
    return Training.among(read(NOTEBOOKS / "profiles" / file)["training"])


def compare_steps(repeats: int, device: str | None = None, networks: Mapping[str, Training] | None = None,
                  side: int | None = None) -> list[dict]:
    """A row for each of ``networks`` (None: of ``PROFILES``), precision and layout: ``seconds`` a step (the least),
    ``floor``.

    ``floor`` is how long the step's arithmetic takes in products of square matrices (of ``side``) of that precision
    here. On the GPU where there is one, else on one CPU thread, whose own time counts.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    networks = networks or {name: settings_of(file) for name, file in PROFILES.items()}
    side = side or {"cuda": 8192, "cpu": 2048}[place.type]
    with one_thread() if place.type == "cpu" else nullcontext():
        peaks = {precision: _peak(place, kind, side) for precision, kind in PRECISIONS[place.type].items()}
        return [row for name, settings in networks.items() for row in _rows(name, settings, place, peaks, repeats)]


def _rows(name: str, settings: Training, place: torch.device, peaks: dict[str, float], repeats: int) -> list[dict]:
    operations = settings.batch_size * count_arithmetic(settings.network.model_dump(), settings.patch_size).training
    rows = []
    for precision, peak in peaks.items():
        for layout in LAYOUTS:
            step = TimedStep(settings, place.type, precision, LAYOUTS[layout])
            seconds = _least(lambda step=step: step.seconds(settings.patch_size, CLOCKS[place.type]), repeats)
            rows.append({"network": name, "precision": precision, "layout": layout,
                         "seconds": seconds, "floor": operations / peak})
    return rows


def _peak(place: torch.device, kind: torch.dtype, side: int) -> float:
    """Operations a second of products of square matrices: what this device can do, measured and not typed."""
    a, b = torch.randn(2, side, side, device=place, dtype=kind).unbind()

    def product() -> float:
        began = _now(place)
        a @ b
        return _now(place) - began

    return 2 * side**3 / _least(product, 5)


def _least(timed: Callable[[], float], repeats: int) -> float:
    """The least of ``repeats`` times; a first call warms up, and is all where it takes more than a minute."""
    times = []
    while len(times) <= repeats and (not times or times[0] < 60):
        times.append(timed())
    return min(times[1:] or times)


def _now(place: torch.device) -> float:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    return CLOCKS[place.type]()
