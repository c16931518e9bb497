"""The loss playground: move a parameter, and see at once what a loss and its gradient make of controlled errors."""

import html
import inspect
from dataclasses import replace

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor, nn

from kitsnb.drawing import COLOURS, PALETTE, canvas, outline, section
from kitsnb.losses import LOSSES, build_loss
from kitsnb.losses.registry import load

from interactive.picture import Picture, columns
from probing.figures import MARKS
from probing.probes import CLASSES, PATHS, Geometry, soft_logits, value_and_gradient

#: So many voxels a prediction and so many steps a path are measured between two movements of a slider.
VOXELS, STEPS = 64_000, 7
#: Low, high and step of the sliders; ``smooth`` is a power of ten, and each class has a weight.
RANGES = {"exponent": (0.25, 6, 0.05), "alpha": (0, 1, 0.05), "beta": (0, 4, 0.05), "gamma": (0, 6, 0.25)}
SMOOTH, WEIGHTS = (-7, 3, 0.5), (0, 10, 0.5)
START = {"exponent": 0.75, "alpha": 0.7, "beta": 0.3, "gamma": 2.0, "smooth": 1e-5, "weights": (1.0, 2.0, 3.0)}


def thinned(geometry: Geometry, voxels: int = VOXELS) -> Geometry:
    """``geometry`` with every other voxel along its finest axis, as often as it takes to have at most ``voxels``."""
    while geometry.segmentation.size > voxels:
        steps = np.where(np.arange(3) == np.argmin(geometry.spacing), 2, 1)
        labels = geometry.segmentation[tuple(slice(None, None, step) for step in steps)]
        geometry = replace(geometry, segmentation=np.ascontiguousarray(labels), spacing=geometry.spacing * steps)
    return geometry


def parameters_of(name: str) -> dict[str, object]:
    """What the loss ``name`` (as ``build_loss`` takes it) can be given, and the defaults; None where there is none.

    Raises ValueError as ``build_loss`` does for a name or a file that is not there.
    """
    if ":" not in name and name not in LOSSES:
        build_loss(name)  # says what is wrong
    made = load(name) if ":" in name else LOSSES[name]
    made = made.forward if isinstance(made, nn.Module) else made
    given = list(inspect.signature(made).parameters.values())
    if ":" in name and not inspect.isclass(made):  # a function takes logits and labels first
        given = given[2:]
    return {one.name: None if one.default is one.empty else one.default for one in given}


class Curves:
    """A figure of one loss at a time: its value and gradient along the errors of ``geometry``, and where it pushes.

    Predictions are computed once; ``show`` measures a loss on them and moves what is drawn, so that it is quick.
    """

    def __init__(self, geometry: Geometry, steps: int = STEPS):
        self.geometry = geometry = thinned(geometry)
        self.target, self.shares = geometry.target, np.linspace(0, 1, steps)
        self.most = {name: path.most(geometry) for name, path in PATHS.items()}
        self.logits = {name: [self.predicted(name, share) for share in self.shares] for name in PATHS}
        self.nothing = soft_logits(np.zeros_like(geometry.segmentation), geometry.spacing)
        title = f"What a loss makes of errors, and where it pushes ({geometry})"
        self.figure, self.axes = canvas(title, (9.4, 3.5), 1, 3, width_ratios=(1, 1, 0.9))
        styles = {"dice": {"linestyle": ":", "linewidth": 0.9, "alpha": 0.7}, "loss": {"markersize": 3.5}}
        ways = [f"{name}, to {self.most[name]:.0f} {path.unit}" for name, path in PATHS.items()]
        self.lines = {kind: {name: [axes.plot([], [], color=colour, marker=mark if kind == "loss" else None,
                                              label=way, **style)[0] for axes in self.axes[:2]]
                             for name, way, colour, mark in zip(PATHS, ways, PALETTE, MARKS)}
                      for kind, style in styles.items()}
        for axes, said in zip(self.axes, ("loss over that of finding nothing", "size of the gradient")):
            axes.set(xlabel="share of the error's way", ylabel=said, xlim=(0, 1))
        self.axes[0].set_ymargin(0.02)
        self.axes[1].set_yscale("log", subs=[])
        handles = [lines[0] for lines in self.lines["loss"].values()]
        handles.append(Line2D([], [], color="black", linestyle=":", linewidth=0.9, label="dotted: Dice"))
        self.figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize="small")
        self._measure(build_loss("dice"), self.lines["dice"])
        self.seen, self.map, self.at = None, None, None

    def predicted(self, path: str, share: float) -> Tensor:
        """Logits of the error ``path`` at ``share`` of its way."""
        return soft_logits(PATHS[path].make(self.geometry, share * self.most[path]), self.geometry.spacing)

    def show(self, loss: nn.Module, path: str = "missed tumour", share: float = 0.5) -> Figure:
        """Draw ``loss``, and its gradient's map at ``share`` of the way of ``path``."""
        self._measure(loss, self.lines["loss"])
        if (path, share) != self.seen:
            self._look_at(path, share)
        push = -value_and_gradient(loss, self.wrong, self.target)[1][0, CLASSES.index("tumour")].numpy()
        most = float(np.abs(push).max())
        self.map.set(data=push[self.at], clim=(-most, most))
        self.axes[2].set_title(f"{path}, {share * self.most[path]:.0f} {PATHS[path].unit}: tumour is pushed\n"
                               f"up (orange) or down (purple), at most {most:.0e}", fontsize="small")
        return self.figure

    def _measure(self, loss: nn.Module, lines: dict[str, list[Line2D]]) -> None:
        lost = float(loss(self.nothing, self.target))
        for name, (value, gradient) in lines.items():
            found = [value_and_gradient(loss, logits, self.target) for logits in self.logits[name]]
            value.set_data(self.shares, [one / lost if lost else np.nan for one, _ in found])
            gradient.set_data(self.shares,
                              [float(one.abs().sum(dtype=torch.float64)) or np.nan for _, one in found])
        for axes in self.axes[:2]:
            axes.relim()
            axes.autoscale_view(scalex=False)
        # Round and wide limits stay as they are for most movements, which lets the eye compare, and is quicker (see
        # Picture).
        low, high = 5 * np.asarray(self.axes[0].get_ylim())
        self.axes[0].set_ylim(min(0, np.floor(low + 0.5) / 5), max(1, np.ceil(high) / 5), auto=True)
        low, high = np.log10(self.axes[1].get_ylim())
        self.axes[1].set_ylim(10 ** min(-3, 3 * np.floor(low / 3)), 10 ** max(0, np.ceil(high)), auto=True)

    def _look_at(self, path: str, share: float) -> None:
        """Turn the map to another error: to the slice where it does most."""
        labels = PATHS[path].make(self.geometry, share * self.most[path])
        self.seen, self.wrong = (path, share), soft_logits(labels, self.geometry.spacing)
        odd = labels != self.geometry.segmentation
        self.at = int((odd if odd.any() else labels == 2).sum((1, 2)).argmax())
        self.axes[2].clear()
        self.map = section(self.axes[2], np.zeros(labels.shape), self.geometry.spacing, self.at, cmap="PuOr_r")
        for label, name in ((1, "kidney"), (2, "tumour")):
            outline(self.axes[2], self.geometry.segmentation == label, self.geometry.spacing, self.at, COLOURS[name])


class Playground(widgets.VBox):
    """Sliders over ``Curves``: choose a loss of the library or one of your own, and move what it can be given."""

    def __init__(self, geometry: Geometry, loss: str = "focal_tversky"):
        self.curves = Curves(geometry)
        moving = [line for lines in self.curves.lines["loss"].values() for line in lines]
        self.drawn = Picture(self.curves.figure, [*moving, self.curves.axes[2]])
        self.loss = widgets.Dropdown(options={name.replace("_", " "): name for name in LOSSES}, value=loss,
                                     description="loss")
        self.own = widgets.Text(placeholder="my_loss.py:my_loss", description="or your own", continuous_update=False,
                                tooltip="a file and a function, from the repository's root; empty: the one chosen")
        self.sliders = {name: _slider(name, START[name], *limits) for name, limits in RANGES.items()}
        self.sliders["smooth"] = widgets.FloatLogSlider(START["smooth"], min=SMOOTH[0], max=SMOOTH[1], step=SMOOTH[2],
                                                        description="smooth", readout_format=".0e")
        self.weights = [_slider(f"w. {name}", weight, *WEIGHTS) for name, weight in zip(CLASSES, START["weights"])]
        self.extra = columns([])
        self.path = widgets.Dropdown(options=list(PATHS), value="missed tumour", description="map of")
        self.share = _slider("at share", 0.5, 0, 1, 0.05)
        self.message, self.picture = widgets.HTML(), widgets.HTML()
        controls = [self.loss, self.own, *self.sliders.values(), *self.weights, self.path, self.share]
        for one in controls:
            one.observe(self._choose if one in (self.loss, self.own) else self._draw, "value")
        super().__init__([columns(controls), self.extra, self.message, self.picture])
        self._choose()

    @property
    def name(self) -> str:
        return self.own.value.strip() or self.loss.value

    @property
    def given(self) -> dict[str, object]:
        """Those parameters that a slider of a reader can move and the chosen loss takes."""
        found = {name: slider.value for name, slider in self.sliders.items() if not slider.disabled}
        if not self.weights[0].disabled:
            found["weights"] = [slider.value for slider in self.weights]
        return found | {slider.description: slider.value for slider in self.extra.children}

    def _choose(self, _=None) -> None:
        """Fit the sliders to what the chosen loss takes, at its own defaults."""
        try:
            taken = parameters_of(self.name)
        except Exception as error:  # of a reader's file, so whatever it be
            return self._refuse(error)
        for name, slider in self.sliders.items():
            self._set(slider, taken.get(name), START[name], name in taken)
        for slider, own, start in zip(self.weights, taken.get("weights") or START["weights"], START["weights"]):
            self._set(slider, own, start, "weights" in taken)
        self.extra.children = columns([_extra(name, value, self._draw) for name, value in taken.items()
                                       if name not in START and type(value) in (int, float)]).children
        self._draw()

    def _set(self, slider: widgets.FloatSlider, value: object, otherwise: float, used: bool) -> None:
        slider.unobserve(self._draw, "value")
        slider.value, slider.disabled = value if isinstance(value, (int, float)) else otherwise, not used
        slider.observe(self._draw, "value")

    def _draw(self, _=None) -> None:
        try:
            self.curves.show(build_loss(self.name, **self.given), self.path.value, self.share.value)
        except Exception as error:
            return self._refuse(error)
        self.message.value = ""
        given = ", ".join(f"{name} {value}" for name, value in self.given.items())
        self.picture.value = self.drawn.html(
            f"{self.name.replace('_', ' ')}, {given}: value and size of the gradient along five errors, and a map of "
            f"the gradient on the {self.path.value}")

    def _refuse(self, error: Exception) -> None:
        """Say what is wrong with the loss; the picture of the one before stays."""
        said = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
        self.message.value = f'<b role="alert">{html.escape(said)}</b>'


def _slider(name: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(value, min=low, max=high, step=step, description=name)


def _extra(name: str, value: float, draw) -> widgets.FloatSlider:
    """A slider for a number that only this loss takes."""
    high = max(4 * abs(value), 1.0)
    slider = _slider(name, value, min(0.0, 4.0 * value), high, high / 40)
    slider.observe(draw, "value")
    return slider
