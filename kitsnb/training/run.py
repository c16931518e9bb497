"""One training run: it begins, or goes on where it was interrupted, and ends as if it had never been.

``python -m kitsnb.training.run TASK.json`` is what each process of a run on many devices executes.
"""

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from kitsnb.data.cases import Case
from kitsnb.files import write_json
from kitsnb.training.checkpoints import AtomicCheckpoints, Checkpoints, belongs_to, checkpoint_to_resume, locked
from kitsnb.training.devices import Ranks, device_of, end_with_parent, find_ranks, is_alone, launch
from kitsnb.training.history import History, best_row, has_stopped, performance
from kitsnb.training.module import SegmentationModule, compile_in_place
from kitsnb.training.patches import PatchSampler, fixed_patches
from kitsnb.training.pictures import Pictures
from kitsnb.training.precision import choose_precision, machine
from kitsnb.training.settings import Training
from kitsnb.training.volumes import load_volumes
from kitsnb.unet import UNet3D

#: What is known of a run that has no checkpoint.
NOTHING = {"rows": (), "device": None, "peak": 0.0, "threads": None, "precision": None}


def train(settings: Training, training: list[Case], validation: list[Case], folder: Path) -> dict:
    """Train on preprocessed cases in ``folder``, or go on from its last checkpoint; returns the run's summary.

    Writes ``history.csv``, ``checkpoints/best.ckpt`` (lowest validation loss) and ``last.ckpt``, and a TensorBoard log
    with pictures. Interrupted at any moment, the same call ends as an uninterrupted one. With ``settings.devices``
    above 1, each of the processes that torchrun or srun started makes this call; a process alone starts them. Raises
    ValueError where the folder holds another run, FloatingPointError that names the step where the loss is not finite.
    """
    quiet()
    given, (training, validation) = (training, validation), parts(settings, training, validation)
    belongs = belongs_to(settings.as_json(), [case.name for case in training], [case.name for case in validation])
    if settings.devices > 1 and (done := finished(settings, belongs, folder)):  # by all, so none waits for another
        return done
    if settings.devices > 1 and is_alone():
        launch(settings, *given, folder)
        return finished(settings, belongs, folder)
    ranks = find_ranks(settings.devices)
    with ranks.joined(), ExitStack() as held:
        found = ranks.first(lambda: _prepare(folder, belongs, settings, held))
        history = History(folder / "history.csv", ranks, settings.patches_of_an_epoch, settings.stop_patience,
                          list(found["rows"]), found["peak"])
        if is_finished(settings, found["rows"]):
            return summary(settings, found)
        held.enter_context(_threads(found["threads"]))
        facts = {"device": device_of(ranks), "precision": found["precision"], "threads": torch.get_num_threads(),
                 "machine": machine()}
        callbacks = [history, Checkpoints(folder / "checkpoints", history, belongs, facts), Pictures()]
        _fit(settings, training, validation, folder, callbacks, ranks, found["precision"])
        return summary(settings, {**facts, "rows": history.rows, "peak": history.peak})


def parts(settings: Training, training: list[Case], validation: list[Case]) -> tuple[list[Case], list[Case]]:
    """The cases to learn from, and those on which the weights are chosen: the held-out, or every n-th of
    ``training``.
    """
    if not settings.selection:
        return training, validation
    every = round(1 / settings.selection)
    return [case for number, case in enumerate(training) if number % every], training[::every]


def finished(settings: Training, belongs: dict, folder: Path) -> dict | None:
    """The summary of the run in ``folder`` if it has come to its end, else None. ValueError where it is another run."""
    found = checkpoint_to_resume(folder, belongs)
    return summary(settings, found) if found and is_finished(settings, found["rows"]) else None


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Torch on ``number`` threads, if given: on another worker as on the first, since their number decides the last
    bits.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prepare(folder: Path, belongs: dict, settings: Training, held: ExitStack) -> dict:
    """Take the folder, look for what there is to go on from, and settle the precision, which a run keeps."""
    held.enter_context(locked(folder))
    found = checkpoint_to_resume(folder, belongs) or NOTHING
    write_json(folder / "settings.json", settings.as_json())
    return found | {"precision": found["precision"] or choose_precision(settings, folder.parent.parent)}


def _fit(settings: Training, training: list[Case], validation: list[Case], folder: Path, callbacks: list[pl.Callback],
         ranks: Ranks, precision: str) -> None:
    pl.seed_everything(settings.seed, verbose=False)
    device = device_of(ranks)
    volumes = load_volumes([*training, *validation], device, **settings.volumes)
    sampler = PatchSampler(volumes[: len(training)], settings.patch_size, settings.batch_size,
                           foreground=settings.foreground,
                           tumour=settings.tumour, body=settings.body, augmentation=settings.augmentation,
                           seed=settings.seed, device=device,
                           rank=ranks.rank)
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
    # A batch is drawn on the device, by its number.
    numbers = [DataLoader(range(n), batch_size=None)
               for n in (settings.steps_of_a_rank, -(-len(patches) // ranks.size))]
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


def main(task: Path) -> None:
    """The part of one process in the run that ``task`` describes."""
    end_with_parent()
    content = json.loads(task.read_text())
    parts = ([Case(Path(folder)) for folder in content[part]] for part in ("training", "validation"))
    train(Training(**content["settings"]), *parts, Path(content["folder"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
