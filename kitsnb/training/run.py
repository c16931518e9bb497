"""One training run: a Lightning module around network and loss, which goes on where it was interrupted."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.utils.data import DataLoader

from kitsnb.files import write_json
from kitsnb.losses import build_loss
from kitsnb.training.checkpoints import AtomicCheckpoints, Checkpoints, belongs_to, checkpoint_to_resume, locked
from kitsnb.training.devices import Ranks, device_of, find_ranks
from kitsnb.training.history import Clock, History, PooledScores, best_row, has_stopped, performance
from kitsnb.training.patches import PatchSampler, fixed_patches
from kitsnb.training.settings import Training
from kitsnb.training.volumes import Volume
from kitsnb.unet import UNet3D

#: What is known of a run that has no checkpoint.
NOTHING = {"rows": (), "device": None, "peak": 0.0, "threads": None}


class SegmentationModule(pl.LightningModule):
    """Network, loss, optimizer and the epoch's measures. Batches come from the sampler, indexed by the global step."""

    def __init__(self, settings: Training, sampler: PatchSampler, validation: list[tuple[Tensor, Tensor]], ranks: Ranks):
        super().__init__()
        self.settings, self.sampler, self.validation, self.ranks = settings, sampler, validation, ranks
        self.network = UNet3D(**settings.network.model_dump()).to(memory_format=torch.channels_last_3d)
        self.loss = build_loss(settings.loss, **settings.loss_parameters)
        self.clock, self.scores, self.measures, self.epoch_rate = Clock(), {}, {}, settings.learning_rate

    def _step(self, imaging: Tensor, segmentation: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(imaging.to(memory_format=torch.channels_last_3d))
        return self.loss(logits, segmentation), logits

    def training_step(self, index, _) -> Tensor:
        with self.clock.data():
            imaging, segmentation = self.sampler.batch(self.global_step)
        loss, logits = self._step(imaging, segmentation)
        total = self.ranks.total(loss.detach())  # all stop when one has to, else they would wait for it
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"the loss is {total.item()} at step {self.global_step}; the last good checkpoint is kept")
        index = self.global_step * self.ranks.size + self.ranks.rank
        self.scores["training"].add(index, loss.detach(), logits.detach(), segmentation)
        return loss

    def validation_step(self, number, _) -> None:
        index = int(number) * self.ranks.size + self.ranks.rank
        there = index < len(self.validation)  # else a forward without use: every process must do as many, or the others wait
        batch = self.validation[index if there else 0]
        loss, logits = self._step(*batch)
        if there:
            self.scores["validation"].add(index, loss, logits, batch[1])

    def on_train_epoch_start(self) -> None:
        self.scores = {"training": PooledScores(), "validation": PooledScores()}
        self.clock.start()

    def on_validation_epoch_end(self) -> None:
        self.measures = {name: value for stage, scores in self.scores.items()
                         for name, value in scores.measures(stage, self.ranks).items()}
        validation_loss = torch.tensor(self.measures["validation_loss"])
        if not torch.isfinite(validation_loss):
            raise FloatingPointError(f"the validation loss is {validation_loss.item()} after step {self.global_step}; the last "
                                     f"good checkpoint is kept")
        self.epoch_rate = self.optimizers().param_groups[0]["lr"]
        if isinstance(scheduler := self.lr_schedulers(), ReduceLROnPlateau):
            scheduler.step(self.measures["validation_loss"])

    def lr_scheduler_step(self, scheduler, metric) -> None:
        """Lightning would step the plateau after the checkpoint is saved; it is stepped above, and so saved as stepped."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def configure_optimizers(self):
        s = self.settings
        optimizer = torch.optim.Adam(self.network.parameters(), lr=s.learning_rate)
        if s.schedule == "plateau":
            scheduler = ReduceLROnPlateau(optimizer, patience=s.plateau_patience, factor=0.1, min_lr=s.minimum_learning_rate)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "reduce_on_plateau": False}}
        total = s.epochs * s.steps_of_a_rank

        def poly(step: int) -> float:
            return min(1.0, (step + 1) / max(1, s.warm_up)) * max(0.0, 1 - step / total) ** 0.9

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, poly), "interval": "step"}}


def compile_in_place(network: nn.Module, device: str) -> bool:
    """Compile ``network`` with torch.compile and keep its names of weights; without a working compiler, say so and go on."""
    # Of the network's kinds of layers: those that are written in the compiler's language, and not only called from it.
    probe = nn.Sequential(nn.Conv3d(1, 2, 3), nn.LeakyReLU(0.1), nn.BatchNorm3d(2)).to(device)
    probe.compile()
    try:
        probe(torch.ones(2, 1, 4, 4, 4, device=device)).square().sum().backward()
    except Exception as error:  # whatever is missing or broken in a compiler's tool chain
        reason = str(error).strip().splitlines()[0]
        print(f"compile_network: torch.compile does not work here ({reason}); the network is not compiled", flush=True)
        return False
    network.compile()
    return True


def train(settings: Training, training: list[Volume], validation: list[Volume], folder: Path) -> dict:
    """Train in ``folder``, or go on from its last checkpoint; returns the run's summary.

    Writes ``history.csv``, ``checkpoints/best.ckpt`` (lowest validation loss) and ``last.ckpt``, and a TensorBoard log.
    Interrupted at any moment, the same call ends as an uninterrupted one. With ``settings.devices`` above 1, each of the
    processes that torchrun or srun started makes this call.
    """
    ranks = find_ranks(settings.devices)
    belongs = belongs_to(settings.as_json(), [volume.name for volume in training], [volume.name for volume in validation])
    with ranks.joined(), ExitStack() as held:
        found = ranks.first(lambda: _prepare(folder, belongs, settings, held)) or NOTHING
        history = History(folder / "history.csv", ranks, settings.patches_of_an_epoch, settings.stop_patience,
                          list(found["rows"]), found["peak"])
        if is_finished(settings, found["rows"]):
            return summary(settings, found["rows"], found["device"], found["peak"])
        device = device_of(ranks)
        checkpoints = Checkpoints(folder / "checkpoints", history, belongs, device)
        held.enter_context(_threads(found["threads"]))
        _fit(settings, training, validation, folder, [history, checkpoints], ranks)
        return summary(settings, history.rows, device, history.peak)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Torch on ``number`` threads, if given: on another worker as on the first, since their number decides the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prepare(folder: Path, belongs: dict, settings: Training, held: ExitStack) -> dict | None:
    """Take the folder, and look for what there is to go on from."""
    held.enter_context(locked(folder))
    found = checkpoint_to_resume(folder, belongs)
    write_json(folder / "settings.json", settings.as_json())
    return found


def _fit(settings: Training, training: list[Volume], validation: list[Volume], folder: Path,
         callbacks: list[pl.Callback], ranks: Ranks) -> None:
    pl.seed_everything(settings.seed, verbose=False)
    device = device_of(ranks)
    sampler = PatchSampler(training, settings.patch_size, settings.batch_size, foreground=settings.foreground,
                           tumour=settings.tumour, augmentation=settings.augmentation, seed=settings.seed, device=device, rank=ranks.rank)
    patches = fixed_patches(validation, settings.patch_size, settings.batch_size, device=device)
    module = SegmentationModule(settings, sampler, patches, ranks)
    if settings.compile_network:
        compile_in_place(module.network, device)
    trainer = pl.Trainer(
        max_epochs=settings.epochs, precision=settings.precision, num_sanity_val_steps=0, callbacks=callbacks,
        plugins=[AtomicCheckpoints(), ranks.environment], logger=TensorBoardLogger(folder, "logs", "tensorboard"),
        devices=settings.devices // ranks.nodes, num_nodes=ranks.nodes, strategy="ddp" if ranks.size > 1 else "auto",
        accelerator=device.partition(":")[0], use_distributed_sampler=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1,
    )
    # A batch is drawn on the device, by its number.
    numbers = [DataLoader(range(n), batch_size=None) for n in (settings.steps_of_a_rank, -(-len(patches) // ranks.size))]
    last = folder / "checkpoints" / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")  # numbers need none
        trainer.fit(module, *numbers, ckpt_path=last if last.exists() else None, weights_only=True)


def is_finished(settings: Training, rows: list[dict]) -> bool:
    """Have the epochs ``rows`` brought the run to its end?"""
    return len(rows) >= settings.epochs or has_stopped(rows, settings.stop_patience)


def summary(settings: Training, rows: list[dict], device: str, peak: float) -> dict:
    """What a run with the epochs ``rows`` came to."""
    with torch.device("meta"):
        trainable = sum(p.numel() for p in UNet3D(**settings.network.model_dump()).parameters())
    return {
        "loss": settings.loss, "loss_parameters": settings.loss_parameters, "seed": settings.seed,
        "epochs": len(rows), "best_epoch": best_row(rows)["epoch"], "steps": rows[-1]["step"],
        **performance(rows, settings.patches_of_an_epoch), "peak_memory_mb": round(peak),
        "trainable_parameters": trainable, "device": device, "devices": settings.devices, "precision": settings.precision,
    }
