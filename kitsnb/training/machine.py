"""The machine that a run trains on: its arithmetic, threads and memory."""

import resource
import sys
from typing import Any

import torch

from kitsnb.training.settings import Training


def choose_precision(settings: Training) -> str:
    """Return the precision of a run: the one that ``settings`` name; for "auto" 16 bits on a GPU, else float32.

    Raises ValueError for float16 on a CPU, and for bfloat16 on a CPU where a level of the network is two slices deep:
    there torch 2.13 returns wrong gradients of a convolution's weights, in silence.
    """
    named = settings.precision
    gpu = torch.cuda.is_available()
    if gpu and named == "auto":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if named == "16-mixed" and not gpu:
        raise ValueError('precision "16-mixed" needs a GPU; on a CPU take "auto", "bf16-mixed" or "32-true"')
    slices = settings.patch_size[0]
    if named == "bf16-mixed" and not gpu and slices in [2 * 2**level for level in range(settings.network.depth + 1)]:
        raise ValueError('precision "bf16-mixed" on a CPU: a level of the network is 2 slices deep, where torch '
                         f'computes wrong gradients; take "32-true", or a patch_size[0] other than {slices}')
    return "32-true" if named == "auto" else named


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
