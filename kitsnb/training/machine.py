"""The machine that a run trains on: its arithmetic, threads and memory."""

import resource
from typing import Any

import torch

from kitsnb.training.settings import Training


def choose_precision(settings: Training) -> str:
    """Return the precision that ``settings`` name; for "auto" 16 bits on a GPU, else float32.

    Raises ValueError on a CPU for float16, and for bfloat16 where a level of the network is two slices deep: there
    torch 2.13 silently returns wrong gradients of a convolution's weights.
    """
    named = settings.precision
    if torch.cuda.is_available():
        if named != "auto":
            return named
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if named == "16-mixed":
        raise ValueError('precision "16-mixed" needs a GPU; on a CPU take "auto" or "32-true"')
    slices = settings.patch_size[0]
    shallow = [2 ** (level + 1) for level in range(settings.network.depth + 1)]
    if named == "bf16-mixed" and slices in shallow:
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
    """Return the most memory held so far, MB: of the GPU where there is one, else of this process (on Linux)."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
