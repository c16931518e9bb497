"""One training run: a plain loop that goes on where it was interrupted, and ends as if it had never been."""

import math
import time
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from kitsnb.data.cases import Case
from kitsnb.files import locked, write_json
from kitsnb.training.checkpoints import checkpoint_to_resume, save_checkpoint
from kitsnb.training.history import best_row, is_finished, log_epoch, measures, print_epoch, write_history, peak_memory
from kitsnb.training.learner import Learner
from kitsnb.training.patches import PatchSampler, fixed_patches
from kitsnb.training.precision import choose_precision
from kitsnb.training.settings import Training
from kitsnb.training.volumes import load_volumes


def train(settings: Training, training: list[Case], validation: list[Case], folder: Path) -> dict[str, Any]:
    """Train on preprocessed cases in ``folder``, or go on from its last checkpoint; return the facts of the run.

    Interrupted at any moment, the same call ends as an uninterrupted one, to the last bit on a CPU. Raises ValueError
    where there are no cases or the folder holds another run, RuntimeError where another process has the folder or the
    checkpoint is damaged, FloatingPointError that names the step where the loss is not finite.
    """
    learned, judged = hold_out(settings, training, validation)
    belongs = settings.model_dump(mode="json", exclude={"weights"})  # which predict, and change nothing here
    belongs["training_cases"] = [case.name for case in learned]
    belongs["validation_cases"] = [case.name for case in judged]
    threads = torch.get_num_threads()
    with locked(folder):
        run = checkpoint_to_resume(folder, belongs) or {"belongs": belongs, "rows": [], "facts": {}}
        write_json(folder / "settings.json", settings.as_json())
        write_history(folder / "history.csv", run["rows"])
        if not is_finished(settings, run["rows"]):
            torch.set_num_threads(run["facts"].get("threads", threads))  # the last bits of sums depend on it
            try:
                run = train_epochs(settings, learned, judged, folder, run)
            finally:
                torch.set_num_threads(threads)
    rows = run["rows"]
    return {
        **run["facts"], "training_cases": len(learned), "steps": rows[-1]["step"],
        "epochs": len(rows), "best_epoch": best_row(rows)["epoch"],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "patches_per_second": round(harmonic_mean(row["patches_per_second"] for row in rows), 2),
    }


def hold_out(settings: Training, training: list[Case], validation: list[Case]) -> tuple[list[Case], list[Case]]:
    """Return the cases to learn from, and those that choose the weights: ``validation``, or a share of ``training``.

    That share, ``selection``, is spread evenly. Raises ValueError that names what is empty.
    """
    count = round(settings.selection * len(training))
    if settings.selection and training and not count:
        raise ValueError(f"selection {settings.selection:g} of {len(training)} training cases is none; raise it, or "
                         "make it 0, and the held-out cases choose the weights")
    chosen = [number * len(training) // count for number in range(count)]
    if chosen:
        validation = [training[number] for number in chosen]
    learned = [case for number, case in enumerate(training) if number not in chosen]
    for what, cases in (("training", learned), ("held-out", validation)):
        if not cases:
            raise ValueError(f"there are no {what} cases: none was preprocessed of those that the split names; look "
                             "at its ranges, and at what notebook 02_preprocessing refused")
    return learned, validation


def train_epochs(settings: Training, learned: list[Case], judged: list[Case], folder: Path, run: dict) -> dict:
    """Train until the run is finished, from the checkpoint ``run`` on; return the last checkpoint."""
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    facts = run["facts"] or {
        "device": device.type,
        "machine": torch.cuda.get_device_name() if gpu else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": choose_precision(settings),
        "peak_memory_mb": 0,
    }
    torch.manual_seed(settings.seed)
    # A run keeps its precision; another machine that lacks it says so.
    learner = Learner(settings, device, choose_precision(settings.changed(precision=facts["precision"])))
    facts["trainable_parameters"] = sum(p.numel() for p in learner.network.parameters())
    if run["rows"]:
        learner.load_state_dict(run)
    volumes = load_volumes([*learned, *judged], device, body=settings.body > 0)
    sampler = PatchSampler(volumes[: len(learned)], settings, device)
    batches = fixed_patches(volumes[len(learned) :], settings, device)
    rows = run["rows"]
    # Named by its folder in TensorBoard; what a killed process wrote there is purged, and written again.
    with SummaryWriter(folder, purge_step=0) as writer:
        for row in rows:
            log_epoch(writer, row)
        while not is_finished(settings, rows):
            rows.append(train_epoch(learner, sampler, batches, len(rows)))
            log_epoch(writer, rows[-1])  # before it is saved, so that no last epoch can lack
            facts["peak_memory_mb"] = max(facts["peak_memory_mb"], peak_memory())
            run = {"belongs": run["belongs"], "rows": rows, "facts": facts, **learner.state_dict()}
            if best_row(rows) is rows[-1]:
                save_checkpoint(run, folder / "checkpoints" / "best.ckpt")
            save_checkpoint(run, folder / "checkpoints" / "last.ckpt")
            write_history(folder / "history.csv", rows)
            print_epoch(settings, rows)
    return run


def train_epoch(learner: Learner, sampler: PatchSampler, batches: list[tuple[Tensor, Tensor]], epoch: int) -> dict:
    """Train for epoch number ``epoch`` (from 0) and validate on ``batches``; return its row of history.csv.

    No step asks the device for a value, and so waits for a GPU; whether losses were finite is looked at afterwards.
    """
    settings = sampler.settings
    steps = range(epoch * settings.steps_per_epoch, (epoch + 1) * settings.steps_per_epoch)
    began = time.monotonic()
    torch.manual_seed(settings.seed + epoch)  # so that a loss which draws numbers draws them again when resumed
    learner.network.train()
    learner.loss.train()
    sums = []
    for step in steps:
        imaging, labels = sampler.batch(step)  # outside of autocast, which would round a patch's rotation
        loss, batch_sums = learner.evaluate(imaging, labels)
        learner.optimizer.zero_grad()
        learner.scaler.scale(loss).backward()
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        if settings.schedule == "poly":
            learner.scheduler.step()
        sums.append(batch_sums)
    trained = torch.stack(sums).cpu()
    training_seconds = time.monotonic() - began
    check_finite(dict(zip(steps, trained[:, 0].tolist())), "loss")
    learner.network.eval()
    learner.loss.eval()
    with torch.no_grad():
        validated = torch.stack([learner.evaluate(*batch)[1] for batch in batches]).cpu()
    row = {"epoch": epoch + 1, "step": steps.stop, "learning_rate": learner.optimizer.param_groups[0]["lr"],
           **measures("training", trained), **measures("validation", validated),
           "seconds": round(time.monotonic() - began, 2),
           "patches_per_second": float(f"{len(steps) * settings.batch_size / training_seconds:.4g}")}
    check_finite({steps.stop: row["validation_loss"]}, "validation loss")
    if settings.schedule == "plateau":
        learner.scheduler.step(row["validation_loss"])
    return row


def check_finite(losses: dict[int, float], what: str) -> None:
    """Raise FloatingPointError that names the first step at which the loss is not finite."""
    for step, loss in losses.items():
        if not math.isfinite(loss):
            raise FloatingPointError(f"the {what} is {loss} at step {step}; the last good checkpoint is kept")
