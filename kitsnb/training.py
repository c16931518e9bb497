"""One training run: a Lightning module around network and loss, and everything that a run writes."""

import csv
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from kitsnb.losses import RegionStatistics, build_loss, cross_entropy, dice_index, region_statistics
from kitsnb.sampling import Augmentation, PatchSampler, fixed_patches
from kitsnb.unet import UNet3D
from kitsnb.volumes import Volume

#: What history.csv holds for training and validation each.
MEASURES = ("loss", "soft_dice", "dice_cross_entropy", "background", "kidney", "tumour")


@dataclass(frozen=True)
class Training:
    """Everything that decides what a run learns; the defaults are the paper's (sections 3.2 and 4)."""

    loss: str = "dice"
    loss_parameters: dict = field(default_factory=dict)
    seed: int = 0
    network: dict = field(default_factory=dict)  # arguments of UNet3D
    patch_size: Sequence[int] = (80, 80, 80)
    batch_size: int = 1
    steps_per_epoch: int = 320  # the 160 training cases, two cycles
    epochs: int = 1000
    learning_rate: float = 1e-4
    schedule: str = "plateau"  # or "poly"
    warm_up: int = 0  # steps, only with "poly"
    plateau_patience: int = 5
    minimum_learning_rate: float = 1e-5
    stop_patience: int = 20
    foreground: float = 0.0
    tumour: float = 0.5
    augmentation: dict | None = field(default_factory=dict)  # arguments of Augmentation; None is off
    precision: str = "32-true"  # Lightning's names; "bf16-mixed" is autocast

    def __post_init__(self):
        if self.schedule not in ("plateau", "poly"):
            raise ValueError(f'schedule must be "plateau" or "poly", got {self.schedule!r}')


class PooledScores:
    """Sums of an epoch: statistics of all patches are pooled before Dice, so a patch without tumour distorts nothing."""

    def __init__(self):
        self.regions: RegionStatistics | None = None
        self.loss = self.cross_entropy = 0.0
        self.batches = 0

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, target: Tensor) -> None:
        regions = region_statistics(logits, target).pooled()
        old = self.regions or RegionStatistics(*(torch.zeros_like(count) for count in regions))
        self.regions = RegionStatistics(*(a + b for a, b in zip(old, regions)))
        self.loss += float(loss)
        self.cross_entropy += float(cross_entropy(logits, target).mean())
        self.batches += 1

    def measures(self, prefix: str) -> dict[str, float]:
        dice = dice_index(self.regions)[0].tolist()
        soft_dice = sum(dice) / len(dice)
        values = [self.loss / self.batches, soft_dice, 1 - soft_dice + self.cross_entropy / self.batches, *dice]
        return {f"{prefix}_{name}": value for name, value in zip(MEASURES, values)}


class SegmentationModule(pl.LightningModule):
    """Network, loss, optimizer and the epoch's measures. Batches come from the sampler, indexed by the global step."""

    def __init__(self, settings: Training, sampler: PatchSampler, validation: list[tuple[Tensor, Tensor]]):
        super().__init__()
        self.settings, self.sampler, self.validation = settings, sampler, validation
        self.network = UNet3D(**settings.network).to(memory_format=torch.channels_last_3d)
        self.loss = build_loss(settings.loss, **settings.loss_parameters)
        self.scores = {"training": PooledScores(), "validation": PooledScores()}

    def _step(self, stage: str, imaging: Tensor, segmentation: Tensor) -> Tensor:
        logits = self.network(imaging.to(memory_format=torch.channels_last_3d))
        loss = self.loss(logits, segmentation)
        self.scores[stage].add(loss.detach(), logits.detach(), segmentation)
        return loss

    def training_step(self, index, _) -> Tensor:
        loss = self._step("training", *self.sampler.batch(self.global_step))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.global_step}; the last good checkpoint is kept")
        return loss

    def validation_step(self, index, _) -> None:
        self._step("validation", *self.validation[int(index)])

    def on_train_epoch_start(self) -> None:
        self.scores = {"training": PooledScores(), "validation": PooledScores()}

    def on_validation_epoch_end(self) -> None:
        for stage, scores in self.scores.items():
            if scores.batches:
                self.log_dict(scores.measures(stage))

    def configure_optimizers(self):
        s = self.settings
        optimizer = torch.optim.Adam(self.network.parameters(), lr=s.learning_rate)
        if s.schedule == "plateau":
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, patience=s.plateau_patience, factor=0.1, min_lr=s.minimum_learning_rate)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "validation_loss"}}
        total = s.epochs * s.steps_per_epoch

        def poly(step: int) -> float:
            return min(1.0, (step + 1) / max(1, s.warm_up)) * max(0.0, 1 - step / total) ** 0.9

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, poly)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class History(Callback):
    """Writes a row of history.csv after each epoch and prints one line with the time left."""

    def __init__(self, path: Path):
        self.path, self.rows, self.started = path, [], time.monotonic()

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict) -> None:
        self.rows = state["rows"]

    def on_train_epoch_start(self, trainer, module) -> None:
        self.started = time.monotonic()

    def on_validation_epoch_end(self, trainer, module) -> None:
        if trainer.sanity_checking:
            return
        measures = {k: v for stage in ("training", "validation") for k, v in module.scores[stage].measures(stage).items()}
        seconds = time.monotonic() - self.started
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "learning_rate": rate,
                          "seconds": round(seconds, 2), **measures})
        self._write()
        left = (trainer.max_epochs - len(self.rows)) * sum(row["seconds"] for row in self.rows) / len(self.rows)
        print(f"epoch {len(self.rows)}/{trainer.max_epochs}: loss {measures['training_loss']:.3f}, validation "
              f"{measures['validation_loss']:.3f}, kidney {measures['validation_kidney']:.3f}, tumour "
              f"{measures['validation_tumour']:.3f}; {seconds:.1f} s, at most {duration(left)} left", flush=True)

    def _write(self) -> None:
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(self.path)


def duration(seconds: float) -> str:
    """``seconds`` as h:mm:ss or m:ss."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def checkpoint_to_resume(folder: Path, settings: Training) -> Path | None:
    """The last checkpoint of an interrupted run in ``folder``, or None.

    Raises ``ValueError`` that names the difference when the run there had other settings.
    """
    written, last = folder / "settings.json", folder / "checkpoints" / "last.ckpt"
    if not last.exists():
        return None
    old, new = json.loads(written.read_text()), json.loads(json.dumps(asdict(settings)))
    different = [f"{key}: {old.get(key)} there, {new[key]} now" for key in new if old.get(key) != new[key]]
    if different:
        raise ValueError(f"{folder} holds a run with other settings ({'; '.join(different)}); move it away to train anew")
    return last


def train(settings: Training, training: list[Volume], validation: list[Volume], folder: Path) -> dict:
    """Train in ``folder``, or go on from its last checkpoint; returns the run's summary.

    Writes ``history.csv``, ``checkpoints/best.ckpt`` (lowest validation loss) and ``last.ckpt``, TensorBoard and CSV logs.
    """
    resume = checkpoint_to_resume(folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(asdict(settings), indent=1))
    pl.seed_everything(settings.seed, verbose=False)
    augmentation = None if settings.augmentation is None else Augmentation(**settings.augmentation)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sampler = PatchSampler(training, settings.patch_size, settings.batch_size, foreground=settings.foreground,
                           tumour=settings.tumour, augmentation=augmentation, seed=settings.seed, device=device)
    patches = fixed_patches(validation, settings.patch_size, settings.batch_size, device=device)
    module = SegmentationModule(settings, sampler, patches)
    history, checkpoints = History(folder / "history.csv"), folder / "checkpoints"
    callbacks = [
        history,
        ModelCheckpoint(checkpoints, "best", monitor="validation_loss", enable_version_counter=False),
        # One of its own: Lightning's save_last follows the best one only, so an epoch that is no better would be lost.
        ModelCheckpoint(checkpoints, "last", enable_version_counter=False),
        EarlyStopping("validation_loss", patience=settings.stop_patience),
    ]
    trainer = pl.Trainer(
        max_epochs=settings.epochs, precision=settings.precision, callbacks=callbacks, num_sanity_val_steps=0,
        logger=[CSVLogger(folder, "logs", "csv"), TensorBoardLogger(folder, "logs", "tensorboard")],
        devices=1, accelerator="auto", enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    )
    indices = DataLoader(range(settings.steps_per_epoch), batch_size=None)  # a batch is drawn on the device, by its number
    trainer.fit(module, indices, DataLoader(range(len(patches)), batch_size=None), ckpt_path=resume, weights_only=False)
    best = min(history.rows, key=lambda row: row["validation_loss"])
    return {
        "loss": settings.loss, "loss_parameters": settings.loss_parameters, "seed": settings.seed,
        "epochs": len(history.rows), "best_epoch": best["epoch"], "steps": trainer.global_step,
        "seconds": round(sum(row["seconds"] for row in history.rows), 1),
        "trainable_parameters": sum(p.numel() for p in module.network.parameters()),
        "device": str(trainer.strategy.root_device), "precision": settings.precision,
    }


def load_network(folder: Path, settings: Training, checkpoint: str = "best") -> UNet3D:
    """The network of a run, with the weights of its ``best`` (or ``last``) checkpoint, ready to predict."""
    network = UNet3D(**settings.network)
    state = torch.load(folder / "checkpoints" / f"{checkpoint}.ckpt", map_location="cpu", weights_only=False)["state_dict"]
    network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return network.to(device, memory_format=torch.channels_last_3d).eval()
