"""One training run: it begins, or goes on where it was interrupted, and ends as if it had never been."""

import logging
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from kitsnb.data.cases import Case
from kitsnb.files import locked, write_json
from kitsnb.training.checkpoints import AtomicCheckpoints, Checkpoints, checkpoint_to_resume
from kitsnb.training.devices import Ranks, device_of, find_ranks, is_alone, launch
from kitsnb.training.history import History, best_row, has_stopped, performance
from kitsnb.training.module import SegmentationModule, compile_in_place
from kitsnb.training.patches import PatchSampler, fixed_patches
from kitsnb.training.pictures import Pictures
from kitsnb.training.precision import choose_precision, machine
from kitsnb.training.settings import Training
from kitsnb.training.volumes import load_volumes
from kitsnb.unet import UNet3D


def train(settings: Training, training: list[Case], validation: list[Case], folder: Path) -> dict:
    """Train on preprocessed cases in ``folder``, or go on from its last checkpoint; returns the run's summary.

    Interrupted at any moment, the same call ends as an uninterrupted one. With several devices, each of the
    processes that torchrun or srun started makes this call; a process alone starts them. Raises ValueError where the
    folder holds another run, FloatingPointError that names the step where the loss is not finite.
    """
    quiet()
    given, (training, validation) = (training, validation), parts(settings, training, validation)
    names = {"training_cases": [case.name for case in training],
             "validation_cases": [case.name for case in validation]}
    belongs = settings.as_json() | names
    if settings.devices > 1 and (done := finished(settings, belongs, folder)):  # by all, so none waits for another
        return done
    if settings.devices > 1 and is_alone():
        launch(train, settings, *given, folder, devices=settings.devices)
        return finished(settings, belongs, folder)
    ranks = find_ranks(settings.devices)
    with ranks.joined(), ExitStack() as held:
        found = ranks.first(lambda: _prepare(folder, belongs, settings, held))
        history = History(folder / "history.csv", ranks, settings.patches_of_an_epoch, settings.stop_patience,
                          list(found["rows"]), found["peak"])
        if is_finished(settings, found["rows"]):
            return summary(settings, found)
        held.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(found["threads"] or torch.get_num_threads())  # on it hang the last bits
        facts = {"device": device_of(ranks), "precision": found["precision"], "threads": torch.get_num_threads(),
                 "machine": machine()}
        callbacks = [history, Checkpoints(folder / "checkpoints", history, belongs, facts), Pictures()]
        _fit(settings, training, validation, folder, callbacks, ranks, found["precision"])
        return summary(settings, {**facts, "rows": history.rows, "peak": history.peak})


def parts(settings: Training, training: list[Case], validation: list[Case]) -> tuple[list[Case], list[Case]]:
    """The cases to learn from, and those that choose the weights: the held-out, or every n-th of ``training``."""
    if not settings.selection:
        return training, validation
    every = round(1 / settings.selection)
    return [case for number, case in enumerate(training) if number % every], training[::every]


def finished(settings: Training, belongs: dict, folder: Path) -> dict | None:
    """The summary of the run in ``folder`` if it has come to its end, else None. ValueError where it is another run."""
    found = checkpoint_to_resume(folder, belongs)
    return summary(settings, found) if found and is_finished(settings, found["rows"]) else None


def _prepare(folder: Path, belongs: dict, settings: Training, held: ExitStack) -> dict:
    """Take the folder, look for what there is to go on from, and settle the precision, which a run keeps."""
    held.enter_context(locked(folder))
    found = checkpoint_to_resume(folder, belongs) or {"rows": [], "peak": 0.0, "threads": None, "precision": None}
    write_json(folder / "settings.json", settings.as_json())
    return found | {"precision": found["precision"] or choose_precision(settings, folder.parent.parent)}


def _fit(settings: Training, training: list[Case], validation: list[Case], folder: Path, callbacks: list[pl.Callback],
         ranks: Ranks, precision: str) -> None:
    pl.seed_everything(settings.seed, verbose=False)
    device = device_of(ranks)
    volumes = load_volumes([*training, *validation], device, **settings.volumes)
    sampler = PatchSampler(volumes[: len(training)], settings.patch_size, settings.batch_size,
                           foreground=settings.foreground, tumour=settings.tumour, body=settings.body,
                           augmentation=settings.augmentation, seed=settings.seed, device=device, rank=ranks.rank)
    patches = fixed_patches(volumes[len(training) :], settings.patch_size, settings.batch_size, device=device)
    module = SegmentationModule(settings, sampler, patches, ranks)
    if settings.compile_network:
        compile_in_place(module.network, device)
    trainer = pl.Trainer(
        max_epochs=settings.epochs, precision=precision, num_sanity_val_steps=0, callbacks=callbacks,
        plugins=[AtomicCheckpoints(), ranks.environment], logger=TensorBoardLogger(folder, "logs", "tensorboard"),
        devices=settings.devices // ranks.nodes, num_nodes=ranks.nodes, strategy="ddp" if ranks.size > 1 else "auto",
        accelerator=device.partition(":")[0], use_distributed_sampler=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1,
    )
    steps = settings.steps_of_a_rank, -(-len(patches) // ranks.size)
    numbers = [DataLoader(range(n), batch_size=None) for n in steps]  # a batch is drawn on the device, by its number
    last = folder / "checkpoints" / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")  # numbers need none
        trainer.fit(module, *numbers, ckpt_path=last if last.exists() else None, weights_only=True)


def is_finished(settings: Training, rows: list[dict]) -> bool:
    """Have the epochs ``rows`` brought the run to its end?"""
    return len(rows) >= settings.epochs or has_stopped(rows, settings.stop_patience)


def summary(settings: Training, found: dict) -> dict:
    """What a run came to, of which a checkpoint says ``found``."""
    rows = found["rows"]
    with torch.device("meta"):
        trainable = sum(p.numel() for p in UNet3D(**settings.network.model_dump()).parameters())
    return {
        "loss": settings.loss, "loss_parameters": settings.loss_parameters, "seed": settings.seed,
        "epochs": len(rows), "best_epoch": best_row(rows)["epoch"], "steps": rows[-1]["step"],
        **performance(rows, settings.patches_of_an_epoch), "peak_memory_mb": round(found["peak"]),
        "trainable_parameters": trainable, "device": found["device"], "devices": settings.devices,
        "precision": found["precision"], "threads": found["threads"], "machine": found.get("machine"),
    }


def quiet() -> None:
    """Only what training itself says, and what went wrong."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
