"""Play with a loss: move its parameters, and see its value and its gradient along the errors of notebook 03."""

from collections.abc import Mapping

import ipywidgets as widgets
from matplotlib.figure import Figure

from kitsnb.losses import build_loss
from kitsnb.workflow.profile import Experiment

from interactive.follow import as_png, follow
from probing.errors import Geometry
from probing.figures import error_paths
from probing.probes import along_paths

LOSSES = ("focal_tversky", "log_cosh_focal_tversky", "dice", "log_cosh_dice")


def draw(geometry: Geometry, predictions: Mapping, loss: str, **parameters: float) -> Figure:
    """Draw value and gradient of ``loss`` along the error paths."""
    values = [f"{name} {value:g}" for name, value in parameters.items()]
    row = Experiment(name=loss, title=", ".join([loss.replace("_", " "), *values]), loss=loss)
    table = along_paths({loss: build_loss(loss, **parameters)}, geometry, predictions)
    return error_paths(table, [row], geometry)


def playground(geometry: Geometry, predictions: Mapping) -> widgets.VBox:
    """Choose one of LOSSES and move its parameters; ``predictions`` are those of ``predict_errors``."""
    exponent = widgets.FloatSlider(value=0.75, min=0.25, max=6, step=0.05)
    alpha = widgets.FloatSlider(value=0.7, min=0, max=1, step=0.05)
    picture = widgets.Image()

    def show(loss: str, **parameters: float) -> None:
        focal = "focal" in loss
        exponent.disabled = not focal
        alpha.disabled = not focal
        picture.value = as_png(draw(geometry, predictions, loss, **(parameters if focal else {})))

    return follow(show, picture, loss=widgets.Dropdown(options=LOSSES), exponent=exponent, alpha=alpha)
