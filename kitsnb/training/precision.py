"""In which arithmetic a run is trained, and with how many threads."""

import os

import torch

from kitsnb.training.settings import Training


def choose_precision(settings: Training) -> str:
    """Return the precision of a run: the one that ``settings`` name; for "auto" 16 bits on a GPU, else float32.

    Raises ValueError for what this machine lacks, and for bfloat16 on a CPU where a level of the network is two slices
    deep: there torch 2.13 returns wrong gradients of a convolution's weights, in silence.
    """
    named = settings.precision
    if not torch.cuda.is_available():
        if named == "16-mixed":
            raise ValueError('precision "16-mixed" needs a GPU; on a CPU take "auto", "bf16-mixed" or "32-true"')
        slices = settings.patch_size[0]
        if named == "bf16-mixed" and slices in [2 * 2**level for level in range(settings.network.depth + 1)]:
            raise ValueError(f'precision "bf16-mixed" on a CPU: a level of the network is 2 slices deep, where torch '
                             f'computes wrong gradients; take "32-true", or a patch_size[0] other than {slices}')
        return "32-true" if named == "auto" else named
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if named == "auto":
        return "bf16-mixed" if has_bf16 else "16-mixed"
    if named == "bf16-mixed" and not has_bf16:
        raise ValueError('precision "bf16-mixed" is not in this GPU; take "auto", "16-mixed" or "32-true"')
    return named


def threads() -> int:
    """Return the number of threads to compute with: OpenMP's ``OMP_NUM_THREADS``, else one per core.

    OpenMP takes a list, such as "4,2", for nested regions; its first number is that of the outermost one.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        return int(first)
    return os.cpu_count() or 1
