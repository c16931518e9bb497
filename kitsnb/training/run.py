"""One training run: a plain loop that goes on where it was interrupted, and ends as if it had never been."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from kitsnb.data.cases import Case
from kitsnb.files import locked, write_json
from kitsnb.messages import duration
from kitsnb.training.checkpoints import checkpoint_file, checkpoint_to_resume, save_checkpoint
from kitsnb.training.history import (
    best_row, is_finished, log_epoch, measures, peak_memory, performance, write_history,
)
from kitsnb.training.learner import Learner
from kitsnb.training.patches import PatchSampler, fixed_patches
from kitsnb.training.precision import choose_precision, machine
from kitsnb.training.settings import Training
from kitsnb.training.volumes import load_volumes


def train(settings: Training, training: list[Case], validation: list[Case], folder: Path) -> dict[str, Any]:
    """Train on preprocessed cases in ``folder``, or go on from its last checkpoint; return the facts of the run.

    Interrupted at any moment, the same call ends as an uninterrupted one, to the last bit on a CPU. Raises ValueError
    where there are no cases or the folder holds another run, RuntimeError where another process has the folder or the
    checkpoint is damaged, FloatingPointError that names the step where the loss is not finite.
    """
    learned, judged = hold_out(settings, training, validation)
    for what, cases in (("training", learned), ("held-out", judged)):
        if not cases:
            raise ValueError(f"there are no {what} cases: none was preprocessed of those that the split names; "
                             "look at the ranges of the split, and at what notebook 02_preprocessing refused")
    belongs = settings.model_dump(mode="json", exclude={"weights"})  # which predicts, and changes nothing here
    belongs["training_cases"] = [case.name for case in learned]
    belongs["validation_cases"] = [case.name for case in judged]
    with locked(folder):
        saved = checkpoint_to_resume(folder, belongs) or {"belongs": belongs, "rows": [], "facts": {}}
        write_json(folder / "settings.json", settings.as_json())
        write_history(folder / "history.csv", saved["rows"])
        if not is_finished(settings, saved["rows"]):
            threads = torch.get_num_threads()
            torch.set_num_threads(saved["facts"].get("threads", threads))  # sums differ in their last bits by it
            try:
                saved = train_epochs(settings, learned, judged, folder, saved)
            finally:
                torch.set_num_threads(threads)
    rows = saved["rows"]
    return {"epochs": len(rows), "best_epoch": best_row(rows)["epoch"], "steps": rows[-1]["step"],
            **performance(rows, settings.patches_of_an_epoch), **saved["facts"], "training_cases": len(learned)}


def hold_out(settings: Training, training: list[Case], validation: list[Case]) -> tuple[list[Case], list[Case]]:
    """Return the cases to learn from, and those that choose the weights: ``validation``, or a share of ``training``.

    That share is ``selection``, rounded to whole cases and spread evenly. Raises ValueError where it is no case.
    """
    if not settings.selection or not training:
        return training, validation
    count = round(settings.selection * len(training))
    if not count:
        raise ValueError(f"selection {settings.selection:g} of {len(training)} training cases is none; make it at "
                         f"least {1 / len(training):.2g}, or 0, and the held-out cases choose the weights")
    chosen = {number * len(training) // count for number in range(count)}
    learned = [case for number, case in enumerate(training) if number not in chosen]
    return learned, [training[number] for number in sorted(chosen)]


def train_epochs(settings: Training, learned: list[Case], judged: list[Case], folder: Path, saved: dict) -> dict:
    """Train until the run is finished, from the checkpoint ``saved`` on; return the last checkpoint."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(settings.changed(precision=saved["facts"].get("precision", settings.precision)))
    torch.manual_seed(settings.seed)
    learner = Learner(settings, device, precision)
    if saved["rows"]:
        learner.load_state_dict(saved)
    rows = saved["rows"]
    facts = {"trainable_parameters": sum(p.numel() for p in learner.network.parameters()), "device": device.type,
             "precision": precision, "threads": torch.get_num_threads(), "machine": machine(),
             "peak_memory_mb": saved["facts"].get("peak_memory_mb", 0)}
    volumes = load_volumes([*learned, *judged], device, body=settings.body > 0)
    sampler = PatchSampler(volumes[: len(learned)], settings, device)
    batches = fixed_patches(volumes[len(learned) :], settings, device)
    # Named by its folder in TensorBoard; what a killed process wrote there is purged, and written again.
    with SummaryWriter(folder, purge_step=0) as writer:
        for row in rows:
            log_epoch(writer, row)
        while not is_finished(settings, rows):
            rows.append(train_epoch(learner, sampler, batches, len(rows)))
            facts["peak_memory_mb"] = max(facts["peak_memory_mb"], peak_memory())
            state = {"belongs": saved["belongs"], "rows": rows, "facts": facts, **learner.state_dict()}
            if best_row(rows) is rows[-1]:
                save_checkpoint(state, checkpoint_file(folder, "best"))
            save_checkpoint(state, checkpoint_file(folder, "last"))
            write_history(folder / "history.csv", rows)
            log_epoch(writer, rows[-1])
            print_epoch(settings, rows)
    return state


def train_epoch(learner: Learner, sampler: PatchSampler, batches: list[tuple[Tensor, Tensor]], epoch: int) -> dict:
    """Train for epoch number ``epoch`` (from 0) and validate on ``batches``; return the epoch's row of history.csv.

    No step asks the device for a value, and so waits for a GPU; whether losses were finite is looked at afterwards.
    """
    settings = sampler.settings
    steps = range(epoch * settings.steps_per_epoch, (epoch + 1) * settings.steps_per_epoch)
    began = time.monotonic()
    torch.manual_seed(settings.seed + epoch)  # so that a loss which draws numbers draws them again when resumed
    learner.train(True)
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
    for step, loss in zip(steps, trained[:, 0].tolist()):
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {step}; the last good checkpoint is kept")
    learner.train(False)
    with torch.no_grad():
        validated = torch.stack([learner.evaluate(*batch)[1] for batch in batches]).cpu()
    row = {"epoch": epoch + 1, "step": steps.stop, "learning_rate": learner.optimizer.param_groups[0]["lr"],
           **measures("training", trained), **measures("validation", validated),
           "seconds": round(time.monotonic() - began, 2),
           "patches_per_second": float(f"{settings.patches_of_an_epoch / training_seconds:.4g}")}
    if not math.isfinite(row["validation_loss"]):
        raise FloatingPointError(f"the validation loss is {row['validation_loss']} after step {steps.stop}; "
                                 "the last good checkpoint is kept")
    if settings.schedule == "plateau":
        learner.scheduler.step(row["validation_loss"])
    return row


def print_epoch(settings: Training, rows: list[dict]) -> None:
    """Print the last epoch in a line, with the time that the others take at most."""
    row = rows[-1]
    left = (settings.epochs - len(rows)) * sum(row["seconds"] for row in rows) / len(rows)
    print(f"epoch {len(rows)}/{settings.epochs}: loss {row['training_loss']:.3f}, validation "
          f"{row['validation_loss']:.3f}, kidney {row['validation_kidney']:.3f}, tumour "
          f"{row['validation_tumour']:.3f}; {row['seconds']:.1f} s, at most {duration(left)} left", flush=True)
