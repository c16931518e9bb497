"""One training run: a plain loop that goes on where it was interrupted, and ends as if it had never been."""

import math
import time
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.utils.tensorboard import SummaryWriter

from kitsnb.data.cases import Case
from kitsnb.files import locked, write_json
from kitsnb.losses import build_loss, check_loss
from kitsnb.messages import duration
from kitsnb.training.checkpoints import checkpoint_to_resume, save_checkpoint
from kitsnb.training.history import batch_sums, best_row, is_finished, log_epoch, measures, write_history
from kitsnb.training.machine import choose_precision, describe_machine, peak_memory
from kitsnb.training.patches import Batch, PatchSampler, fixed_patches
from kitsnb.training.settings import Training
from kitsnb.training.volumes import load_volumes
from kitsnb.unet import UNet3D

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def train(settings: Training, training: list[Case], validation: list[Case], folder: Path) -> dict[str, Any]:
    """Train on preprocessed cases in ``folder``, or go on from its last checkpoint; return the facts of the run.

    Interrupted at any moment, the same call ends as an uninterrupted one, to the last bit on a CPU. Raises ValueError,
    RuntimeError (folder in use, checkpoint damaged) and FloatingPointError (loss not finite).
    """
    learned, judged = set_aside(settings, training, validation)
    belongs = settings.model_dump(mode="json", exclude={"weights"})  # which predict, and change nothing here
    belongs["training_cases"] = [case.name for case in learned]
    belongs["validation_cases"] = [case.name for case in judged]
    with locked(folder):
        run = checkpoint_to_resume(folder, belongs)
        if run is None:
            run = {"belongs": belongs, "rows": [], "facts": describe_machine(settings)}
        rows = run["rows"]
        write_json(folder / "settings.json", settings.as_json())
        write_history(folder / "history.csv", rows)
        if not is_finished(settings, rows):
            train_epochs(settings, learned, judged, folder, run)
    return {
        **run["facts"],
        "training_cases": len(learned),
        "steps": rows[-1]["step"],
        "epochs": len(rows),
        "best_epoch": best_row(rows)["epoch"],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "patches_per_second": round(harmonic_mean(row["patches_per_second"] for row in rows), 2),
    }


def set_aside(settings: Training, training: list[Case], validation: list[Case]) -> tuple[list[Case], list[Case]]:
    """Return the cases to learn from, and those that choose the weights; ValueError where there are none."""
    learned = training
    judged = validation
    if settings.selection:  # a share of the training cases, spread evenly
        patients = list(dict.fromkeys(case.number for case in training))  # of whom more_training has further CT
        count = round(settings.selection * len(patients))
        chosen = {patients[place * len(patients) // count] for place in range(count)}
        judged = [case for case in training if case.number in chosen]
        learned = [case for case in training if case.number not in chosen]
    for what, cases in (("training", learned), ("held-out", judged)):
        if not cases:
            raise ValueError(f"there are no {what} cases (selection {settings.selection:g} of {len(training)} training "
                             "cases); look at what notebook 02_preprocessing refused")
    return learned, judged


def build_parts(settings: Training, device: str) -> dict[str, Any]:
    """Return all that learns, and whose state checkpoints hold. Raises ValueError for a loss that cannot be used."""
    torch.manual_seed(settings.seed)
    network = UNet3D(**settings.network.model_dump()).to(device, memory_format=torch.channels_last_3d)
    loss = build_loss(settings.loss, settings.loss_defaults, **settings.loss_parameters)
    check_loss(loss, settings.loss)
    loss.to(device)
    learned = [*network.parameters(), *loss.parameters()]  # a reader's loss may learn, too
    # Fused, since the other forms of Adam ask the device for their count of steps.
    optimizer = torch.optim.Adam(learned, lr=settings.learning_rate, fused=True)
    if settings.schedule == "plateau":
        lowest = settings.minimum_learning_rate
        scheduler = ReduceLROnPlateau(optimizer, patience=settings.plateau_patience, min_lr=lowest)
    else:
        steps = settings.epochs * settings.steps_per_epoch
        warm_up = max(1, settings.warm_up)
        scheduler = LambdaLR(optimizer, lambda step: min(1, (step + 1) / warm_up) * max(0, 1 - step / steps) ** 0.9)
    scaler = torch.amp.GradScaler(device, enabled=settings.precision == "16-mixed")
    return {"network": network, "loss": loss, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}


def train_epochs(settings: Training, learned: list[Case], judged: list[Case], folder: Path, run: dict) -> None:
    """Train until the run is finished, from the checkpoint ``run`` on; its rows and facts grow."""
    rows = run["rows"]
    facts = run["facts"]
    torch.set_num_threads(facts["threads"])  # the last bits of sums depend on it
    settings = settings.changed(precision=facts["precision"])
    choose_precision(settings)  # raises where a run goes on on another machine that lacks it
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parts = build_parts(settings, device)
    if rows:
        for name, part in parts.items():
            part.load_state_dict(run[name])
    facts["trainable_parameters"] = sum(p.numel() for p in parts["network"].parameters())
    batches = fixed_patches(load_volumes(judged), settings, device)
    volumes = load_volumes(learned, device, body=settings.body > 0)
    sampler = PatchSampler(volumes, settings, device)
    for logged in folder.glob("events.out.tfevents.*"):  # what a killed process logged is written again
        logged.unlink()
    with SummaryWriter(folder) as writer:
        for row in rows:
            log_epoch(writer, row)
        while not is_finished(settings, rows):
            row = train_epoch(parts, sampler, batches, len(rows))
            rows.append(row)
            log_epoch(writer, row)  # before it is saved, so that no last epoch can lack
            facts["peak_memory_mb"] = max(facts["peak_memory_mb"], peak_memory())
            for name, part in parts.items():
                run[name] = part.state_dict()
            if best_row(rows) is row:
                save_checkpoint(run, folder / "checkpoints" / "best.ckpt")
            save_checkpoint(run, folder / "checkpoints" / "last.ckpt")
            write_history(folder / "history.csv", rows)
            left = (settings.epochs - len(rows)) * row["seconds"]
            print(f"epoch {len(rows)}/{settings.epochs}: loss {row['training_loss']:.3f}, "
                  f"validation {row['validation_loss']:.3f}; at most {duration(left)} left", flush=True)


def train_epoch(parts: dict[str, Any], sampler: PatchSampler, batches: list[Batch], epoch: int) -> dict:
    """Train for epoch number ``epoch`` (from 0) and validate on ``batches``; return its row of history.csv."""
    network, loss, optimizer, scheduler, scaler = parts.values()
    settings = sampler.settings
    stop = (epoch + 1) * settings.steps_per_epoch
    began = time.monotonic()
    torch.manual_seed(settings.seed + epoch)  # so that a loss which draws numbers draws them again when resumed
    network.train()
    loss.train()
    sums = []
    # No step asks the device for a value, and so waits for a GPU; losses are looked at after the last.
    for step in range(stop - settings.steps_per_epoch, stop):
        imaging, labels = sampler.batch(step)  # outside of autocast, which would round a patch's rotation
        value, batch = evaluate(network, loss, settings, imaging, labels)
        optimizer.zero_grad()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        if settings.schedule == "poly":
            scheduler.step()
        sums.append(batch)
    trained = measures("training", torch.stack(sums).cpu())
    seconds = time.monotonic() - began
    network.eval()
    loss.eval()
    with torch.no_grad():
        sums = [evaluate(network, loss, settings, *batch)[1] for batch in batches]
    row = {
        "epoch": epoch + 1, "step": stop, "learning_rate": optimizer.param_groups[0]["lr"],
        **trained,
        **measures("validation", torch.stack(sums).cpu()),
        "seconds": round(time.monotonic() - began, 2),
        "patches_per_second": round(settings.steps_per_epoch * settings.batch_size / seconds, 3),
    }
    for name in ("training_loss", "validation_loss"):
        if not math.isfinite(row[name]):
            raise FloatingPointError(f"{name} is {row[name]} in epoch {epoch + 1}; the last good checkpoint is kept")
    if settings.schedule == "plateau":
        scheduler.step(row["validation_loss"])
    return row


def evaluate(network: UNet3D, loss: nn.Module, settings: Training, imaging: Tensor, labels: Tensor) -> tuple:
    """Return the loss of imaging [B, 1, D, H, W] against labels [B, D, H, W], and the sums that history needs."""
    dtype = AUTOCAST.get(settings.precision)
    with torch.autocast(imaging.device.type, dtype, enabled=dtype is not None):
        logits = network(imaging.to(memory_format=torch.channels_last_3d))
        value = loss(logits, labels)
        return value, batch_sums(value, logits, labels)
