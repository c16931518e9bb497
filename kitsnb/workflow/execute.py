"""One notebook, executed in a kernel of its own through papermill; success is what this module saw, not metadata."""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kitsnb.files import ROOT

#: For kernels. Idle threads sleep, and freed memory is kept for the next step. Else every activation is mapped anew, and on
#: virtual machines most of a training step is spent on page faults.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm misses widgets, which an executed notebook cannot show anyway
}


@dataclass(frozen=True)
class Failure:
    """Where and why a notebook stopped."""

    notebook: str
    cell: str
    message: str
    dead_kernel: bool = False


def kernel_manager(sockets: str, started: Callable[[int], None] | None = None):
    """A kernel manager that starts this very interpreter, over IPC sockets in a folder of their own.

    Parallel kernels race for TCP ports, and IPC sockets without a folder would share one name. ``started`` is told the
    process group of each kernel.
    """
    from jupyter_client import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        def __init__(self, **settings):
            own = {"transport": "ipc", "ip": f"{sockets}/kernel", "connection_file": f"{sockets}/kernel.json"}
            super().__init__(**settings | own)

        def format_kernel_cmd(self, extra_arguments=None):
            return [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file, *(extra_arguments or [])]

        async def start_kernel(self, **settings):
            await super().start_kernel(**settings)
            if started:
                started(self.provisioner.pgid)

    return OwnKernel


def execute(notebook: Path, output: Path, parameters: dict, threads: int | None = None,
            started: Callable[[int], None] | None = None) -> Failure | None:
    """Execute a py:percent ``notebook`` in the repository's root and write it to ``output`` (.ipynb), also when it fails.

    ``started`` is called with the process group of the kernel, so that another thread can end it.
    """
    import jupytext
    import papermill
    from nbformat import write

    logging.getLogger("papermill").setLevel(logging.ERROR)
    os.environ.update(ENVIRONMENT | ({"OMP_NUM_THREADS": str(threads)} if threads else {}))
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}")
    node = jupytext.read(notebook)
    node.metadata.pop("jupytext", None)
    failure = None
    try:
        # A folder below /tmp: socket paths may have about 100 characters, which a home folder can exceed.
        with tempfile.TemporaryDirectory(prefix="kitsnb-", dir="/tmp") as sockets:
            os.environ["JUPYTER_RUNTIME_DIR"] = sockets
            papermill.execute_notebook(
                node, str(partial), parameters, kernel_name="python3", progress_bar=False, cwd=str(ROOT),
                kernel_manager_class=kernel_manager(sockets, started),
            )
    except papermill.PapermillExecutionError as error:
        head = "\n".join(error.source.strip().splitlines()[:3])
        failure = Failure(str(output), f"In [{error.exec_count}]: {head}", f"{error.ename}: {error.evalue}")
    except Exception as error:  # a dead kernel, a full disk: whatever it is, the job has failed
        kind = type(error).__name__
        failure = Failure(str(output), "", f"{kind}: {error}", dead_kernel=kind == "DeadKernelError")
    if partial.exists():
        done = papermill.iorw.load_notebook_node(str(partial))
        done.metadata.pop("widgets", None)
        write(done, partial)
        partial.replace(output)
    return failure and replace(failure, message=re.sub(r"\x1b\[[0-9;]*m", "", failure.message))
