"""Play with a loss: move its parameters, and see its value and its gradient along the errors of notebook 03."""

from dataclasses import replace

import numpy as np
import pandas as pd
from IPython.display import display
from ipywidgets import interact
from matplotlib.figure import Figure

from kitsnb.drawing import PAGE, PALETTE, canvas
from kitsnb.losses import build_loss
from kitsnb.study.figures import legend_below

from probing.errors import PATHS, Geometry, soft_logits
from probing.figures import MARKS
from probing.probes import measure

#: Losses, and between what their parameters can be moved.
SHAPE = {"exponent": (0.25, 6.0), "alpha": (0.0, 1.0)}
LOSSES = {"focal_tversky": SHAPE, "log_cosh_focal_tversky": SHAPE, "dice": {}, "log_cosh_dice": {}}
#: Steps on each error path, and voxels that are quick to measure between two movements of a slider.
STEPS, MOST = 7, 200_000


class Playground:
    """Predictions with the errors of ``geometry``, computed once; of a large one on every other voxel in plane."""

    def __init__(self, geometry: Geometry):
        step = 2 if geometry.segmentation.size > MOST else 1
        coarse = np.ascontiguousarray(geometry.segmentation[:, ::step, ::step])
        self.geometry = replace(geometry, segmentation=coarse, spacing=geometry.spacing * (1, step, step))
        self.logits = {}
        for name, path in PATHS.items():
            self.logits[name] = []
            for amount in path.amounts(self.geometry, STEPS):
                labels = path.make(self.geometry, amount)
                self.logits[name].append(soft_logits(labels, self.geometry.spacing))

    def draw(self, loss: str, **parameters: float) -> Figure:
        """Draw value and size of the gradient of ``loss`` along each error path."""
        measured = build_loss(loss, **parameters)
        said = [loss.replace("_", " "), *(f"{name} {value:g}" for name, value in parameters.items())]
        heading = f"{', '.join(said)} ({self.geometry})"
        figure, (left, right) = canvas(heading, (PAGE, 2.8), 1, 2)
        share = np.linspace(0, 1, STEPS)
        for path, colour, mark in zip(self.logits, PALETTE, MARKS):
            found = [measure(measured, logits, self.geometry.target) for logits in self.logits[path]]
            table = pd.DataFrame(found)
            style = {"color": colour, "marker": mark, "markersize": 3}
            left.plot(share, table.value, label=path, **style)
            right.plot(share, table.gradient, **style)
        left.set(xlabel="share of the error's way", ylabel="value of the loss")
        right.set(xlabel="share of the error's way", ylabel="size of the gradient", yscale="log")
        legend_below(figure, left)
        return figure

    def show(self) -> None:
        """Choose one of LOSSES and move its parameters."""

        def choose(loss: str) -> None:
            interact(lambda **given: display(self.draw(loss, **given)), **LOSSES[loss])

        interact(choose, loss=list(LOSSES))
