"""Slices drawn to scale: what is round in the body is round on paper, in every plane."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure

from kitsnb.drawing import COLOURS, labelled_section, outline, section

SPACING = np.array([5.0, 0.8, 1.6])


def extent_on_paper(figure: Figure) -> tuple[int, int]:
    """Height and width in pixels of all that is red in ``figure``."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    red, green, blue, _ = np.asarray(canvas.buffer_rgba()).transpose(2, 0, 1).astype(int)
    found = np.argwhere((red > 200) & (green < 60) & (blue < 60))
    return tuple(found.max(0) - found.min(0) + 1)


@pytest.mark.parametrize("across", [0, 1, 2])
@pytest.mark.parametrize("drawn", ["section", "outline"])
def test_a_sphere_on_an_anisotropic_grid_is_round_in_every_plane(across, drawn):
    figure = Figure(figsize=(5, 3), dpi=150)  # a panel that is no square
    axes = figure.subplots()
    places = np.meshgrid(*[np.arange(-50, 50, step) for step in SPACING], indexing="ij")
    volume = sum(place**2 for place in places) <= 40**2
    at = volume.shape[across] // 2
    colours = ListedColormap(["white", "red" if drawn == "section" else "white"])
    section(axes, volume, SPACING, at, across, cmap=colours)
    if drawn == "outline":
        outline(axes, volume, SPACING, at, "red", across)
    height, width = extent_on_paper(figure)
    assert abs(height / width - 1) < 0.07, (height, width)  # a voxel is up to 5 of 80 mm


def test_kidney_and_tumour_are_outlined_in_their_colours_where_they_are():
    axes = Figure().subplots()
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1, 2:6, 2:6] = 1
    labels[1, 3:5, 3:5] = 2
    labelled_section(axes, np.zeros(labels.shape), labels, SPACING, 0)
    assert not axes.collections
    labelled_section(axes, np.zeros(labels.shape), labels, SPACING, 1)
    drawn = [to_hex(lines.get_edgecolor()[0]) for lines in axes.collections]
    assert drawn == [COLOURS["kidney"], COLOURS["tumour"]]
