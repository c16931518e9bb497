"""Figures in widgets: as quick as a picture can be drawn anew, with a text for who does not see it."""

import base64
import html
import io
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kitsnb.drawing import alternative


class Picture:
    """``figure`` as HTML, drawn anew at each call of ``html``.

    Its layout is worked out once, and with ``moving``, the artists that change (all of one zorder or rising), what lies
    below them is drawn again only when the limits of an axis have changed: both take longer than all else.
    """

    def __init__(self, figure: Figure, moving: Sequence[Artist] = ()):
        self.canvas, self.moving, self.limits, self.below = FigureCanvasAgg(figure), moving, None, None
        for artist in moving:
            artist.set_animated(True)

    def html(self, alt: str | None = None) -> str:
        """The figure as PNG in an ``img``; ``alt`` says what it shows, None: as ``alternative`` has it."""
        figure, stream = self.canvas.figure, io.BytesIO()
        limits = [(*axes.get_xlim(), *axes.get_ylim()) for axes in figure.axes]
        if limits != self.limits or not self.moving:
            self.canvas.draw()
            figure.set_layout_engine("none")
            self.limits, self.below = limits, self.canvas.copy_from_bbox(figure.bbox)
        self.canvas.restore_region(self.below)
        for artist in self.moving:
            figure.draw_artist(artist)
        pixels = np.asarray(self.canvas.buffer_rgba())[..., :3]
        Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "png", compress_level=1)
        data = base64.b64encode(stream.getbuffer()).decode()
        said = html.escape(alt or alternative(figure))
        return f'<img style="max-width:100%" alt="{said}" src="data:image/png;base64,{data}">'


def columns(controls: Sequence[widgets.Widget], described: str = "125px") -> widgets.GridBox:
    """``controls`` side by side, in as many columns as there is room for; their descriptions are ``described`` wide."""
    for one in controls:
        one.layout.width, one.style.description_width = "auto", described
    return widgets.GridBox(controls, layout={"grid_template_columns": "repeat(auto-fill, minmax(265px, 1fr))"})
