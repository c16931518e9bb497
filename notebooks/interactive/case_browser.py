"""The case browser of JupyterLab: a CT in three planes and 3D, and what an expert and a network drew on it."""

import html
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from ipyniivue import NiiVue, ShowRender, SliceType, Volume
from matplotlib.colors import to_rgb

from kitsnb.data.cases import Case
from kitsnb.data.checks import Accept
from kitsnb.data.nifti import CaseError
from kitsnb.drawing import heading
from kitsnb.viewing.scan import LEGENDS, WINDOWS, as_nifti, find_scans, in_short, read_scan, thinned

from interactive.picture import columns

VIEWS = {"planes and 3D": SliceType.MULTIPLANAR, "axial": SliceType.AXIAL, "coronal": SliceType.CORONAL,
         "sagittal": SliceType.SAGITTAL, "3D": SliceType.RENDER}
KEYS = "Click: cross-hair. Wheel: slices. Keys: arrows on any slider; H, L, J, K on the picture once it was clicked."


class CaseBrowser(widgets.VBox):
    """A widget that shows ``cases``: a case, a list or a folder of them, or a CT of your own as NIfTI.

    ``label`` and ``prediction`` are NIfTI files of that CT; for a folder of cases, whose labels lie beside the CT,
    ``prediction`` is a folder of files ``case_XXXXX.nii.gz``. ``simulated`` is said beside the name. Raises
    FileNotFoundError where there is nothing to show; a case that cannot be read is named in the widget. ``scan`` is
    what is shown now, ``at`` the voxel of the cross-hair.
    """

    def __init__(
        self, cases: Case | str | Path | list[Case], label: str | Path | None = None,
        prediction: str | Path | None = None, *, simulated: bool = False, accept: Accept | None = None,
    ):
        self.found, self.label, self.simulated, self.accept = find_scans(cases, prediction), label, simulated, accept
        self.scan = None
        self.view = NiiVue(height=420, multiplanar_show_render=ShowRender.ALWAYS, is_colorbar=False,
                           back_color=(0, 0, 0, 1), crosshair_color=(1, 1, 1, 0.6), crosshair_width=0.5,
                           is_radiological_convention=True, sagittal_nose_left=True)
        self.view.on_location_change(self._moved)
        self.view.on_image_loaded(self._loaded)
        self.case = widgets.Dropdown(options=list(self.found), description="case")
        self.slice_type = widgets.Dropdown(options=list(VIEWS), description="view")
        self.slice = widgets.IntSlider(1, min=1, max=1, description="slice")
        self.window = widgets.IntRangeSlider(value=WINDOWS["soft tissue"], min=-1024, max=2000, readout=False)
        self.preset = widgets.ToggleButtons(options=list(WINDOWS), style={"button_width": "auto"})
        self.opacity = {kind: widgets.FloatSlider(0.0, min=0, max=1, step=0.05, description=kind) for kind in LEGENDS}
        self.opacity["label"].value = 0.5
        self.facts, self.where = widgets.HTML(), widgets.HTML()
        self._connect()
        entries = [*LEGENDS["label"].values(), *LEGENDS["errors"].values()]
        legend = " ".join(f'<span style="color:{colour}">&#9632;</span> {name}' for name, colour in entries)
        controls = columns([self.case, self.slice_type, self.slice, self.window, *self.opacity.values()], "110px")
        super().__init__([self.facts, controls, self.preset, widgets.HTML(legend), self.view, self.where,
                          widgets.HTML(f"<small>{KEYS}</small>")])
        self.choose(self.case.value)

    def _connect(self) -> None:
        self.case.observe(lambda change: self.choose(change["new"]), "value")
        self.slice.observe(lambda change: self._turn_to(change["new"] - 1), "value")
        self.preset.observe(lambda change: setattr(self.window, "value", WINDOWS[change["new"]]), "value")
        self.window.observe(lambda change: self._set_window(), "value")
        self.slice_type.observe(lambda change: self.view.set_slice_type(VIEWS[change["new"]]), "value")
        for kind, slider in self.opacity.items():
            slider.observe(lambda change, kind=kind: self._set_opacity(kind), "value")

    def choose(self, name: str) -> None:
        """Show another case; one that cannot be read is named with its reason, and the one before stays."""
        case, prediction = self.found[name]
        try:
            self.scan = read_scan(case, self.label, prediction, self.accept)
        except CaseError as error:
            self.facts.value = f'<b role="alert">{html.escape(str(error))}</b>'
            for slider in (self.slice, *self.opacity.values()) if self.scan is None else ():
                slider.disabled = True  # there is nothing to move them over
            return
        self.facts.value = f"<b>{heading(self.scan.name, self.simulated)}</b> · {html.escape(in_short(self.scan))}"
        seen = [kind for kind in self.scan.layers if self.opacity[kind].value]
        self.view.volumes = []  # else niivue draws the old ones with the new ones first
        self.view.volumes = [self._volume(kind) for kind in ("imaging", *seen)]
        self.waiting, self.case.disabled = {volume.id for volume in self.view.volumes}, True
        for kind, slider in self.opacity.items():
            slider.disabled = kind not in self.scan.layers
        self._set_window()
        self.at, self.slice.max, self.slice.disabled = self.scan.centre, len(self.scan.imaging), False
        self._look()

    def _volume(self, kind: str) -> Volume:
        """CT or a layer as niivue takes it. Each that it holds costs time: a layer that nobody sees waits here."""
        array, affine = thinned(self.scan, kind)
        volume = Volume(data=as_nifti(array, affine), name=f"{kind}.nii", colormap="gray", cal_min=0, cal_max=3,
                        colorbar_visible=False)
        if kind == "imaging":
            volume.opacity = 1.0
            volume.cal_min, volume.cal_max = map(float, self.window.value)
        else:
            volume.opacity = self.opacity[kind].value
            volume.set_colormap_label(_colours(LEGENDS[kind]))
        return volume

    def _loaded(self, volume: Volume | dict) -> None:
        """Once all are there, another case can be chosen: niivue mixes up what it gets while it loads."""
        self.waiting.discard(getattr(volume, "id", None))  # of one that is gone there is a mapping
        self.case.disabled = bool(self.waiting)

    def _set_opacity(self, kind: str) -> None:
        shown = next((volume for volume in self.view.volumes if volume.name == f"{kind}.nii"), None)
        if shown:
            shown.opacity = self.opacity[kind].value
        elif kind in self.scan.layers:
            self.view.add_volume(self._volume(kind))

    def _set_window(self) -> None:
        self.window.description = "{} to {} HU".format(*self.window.value)
        for volume in self.view.volumes[:1]:
            volume.cal_min, volume.cal_max = map(float, self.window.value)

    def _turn_to(self, index: int) -> None:
        """The slider was moved, by the reader or after the cross-hair."""
        if index != self.at[0]:
            self.at = (index, *self.at[1:])
            self._look()

    def _look(self) -> None:
        self.view.scene.crosshair_pos = self.scan.fraction(self.at)
        self._say_where()

    def _moved(self, place: dict) -> None:
        """The cross-hair was moved in the picture."""
        at = np.rint(np.linalg.inv(self.scan.affine) @ [*place["mm"][:3], 1])[:3].astype(int)
        if (0 <= at).all() and (at < self.scan.imaging.shape).all():
            self.at = tuple(at.tolist())
            self._say_where()

    def _say_where(self) -> None:
        self.slice.value = self.at[0] + 1
        said = [f"{self.scan.imaging[self.at]:.0f} HU"]
        for name, array in self.scan.layers.items():
            number = int(array[self.at])
            said.append(f"{name}: {LEGENDS[name][number][0] if number else 'none'}")
        self.where.value = f"At the cross-hair: {' · '.join(said)}"


def _colours(legend: dict[int, tuple[str, str]]) -> dict:
    """A table of colours as niivue wants it; 0 is transparent."""
    rgb = [[round(255 * part) for part in to_rgb(colour)] for _, colour in legend.values()]
    red, green, blue = ([0, *channel] for channel in zip(*rgb))
    return {"R": red, "G": green, "B": blue, "A": [0, *(255 for _ in rgb)], "I": [0, *legend],
            "labels": ["", *(name for name, _ in legend.values())]}
