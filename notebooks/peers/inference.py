"""Our sliding window against MONAI's: time a patch and memory of everything but the network."""

import itertools

import torch

from kitsnb.inference.sliding_window import Window, slide
from peers.measure import median_seconds, one_thread, peak_process_bytes

#: Shape of the volume, and the window: the paper's on its median working grid, and the quick profile's.
CASES = (
    ((130, 200, 200), Window(patch_size=(80, 80, 80), overlap=(40, 40, 40))),
    ((40, 80, 88), Window(patch_size=(32, 48, 48), overlap=(16, 24, 24))),
)


def trivial(patches: torch.Tensor) -> torch.Tensor:
    """A network that costs no more than a copy: its input three times. (MONAI writes into what it gets, so no view.)"""
    return patches.repeat(1, 3, 1, 1, 1)


def compare(repeats: int) -> list[dict]:
    """Sliding window with a ``trivial`` network, against MONAI's with ``mode="gaussian"``, for each of ``CASES``.

    A row a case: ``job``, ``peer``, ``milliseconds`` of CPU time a patch here and ``time_ratio`` to the peer's,
    ``megabytes`` (peak of the process, with the result) here and ``memory_ratio``. Needs the package monai.
    """
    import monai
    from monai.inferers import sliding_window_inference

    rows = []
    for shape, window in CASES:
        volume = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        share = [o / p for o, p in zip(window.overlap, window.patch_size)]
        functions = {
            "here": lambda v=volume, w=window: slide(trivial, v, w, 3),
            "peer": lambda v=volume, w=window, s=share: sliding_window_inference(
                v[None, None], w.patch_size, w.batch_size, trivial, overlap=s, mode="gaussian"),
        }
        patches = len(list(itertools.product(*window.starts(shape))))
        with one_thread():
            seconds = median_seconds(functions, repeats)
            held = {name: peak_process_bytes(function) for name, function in functions.items()}
        rows.append({
            "job": f"sliding window, patches of {' x '.join(map(str, window.patch_size))}",
            "peer": f"MONAI {monai.__version__}, Gaussian",
            "milliseconds": 1000 * seconds["here"] / patches, "time_ratio": seconds["here"] / seconds["peer"],
            "megabytes": held["here"] / 1e6, "memory_ratio": held["here"] / held["peer"],
        })
    return rows
