"""Everything that decides what a run learns; the defaults are the paper's (sections 3.2 and 4)."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from kitsnb.settings import Factors, Positive, Seed, Settings, Sides, finite

Share = Annotated[float, Field(ge=0, le=1)]


class Network(Settings):
    """Arguments of ``UNet3D``; a CT has one channel, and its labels are background, kidney and tumour."""

    base_filters: Annotated[int, Field(ge=1, le=1024)] = 32
    depth: Annotated[int, Field(ge=1, le=8)] = 4
    normalization: Literal["batch", "instance"] = "batch"
    order: Literal["relu_norm", "norm_relu"] = "relu_norm"
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.01
    negative_slope: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Augmentation(Settings):
    """Strength of each augmentation; 0, or the range [1, 1], is off. Defaults follow MIScnn, as the paper does."""

    probability: Share = 0.15
    scaling: Factors = (0.85, 1.25)  # factor of size
    rotation: Annotated[float, Field(ge=0, le=180)] = 15.0  # largest angle about each axis, degrees
    elastic: Annotated[float, Field(ge=0)] = 4.0  # SD of the displacement, voxels
    elastic_spacing: Positive = 16  # voxels between control points of the displacement
    mirror: bool = True  # each axis, with 1/2
    brightness: Factors = (0.5, 2.0)  # factor
    contrast: Factors = (0.3, 3.0)  # factor about the patch's mean
    gamma: Factors = (0.7, 1.5)  # exponent on the patch's range
    noise: Annotated[float, Field(ge=0)] = 0.05  # largest variance of Gaussian noise


class Training(Settings):
    """One run."""

    loss: Annotated[str, Field(min_length=1)] = "dice"
    loss_parameters: Annotated[dict[str, Any], AfterValidator(finite)] = {}
    loss_defaults: Annotated[dict[str, Any], AfterValidator(finite)] = {}  # of every loss of the library that has them
    seed: Seed = 0
    network: Network = Network()
    patch_size: Sides = (80, 80, 80)
    batch_size: Positive = 1
    steps_per_epoch: Positive = 320  # the 160 training cases, two cycles
    epochs: Positive = 1000
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    schedule: Literal["plateau", "poly"] = "plateau"
    warm_up: Annotated[int, Field(ge=0)] = 0  # steps, only with "poly"
    plateau_patience: Annotated[int, Field(ge=0)] = 5  # epochs, only with "plateau"
    minimum_learning_rate: Annotated[float, Field(ge=0)] = 1e-5  # only with "plateau"
    stop_patience: Positive = 20  # epochs, only with "plateau": a fixed schedule is not cut short
    selection: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # of training cases, to choose weights; 0: held-out do
    weights: Literal["best", "last"] = "best"  # of the lowest validation loss, or of the end: which ones predict
    foreground: Share = 0.0
    tumour: Share = 0.5
    body: Share = 0.0  # of the other patches: those centred in the body, and not on a place that may be air around it
    augmentation: Augmentation | None = Augmentation()  # None is off
    # "auto" is 16 bits on a GPU, float32 on a CPU.
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "32-true"

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        unit = 2**self.network.depth
        if any(side % unit for side in self.patch_size):
            raise ValueError(f"patch_size must hold multiples of {unit} (network.depth {self.network.depth}), "
                             f"not {list(self.patch_size)}")
        if self.minimum_learning_rate > self.learning_rate:
            raise ValueError(f"minimum_learning_rate must not be above learning_rate {self.learning_rate:g}")
        return self
