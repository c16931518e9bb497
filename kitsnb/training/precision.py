"""In which arithmetic a run is trained, with how many threads, and on what machine."""

import os
import platform
from pathlib import Path

import torch

from kitsnb.training.settings import Training


def choose_precision(settings: Training) -> str:
    """Return the precision of a run: the one that ``settings`` name; for "auto" 16 bits on a GPU, else float32.

    Raises ValueError for what this machine lacks, and for bfloat16 on a CPU where the network has a level of two
    slices: there torch 2.13 returns wrong gradients of the weights of a convolution, in silence.
    """
    gpu = torch.cuda.is_available()
    gpu_has_bf16 = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    if settings.precision == "auto":
        if not gpu:
            return "32-true"
        return "bf16-mixed" if gpu_has_bf16 else "16-mixed"
    if settings.precision == "16-mixed" and not gpu:
        raise ValueError('precision "16-mixed" needs a GPU; on a CPU take "auto", "bf16-mixed" or "32-true"')
    if settings.precision == "bf16-mixed" and gpu and not gpu_has_bf16:
        raise ValueError('precision "bf16-mixed" is not in this GPU; take "auto", "16-mixed" or "32-true"')
    if settings.precision == "bf16-mixed" and not gpu:
        check_levels(settings)
    return settings.precision


def check_levels(settings: Training) -> None:
    """Raise ValueError where a level of the network is two slices deep."""
    slices = settings.patch_size[0]
    for level in range(settings.network.depth + 1):
        if slices == 2 * 2**level:
            raise ValueError(
                f'precision "bf16-mixed" on a CPU: with patch_size {list(settings.patch_size)}, level {level} of the '
                f"network is 2 slices deep, where torch computes wrong gradients in bfloat16; take "
                f'"32-true", or a patch_size[0] other than {slices}')


def threads() -> int:
    """Return the number of threads to compute with: OpenMP's own ``OMP_NUM_THREADS``, else one per core.

    OpenMP takes a list, such as "4,2", for nested regions; its first number is that of the outermost one.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        return int(first)
    return os.cpu_count() or 1


def machine() -> str:
    """Return what decides how fast a CPU is: its name, what oneDNN may use of it, and torch's version."""
    name = platform.processor()
    details = Path("/proc/cpuinfo")
    if details.exists():
        for line in details.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.environ.get('ONEDNN_MAX_CPU_ISA', 'all')}, torch {torch.__version__}"
