"""The case browser of JupyterLab: a CT in three planes and 3D, and what an expert and a network drew on it."""

from pathlib import Path

import ipywidgets as widgets
import numpy as np
from ipyniivue import NiiVue, ShowRender, SliceType, Volume
from matplotlib.colors import to_rgb

from kitsnb.data.cases import Case
from kitsnb.data.checks import Accept
from kitsnb.data.nifti import CaseError
from kitsnb.drawing import heading
from kitsnb.viewing.scan import LEGENDS, WINDOWS, Scan, as_nifti, find_scans, read_scan, thinned

VIEWS = {"planes and 3D": SliceType.MULTIPLANAR, "axial": SliceType.AXIAL, "coronal": SliceType.CORONAL,
         "sagittal": SliceType.SAGITTAL, "3D": SliceType.RENDER}
#: Voxels an axis that go to the browser: more take seconds to travel. HU at the pointer are those of the file itself.
MOST = 256
KEYS = "Click: cross-hair. Wheel: slices. Keys, after a click: H, L, J, K move the cross-hair, V changes the view."


class Browser(widgets.VBox):
    """See ``browse``. ``scan`` is what is shown now."""

    def __init__(self, found: dict, label: str | Path | None, simulated: bool, accept: Accept | None, height: int):
        self.found, self.label, self.simulated, self.accept, self.scan = found, label, simulated, accept, None
        self.view = NiiVue(height=height, multiplanar_show_render=ShowRender.ALWAYS, is_colorbar=False,
                           back_color=(0, 0, 0, 1), crosshair_color=(1, 1, 1, 0.6), crosshair_width=0.5,
                           is_radiological_convention=True)
        self.view.on_location_change(self._say_where)
        self.case = widgets.Dropdown(options=list(found), description="case")
        self.facts, self.where = widgets.HTML(), widgets.HTML("HU and label at the cross-hair: click into a picture")
        self.preset = widgets.ToggleButtons(options=list(WINDOWS), style={"button_width": "auto"})
        self.window = widgets.IntRangeSlider(
            value=WINDOWS["soft tissue"], min=-1024, max=2000, description="window (HU)",
            style={"description_width": "90px"}, layout={"width": "440px"})
        self.slice_type = widgets.Dropdown(options=list(VIEWS), description="view", layout={"width": "220px"})
        self.opacity = {name: widgets.FloatSlider(0.5 if name == "label" else 0.0, min=0, max=1, step=0.05,
                                                  description=name, layout={"width": "300px"}) for name in LEGENDS}
        self._connect()
        entries = [*LEGENDS["label"].values(), *LEGENDS["errors"].values()]
        legend = widgets.HTML(" ".join(_patch(*entry) for entry in entries))
        rows = [[self.case, self.slice_type], [self.facts], [self.preset, self.window], list(self.opacity.values()),
                [legend], [self.view], [self.where]]
        boxes = [widgets.HBox(row, layout={"flex_flow": "row wrap"}) if len(row) > 1 else row[0] for row in rows]
        super().__init__([*boxes, widgets.HTML(f"<small>{KEYS}</small>")])
        self.choose(self.case.value)

    def _connect(self) -> None:
        self.case.observe(lambda change: self.choose(change["new"]), "value")
        self.preset.observe(lambda change: setattr(self.window, "value", WINDOWS[change["new"]]), "value")
        self.window.observe(lambda change: self._set_window(), "value")
        self.slice_type.observe(lambda change: self.view.set_slice_type(VIEWS[change["new"]]), "value")
        for slider in self.opacity.values():
            slider.observe(lambda change: self._set_opacity(), "value")

    def choose(self, name: str) -> None:
        """Show another case; one that cannot be read is named with its reason, and the one before stays."""
        case, prediction = self.found[name]
        try:
            self.scan = read_scan(case, self.label, prediction, self.accept)
        except CaseError as error:
            self.facts.value = f"<b>{error}</b>"
            return
        facts = " · ".join(f"{key}: {value}" for key, value in self.scan.facts.items())
        self.facts.value = f"<b>{heading(self.scan.name, self.simulated)}</b> · {facts}"
        self.view.load_volumes(self._volumes(self.scan))
        for name, slider in self.opacity.items():
            slider.disabled = name not in self.scan.layers
        self._set_opacity()
        self.view.scene.crosshair_pos = self.scan.centre_fraction

    def _volumes(self, scan: Scan) -> list[Volume]:
        imaging, layers, affine = thinned(scan, MOST)
        low, high = self.window.value
        shown = [Volume(data=as_nifti(imaging, affine), name="ct.nii", colormap="gray", opacity=1.0, cal_min=low,
                        cal_max=high, colorbar_visible=False)]
        for name, array in layers.items():
            volume = Volume(data=as_nifti(array, affine), name=f"{name}.nii", opacity=0.0, colorbar_visible=False)
            volume.set_colormap_label(_colours(LEGENDS[name]))
            shown.append(volume)
        return shown

    def _set_window(self) -> None:
        if self.view.volumes:
            self.view.volumes[0].cal_min, self.view.volumes[0].cal_max = map(float, self.window.value)

    def _set_opacity(self) -> None:
        for volume in self.view.volumes[1:]:
            volume.opacity = self.opacity[volume.name.removesuffix(".nii")].value

    def _say_where(self, place: dict) -> None:
        mm = np.asarray(place["mm"][:3])
        at = tuple(np.rint(np.linalg.inv(self.scan.affine) @ [*mm, 1])[:3].astype(int))
        if not all(0 <= n < size for n, size in zip(at, self.scan.imaging.shape)):
            return
        said = [f"slice {at[0] + 1} of {self.scan.imaging.shape[0]}", f"{self.scan.imaging[at]:.0f} HU"]
        for name, array in self.scan.layers.items():
            number = int(array[at])
            said.append(f"{name}: {LEGENDS[name][number][0] if number else 'none'}")
        self.where.value = " · ".join(said)


def browse(
    case: Case | str | Path | list[Case],
    label: str | Path | None = None,
    prediction: str | Path | None = None,
    *,
    simulated: bool = False,
    accept: Accept | None = None,
    height: int = 420,
) -> Browser:
    """A widget that shows ``case``: a case, a list or a folder of them, or a CT of your own as NIfTI.

    ``label`` and ``prediction`` are NIfTI files of that CT; for a folder of cases, whose labels lie beside the CT,
    ``prediction`` is a folder of files ``case_XXXXX.nii.gz``. ``simulated`` is said beside the name. ``height`` is in
    pixels. Raises FileNotFoundError where there is nothing to show; a case that cannot be read is named in the widget.
    """
    return Browser(find_scans(case, prediction), label, simulated, accept, height)


def _colours(legend: dict[int, tuple[str, str]]) -> dict:
    """A table of colours as niivue wants it; 0 is transparent."""
    rgb = [[round(255 * part) for part in to_rgb(colour)] for _, colour in legend.values()]
    red, green, blue = ([0, *channel] for channel in zip(*rgb))
    return {"R": red, "G": green, "B": blue, "A": [0, *(255 for _ in rgb)], "I": [0, *legend],
            "labels": ["", *(name for name, _ in legend.values())]}


def _patch(name: str, colour: str) -> str:
    return f'<span style="color:{colour}">&#9632;</span> {name}'
