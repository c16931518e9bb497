"""Play with a loss: move its parameters, and see its value and its gradient along the errors of notebook 03."""

from collections.abc import Mapping

from IPython.display import display
from ipywidgets import interact
from matplotlib.figure import Figure

from kitsnb.losses import build_loss
from kitsnb.workflow.profile import Experiment

from probing.errors import Geometry
from probing.figures import error_paths
from probing.probes import along_paths

#: Losses, and between what their parameters can be moved.
SHAPE = {"exponent": (0.25, 6.0), "alpha": (0.0, 1.0)}
LOSSES = {"focal_tversky": SHAPE, "log_cosh_focal_tversky": SHAPE, "dice": {}, "log_cosh_dice": {}}


def draw(geometry: Geometry, predictions: Mapping, loss: str, **parameters: float) -> Figure:
    """Draw value and gradient of ``loss`` along the error paths."""
    values = [f"{name} {value:g}" for name, value in parameters.items()]
    row = Experiment(name=loss, title=", ".join([loss.replace("_", " "), *values]), loss=loss)
    table = along_paths({loss: build_loss(loss, **parameters)}, geometry, predictions)
    return error_paths(table, [row], geometry)


def playground(geometry: Geometry, predictions: Mapping) -> None:
    """Choose one of LOSSES and move its parameters; ``predictions`` are those of ``predict_errors``."""

    def choose(loss: str) -> None:
        interact(lambda **given: display(draw(geometry, predictions, loss, **given)), **LOSSES[loss])

    interact(choose, loss=list(LOSSES))
