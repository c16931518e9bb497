"""Cost, side by side: functions that do the same job take turns in one process, on one thread; only ratios are worth quoting."""

import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from kitsnb import losses


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside, as many as before outside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def median_seconds(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU time of each function over ``repeats`` rounds, each in another random order.

    A function pays for the memory that the one before it gave back, hence the orders. Only time of the calling thread
    counts, so other processes disturb little; call inside ``one_thread``.
    """
    order, seconds = random.Random(0), {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name in order.sample(list(functions), len(functions)):
            started = time.thread_time()
            functions[name]()
            seconds[name].append(time.thread_time() - started)
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}  # the first round warms up


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on standard error inside: torch's profiler writes two lines a use there, past Python."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def peak_bytes(function: Callable[[], object]) -> int:
    """Most memory that torch held on the CPU at a time for ``function``, beyond what it held before."""
    function()
    with _quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def cost_of_losses(functions: Mapping[str, Callable], logits: torch.Tensor, target: torch.Tensor, repeats: int) -> dict[str, dict]:
    """Forward and backward of each loss: ``milliseconds`` (median), and ``memory``, the peak in units of the logits' size."""
    logits = logits.detach().requires_grad_()
    steps = {name: lambda loss=loss: torch.autograd.grad(loss(logits, target), logits) for name, loss in functions.items()}
    with one_thread():
        seconds = median_seconds(steps, repeats)
        held = {name: peak_bytes(step) for name, step in steps.items()}
    size = logits.numel() * logits.element_size()
    return {name: {"milliseconds": 1000 * seconds[name], "memory": held[name] / size} for name in functions}


def against_monai(sizes: Sequence[Sequence[int]], repeats: int) -> list[dict]:
    """``cost_of_losses`` of four losses and of MONAI's, on random logits of each of ``sizes`` [B, C, *spatial].

    A row a loss and size: ``loss``, ``size``, ``milliseconds`` and ``memory`` here, ``time_ratio`` and ``memory_ratio`` to
    MONAI's. Needs the package monai.
    """
    from monai.losses import DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss

    options = {"softmax": True, "to_onehot_y": True}
    pairs = {
        "Dice": (losses.DiceLoss(), DiceLoss(**options)),
        "Tversky": (losses.TverskyLoss(), TverskyLoss(alpha=0.3, beta=0.7, **options)),  # MONAI's alpha: false positives
        "generalized Dice": (losses.GeneralizedDiceLoss(), GeneralizedDiceLoss(**options)),
        "focal": (losses.FocalLoss(), FocalLoss(use_softmax=True, to_onehot_y=True)),
    }
    rows = []
    for batch, classes, *spatial in sizes:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(batch, classes, *spatial, generator=generator)
        target = torch.randint(0, classes, (batch, 1, *spatial), generator=generator)
        both = {(name, who): loss for name, pair in pairs.items() for who, loss in zip(("here", "peer"), pair)}
        found = cost_of_losses(both, logits, target, repeats)
        for name in pairs:
            here, peer = found[name, "here"], found[name, "peer"]
            ratios = {"time_ratio": here["milliseconds"] / peer["milliseconds"], "memory_ratio": here["memory"] / peer["memory"]}
            rows.append({"loss": name, "size": [batch, classes, *spatial], **here, **ratios})
    return rows
