"""One notebook in a process of its own: ``python -m kitsnb.workflow.execute TASK.json``, which ``launch`` starts.

Its result file says how the notebook ended. Without one, the process, its kernel or its machine was lost. Of a run on
many devices, the launch command starts a task a device, as torchrun or SLURM's srun do: each trains, and the first one
then executes the notebook, which finds its training done.
"""

import ast
import json
import logging
import os
import re
import shutil
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kitsnb.files import ROOT, Build, replaced, write_json

#: For kernels. Idle threads sleep, and freed memory is kept for the next step. Else every activation is mapped anew,
#: and on virtual machines most of a training step is spent on page faults.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm misses widgets, which no executed notebook could show
}
#: Kernels' folders: below /tmp, as socket paths may have about 100 characters, which a home folder can exceed.
SOCKETS = Path("/tmp")
#: Seconds between signs of life.
PULSE = 10.0


@dataclass(frozen=True)
class Failure:
    """Where and why a notebook stopped; ``lost``: its process was killed, and may go on from its checkpoint."""

    notebook: str
    cell: str
    message: str
    lost: bool = False


def kernel_manager(sockets: str, started: Callable[[int], None]):
    """A kernel manager that starts this very interpreter, over IPC sockets in a folder of their own.

    Parallel kernels race for TCP ports, and IPC sockets without a folder would share one name. ``started`` is called
    with the process group of each kernel.
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
            started(self.provisioner.pgid)

    return OwnKernel


def execute(notebook: Path, output: Path, parameters: dict, started: Callable[[int], None]) -> Failure | None:
    """Execute a text ``notebook`` in the repository's root and write it to ``output`` (.ipynb), also when it fails."""
    import jupytext
    import papermill
    from nbformat import write

    logging.getLogger("papermill").setLevel(logging.ERROR)
    node = jupytext.read(notebook)
    node.metadata.pop("jupytext", None)
    failure = None
    with replaced(output) as partial:
        try:
            with tempfile.TemporaryDirectory(prefix=f"kitsnb-{os.getpid()}-", dir=SOCKETS) as sockets:
                os.environ["JUPYTER_RUNTIME_DIR"] = sockets
                papermill.execute_notebook(
                    node, str(partial), parameters, kernel_name="python3", progress_bar=False, cwd=str(ROOT),
                    kernel_manager_class=kernel_manager(sockets, started))
        except papermill.PapermillExecutionError as error:
            head = "\n".join(error.source.strip().splitlines()[:3])
            failure = Failure(str(output), f"In [{error.exec_count}]: {head}", f"{error.ename}: {error.evalue}")
        except Exception as error:  # a full disk: whatever it is, the job has failed
            lost = type(error).__name__ == "DeadKernelError"
            message = "its kernel was killed (out of memory?)" if lost else f"{type(error).__name__}: {error}"
            failure = Failure(str(output), "", message, lost)
        done = papermill.iorw.load_notebook_node(str(partial)) if partial.exists() else node
        done.metadata.pop("widgets", None)
        write(done, partial)
    return failure and replace(failure, message=re.sub(r"\x1b\[[0-9;]*m", "", failure.message))


def remove_leftovers(folder: Path = SOCKETS) -> None:
    """Remove the folders of kernels whose process was killed before it could do so."""
    for path in folder.glob("kitsnb-*-*"):
        process = path.name.split("-")[1]
        if process.isdigit() and not Path("/proc", process).exists() and Path("/proc/self").exists():
            shutil.rmtree(path, ignore_errors=True)


def end_with_parent() -> None:
    """End this process as by SIGTERM when its standard input closes, as it does however the one that started it dies.

    Where standard input is neither a pipe nor a socket, nobody watches over this process.
    """
    mode = os.fstat(0).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return

    def watch() -> None:
        while os.read(0, 1024):
            pass
        print("standard input was closed: the command that started this has ended", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def find_task() -> tuple[int, int]:
    """This task's number and how many there are; (0, 1) where a launch command started this process alone."""
    size = next((os.environ[name] for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS") if name in os.environ), 1)
    rank = next((os.environ[name] for name in ("RANK", "SLURM_PROCID") if name in os.environ), 0)
    return int(rank), int(size)


def train_task(parameters: dict, size: int) -> None:
    """The part of one of ``size`` tasks in a training, with the cases and settings that the notebook takes, too.

    Raises ValueError where the settings want another number of devices.
    """
    from kitsnb.data.cases import discover, hold_out
    from kitsnb.data.settings import DataSettings
    from kitsnb.preprocessing.arrays import cases_below
    from kitsnb.training.run import train
    from kitsnb.training.settings import Training

    settings = Training.among(parameters)
    if settings.devices != size:
        raise ValueError(f"the launch command starts {size} tasks a run, but the run has devices {settings.devices}; "
                         "make them equal")
    build = Build(parameters["build"])
    cases = hold_out(discover(build.cases(parameters["source"], parameters["folder"])), DataSettings.among(parameters),
                     parameters["fold"] or 0)
    parts = [cases_below(build.preprocessed, part) for part in (cases.training, cases.validation)]
    train(settings, *parts, build.run(parameters["experiment"], parameters["seed"], parameters["fold"]))


def lost_another(error: Exception) -> bool:
    """Is ``error`` what a task sees when another one is gone? That one's end says why, or nothing does."""
    import torch.distributed as dist

    text = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in text or "nccl" in text or "connection" in text


def do(task: dict, rank: int, size: int, started: Callable[[int], None]) -> Failure | None:
    """This process's part of ``task``: one device's training where there are many, and for the first the notebook."""
    parameters = ast.literal_eval(task["parameters"])
    if size > 1:
        try:
            train_task(parameters, size)
        except Exception as error:
            if lost_another(error):
                raise
            return Failure(task["output"], "training", f"{type(error).__name__}: {error}")
        for name in [name for name in os.environ if name.startswith(("TORCHELASTIC_", "SLURM_"))]:
            del os.environ[name]  # the notebook is alone
    return execute(Path(task["notebook"]), Path(task["output"]), parameters, started) if rank == 0 else None


def main(path: Path) -> None:
    """Do the task in ``path``, show signs of life on the way, and write its result."""
    task = json.loads(path.read_text())
    kernels: list[int] = []

    def end(number, _) -> None:
        for group in kernels:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    end_with_parent()
    remove_leftovers()
    threads = task["threads"] or os.environ.get("OMP_NUM_THREADS") or os.environ.get("SLURM_CPUS_PER_TASK")
    os.environ.update(ENVIRONMENT | ({"OMP_NUM_THREADS": str(threads)} if threads else {}))
    job, host = os.environ.get("SLURM_JOB_ID"), os.uname().nodename
    where = f"SLURM job {job} on {host}" if job else f"process {os.getpid()} on {host}"
    rank, size = find_task() if task["behind_command"] else (0, 1)
    found: list[Failure | None] = []
    work = threading.Thread(target=lambda: found.append(do(task, rank, size, kernels.append)), daemon=True)
    work.start()
    while work.is_alive():  # this thread stays free for signals
        if rank == 0:
            write_json(Path(task["mark"]), {"where": where, "attempt": task["attempt"]})
        work.join(PULSE)
    if not found:
        sys.exit(1)
    if rank == 0 or found[0]:
        write_json(Path(task["result"]), {"failure": found[0] and asdict(found[0])})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
