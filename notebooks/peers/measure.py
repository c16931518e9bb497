"""Cost, side by side: functions that do the same job take turns in one process, on one thread; only ratios are worth
quoting.

Linux only where memory of the process is asked for.
"""

import ctypes
import json
import os
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


def beside(job: str, peer: str, here: Callable, there: Callable, repeats: int,
           memory: Callable | None = None, per: int = 1) -> dict:
    """A row: ``job``, ``peer``, ``milliseconds`` (of one in ``per``) and ``megabytes`` of ``here``, and both as ratios
    to ``there``.

    ``memory`` is how memory is measured, ``peak_bytes`` or ``peak_process_bytes``; None: not at all.
    """
    with one_thread():
        # Memory first: what this process has used and given back would be there for its children to use, uncounted.
        held = [memory(function) for function in (here, there)] if memory else None
        seconds = median_seconds({"here": here, "peer": there}, repeats)
    return {"job": job, "peer": peer,
            "milliseconds": 1000 * seconds["here"] / per, "time_ratio": seconds["here"] / seconds["peer"],
            "megabytes": held and held[0] / 1e6, "memory_ratio": held and held[0] / held[1]}


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


def peak_process_bytes(function: Callable[[], object]) -> int:
    """Most resident memory that a child process needed for ``function``, beyond what it held before: numpy, torch and
    all.

    Give back large arrays before the call, and let ``function`` touch what it works on. Raises RuntimeError where the
    child fails.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            ctypes.CDLL(None).malloc_trim(0)  # pages that the heap keeps for later would hide what is asked for
            before = _resident("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            function()
            os.write(writer, str(max(0, _resident("VmHWM") - before)).encode())
            status = 0
        finally:
            os._exit(status)  # a forked child must never return into its parent's program
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    if os.waitpid(child, 0)[1] or not answer:
        raise RuntimeError("the measured function failed in its child process")
    return int(answer)


def _resident(field: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (at most so far) of this process, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])
