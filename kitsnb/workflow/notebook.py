"""One notebook in a process of its own: ``python -m kitsnb.workflow.notebook TASK.json``, which ``launch`` starts.

Its result file says how the notebook ended. Without one, the process or its machine was lost.
"""

import json
import logging
import os
import re
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from kitsnb.files import ROOT, replaced, write_json
from kitsnb.messages import threads_of_environment
from kitsnb.workflow.opened import RUNNER

#: For kernels. Idle threads sleep, and freed memory is kept for the next step. Else every activation is mapped again,
#: and on virtual machines most of a training step is spent on page faults.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm misses widgets, which no executed notebook could show
    "PYTHONUTF8": "1",
}


def kernel_manager(sockets: str, groups: list[int]):
    """Return a kernel manager that starts this very interpreter and adds its process group to ``groups``.

    Parallel kernels race for TCP ports, and IPC sockets without a folder (``sockets``) would share one name.
    """
    from jupyter_client import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        def __init__(self, **settings):
            files = {"ip": f"{sockets}/kernel", "connection_file": f"{sockets}/kernel.json"}
            super().__init__(**settings | files | {"transport": "ipc"})

        def format_kernel_cmd(self, extra_arguments=()):
            return [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file, *extra_arguments]

        async def start_kernel(self, **settings):
            await super().start_kernel(**settings)
            groups.append(self.provisioner.pgid)

    return OwnKernel


def execute(notebook: Path, output: Path, parameters: dict, groups: list[int]) -> dict | None:
    """Execute a text ``notebook`` in the repository's root and write it to ``output`` (.ipynb), also when it fails.

    Returns None, or of a failure the ``notebook``, the ``cell``, the ``message``.
    """
    import jupytext
    import papermill
    from nbformat import write

    logging.getLogger("papermill").setLevel(logging.ERROR)
    node = jupytext.read(notebook)
    node.metadata.pop("jupytext", None)
    failure = None
    with replaced(output) as partial:
        try:
            with tempfile.TemporaryDirectory(prefix="kitsnb-") as sockets:
                os.environ["JUPYTER_RUNTIME_DIR"] = sockets
                papermill.execute_notebook(
                    node, str(partial), parameters, kernel_name="python3", progress_bar=False, cwd=str(ROOT),
                    report_mode=True, kernel_manager_class=kernel_manager(sockets, groups))
        except papermill.PapermillExecutionError as error:
            head = "\n".join(error.source.strip().splitlines()[:3])
            failure = {"cell": f"In [{error.exec_count}]: {head}", "message": f"{error.ename}: {error.evalue}"}
        except Exception as error:  # a full disk: whatever it is, the job has failed
            message = f"{type(error).__name__}: {error}"
            if message.startswith("DeadKernelError"):
                message = "its kernel was killed (out of memory?)"
            failure = {"cell": "", "message": message}
        done = papermill.iorw.load_notebook_node(str(partial)) if partial.exists() else node
        done.metadata.pop("widgets", None)
        write(done, partial)
    if failure:
        failure["message"] = re.sub(r"\x1b\[[0-9;]*m", "", failure["message"])
        failure["notebook"] = str(output)
    return failure


def main(path: Path) -> None:
    """Do the task in ``path`` and write its result; end together with all kernels when told to end."""
    task = json.loads(path.read_text(encoding="utf-8"))
    groups: list[int] = []

    def end(number, _) -> None:
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, end)
    threads = task["threads"] or threads_of_environment() or os.environ.get("SLURM_CPUS_PER_TASK")
    os.environ.update(ENVIRONMENT)
    os.environ[RUNNER] = task["build"]
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    failure = execute(Path(task["notebook"]), Path(task["output"]), task["parameters"], groups)
    write_json(Path(task["result"]), {"failure": failure})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
