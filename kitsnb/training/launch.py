"""One run on several devices of this machine: torchrun starts a process a device, and this one listens.

``python -m kitsnb.training.launch TASK.json`` is what each of them runs.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

from kitsnb.data.cases import Case
from kitsnb.files import ROOT, write_json
from kitsnb.training.checkpoints import belongs_to, checkpoint_to_resume
from kitsnb.training.devices import device_of, find_ranks
from kitsnb.training.run import is_finished, summary, train
from kitsnb.training.settings import Training
from kitsnb.training.volumes import load_split

#: Set for processes that shall end with the one that started them: they watch their standard input, which then closes.
WATCHED = "KITSNB_ENDS_WITH_PARENT"
#: Seconds that processes have to end by themselves.
GRACE = 10.0


def launch(settings: Training, training: list[Case], validation: list[Case], folder: Path, *, storage: str = "auto",
           scratch: Path | None = None) -> dict:
    """Train on ``settings.devices`` devices of this machine, and return the run's summary, as ``train`` does.

    ``training`` and ``validation`` are preprocessed cases, which each process loads for itself with ``storage`` and
    ``scratch`` of ``load_volumes``. Lines that tell of an epoch are printed here. Raises ``RuntimeError`` with the cause when a
    process fails; whatever happens to this process, the others end with it.
    """
    belongs = belongs_to(settings.as_json(), [case.name for case in training], [case.name for case in validation])
    found = checkpoint_to_resume(folder, belongs)
    if found and is_finished(settings, found["rows"]):
        return summary(settings, found["rows"], found["device"], found["peak"])
    with tempfile.TemporaryDirectory(prefix="kitsnb-") as scratch:
        task, result = Path(scratch) / "task.json", Path(scratch) / "result.json"
        write_json(task, {
            "settings": settings.as_json(), "training": [str(case.folder) for case in training],
            "validation": [str(case.folder) for case in validation], "folder": str(folder.absolute()),
            "storage": storage, "scratch": scratch and str(scratch), "result": str(result),
        })
        tail = _run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(settings.devices),
                     "-m", "kitsnb.training.launch", str(task)])
        answer = json.loads(result.read_text()) if result.exists() else {}
    if "summary" in answer:
        return answer["summary"]
    raise RuntimeError(answer.get("error") or "a process of the run died; the end of what it said:\n" + "\n".join(tail))


def _run(command: list[str]) -> list[str]:
    """Run ``command``, print its lines of epochs, and return the last others."""
    environment = os.environ | {WATCHED: "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    tail: list[str] = []
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env=environment, cwd=ROOT, start_new_session=True)
    try:
        for line in process.stdout:
            if line.startswith(("epoch ", "compile_network")) or "is in use by" in line:
                print(line, end="", flush=True)
            else:
                tail = [*tail[-19:], line.rstrip()]
        process.wait()
    finally:
        process.stdin.close()  # the training processes see it, and end
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
    return tail


def end_with_parent() -> None:
    """End this process when its standard input closes, which happens however the parent dies."""
    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def quiet() -> None:
    """Only what training itself says, and what went wrong."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")


def main(task: Path) -> None:
    """The part of one process in ``task``; the first one writes what came of it."""
    if os.environ.get(WATCHED):
        end_with_parent()
    quiet()
    content = json.loads(task.read_text())
    settings, result = Training(**content["settings"]), Path(content["result"])
    ranks = find_ranks(settings.devices)
    parts = ([Case(Path(folder)) for folder in content[part]] for part in ("training", "validation"))
    scratch = content["scratch"] and Path(content["scratch"])
    try:
        training, validation = load_split(*parts, device_of(ranks), storage=content["storage"], scratch=scratch)
        answer = {"summary": train(settings, training, validation, Path(content["folder"]))}
    except Exception as error:
        if ranks.rank == 0:
            write_json(result, {"error": f"{type(error).__name__}: {error}"})
        raise
    if ranks.rank == 0:
        write_json(result, answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
