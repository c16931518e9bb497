"""The machine that a run trains on: its arithmetic, threads and memory."""

import resource
import sys
from typing import Any

import torch

from kitsnb.training.settings import Training


def choose_precision(settings: Training) -> str:
    """Return the precision of a run: the one that ``settings`` name; for "auto" 16 bits on a GPU, else float32.

    Raises ValueError for 16 bits on a CPU: where a level of the network is two slices deep, torch 2.13 returns wrong
    gradients of a convolution's weights there, in silence.
    """
    named = settings.precision
    if not torch.cuda.is_available():
        if named not in ("auto", "32-true"):
            raise ValueError(f'precision "{named}" needs a GPU; on a CPU take "auto" or "32-true"')
        return "32-true"
    if named != "auto":
        return named
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def describe_machine(settings: Training) -> dict[str, Any]:
    """Return the facts of a run that is to begin on this machine."""
    gpu = torch.cuda.is_available()
    return {
        "device": "cuda" if gpu else "cpu",
        "machine": torch.cuda.get_device_name() if gpu else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": choose_precision(settings),
        "peak_memory_mb": 0,
    }


def peak_memory() -> int:
    """Return the most memory held so far, MB: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
