"""Cost, side by side: functions that do the same job take turns in one process, on one thread; only ratios are worth quoting."""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile


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


def peak_bytes(function: Callable[[], object]) -> int:
    """Most memory that torch held on the CPU at a time for ``function``, beyond what it held before."""
    function()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
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


def cost_of_losses(losses: Mapping[str, Callable], logits: torch.Tensor, target: torch.Tensor, repeats: int) -> dict[str, dict]:
    """Forward and backward of each loss: ``milliseconds`` (median), and ``memory``, the peak in units of the logits' size."""
    logits = logits.detach().requires_grad_()
    steps = {name: lambda loss=loss: torch.autograd.grad(loss(logits, target), logits) for name, loss in losses.items()}
    with one_thread():
        seconds = median_seconds(steps, repeats)
        held = {name: peak_bytes(step) for name, step in steps.items()}
    size = logits.numel() * logits.element_size()
    return {name: {"milliseconds": 1000 * seconds[name], "memory": held[name] / size} for name in losses}
