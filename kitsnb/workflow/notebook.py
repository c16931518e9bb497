"""One notebook in a process of its own: ``python -m kitsnb.workflow.notebook TASK.json``, which ``launch`` starts.

Its result file says how the notebook ended. Without one, the process or its machine was lost. A kernel ends by itself
within a second or two when this process is gone.
"""

import json
import logging
import os
import sys
import tempfile
from pathlib import Path

from kitsnb.files import ROOT, write_json
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


def execute(notebook: Path, output: Path, parameters: dict) -> str:
    """Execute a text ``notebook`` in the repository's root and write it to ``output`` (.ipynb), also when it fails.

    Returns how it failed, "" where it did not.
    """
    import jupytext
    import papermill
    from traitlets.config import Config

    logging.getLogger("papermill").setLevel(logging.ERROR)
    node = jupytext.read(notebook)
    node.metadata.pop("jupytext", None)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kitsnb-") as sockets:
        # Kernels that start at the same moment would race for TCP ports.
        config = Config(KernelManager={"transport": "ipc", "connection_file": f"{sockets}/kernel.json"})
        try:
            papermill.execute_notebook(
                node, str(output), parameters, kernel_name="python3", progress_bar=False, cwd=str(ROOT),
                report_mode=True, config=config)
        except papermill.PapermillExecutionError as error:
            return f"In [{error.exec_count}]: {error.ename}: {error.evalue}"
        except Exception as error:  # a lost kernel, a full disk: whatever it is, the job has failed
            return f"{type(error).__name__}: {error}"
    return ""


def main(path: Path) -> None:
    """Do the task in ``path``, and write its result."""
    task = json.loads(path.read_text(encoding="utf-8"))
    threads = task["threads"] or threads_of_environment() or os.environ.get("SLURM_CPUS_PER_TASK")
    os.environ.update(ENVIRONMENT)
    os.environ[RUNNER] = task["build"]
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    failure = execute(Path(task["notebook"]), Path(task["output"]), task["parameters"])
    write_json(Path(task["result"]), {"failure": failure})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
