"""Pictures in a run's TensorBoard: now and then one slice of a validation patch, with its label and its prediction.

They show what validation has worked out anyway and draw no random number: the run stays the same to the last bit.
"""

import numpy as np
from matplotlib.colors import to_rgb
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from kitsnb.drawing import COLOURS

#: Epochs from one picture to the next; the first epoch has one, too.
EVERY = 5
#: A voxel is a square of so many pixels.
ENLARGED = 4


class Pictures(Callback):
    """The first validation patch, on the first held-out case's tumour: CT, CT with label, with prediction."""

    def on_validation_batch_end(self, trainer, module, logits: Tensor, batch, batch_index: int) -> None:
        epoch = trainer.current_epoch + 1
        if batch_index == 0 and module.ranks.rank == 0 and (epoch == 1 or epoch % EVERY == 0):
            imaging, label = (part[0].cpu().numpy() for part in module.validation[0])
            shown = draw(imaging[0], label, logits[0].argmax(0).cpu().numpy())
            trainer.logger.experiment.add_image("validation: CT, label, prediction", shown, trainer.global_step,
                                                dataformats="HWC")


def draw(imaging: np.ndarray, label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The slice with most tumour, or kidney, as RGB [height, width, 3] (uint8); all three arrays are [D, H, W]."""
    wanted = label == (2 if (label == 2).any() else 1)
    at = int(wanted.sum((1, 2)).argmax())
    grey = (imaging[at] - imaging[at].min()) / max(float(np.ptp(imaging[at])), 1e-6)
    panels = [np.repeat(grey[..., None], 3, axis=2) for _ in range(3)]
    for panel, classes in zip(panels[1:], (label[at], prediction[at])):
        for number, name in ((1, "kidney"), (2, "tumour")):
            panel[classes == number] = (panel[classes == number] + to_rgb(COLOURS[name])) / 2
    picture = (255 * np.nan_to_num(np.hstack(panels))).astype(np.uint8)
    return picture.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
