"""Slices drawn to scale: what is round in the body is round on paper, in every plane."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from kitsnb.drawing import alternative, canvas, outline, section, three_views

SPACING = (5.0, 0.8, 1.6)


def ball(radius: float = 40.0) -> np.ndarray:
    """Ones inside a ball of ``radius`` mm, on a grid with voxels of ``SPACING``."""
    axes = [np.arange(-50, 50, step) for step in SPACING]
    return sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")) <= radius**2


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
    axes, volume = figure.subplots(), ball()
    at = volume.shape[across] // 2
    colours = ListedColormap(["white", "red" if drawn == "section" else "white"])
    section(axes, volume, SPACING, at, across, cmap=colours)
    if drawn == "outline":
        outline(axes, volume, SPACING, at, "red", across)
    height, width = extent_on_paper(figure)
    assert abs(height / width - 1) < 0.07, (height, width)  # a voxel is up to 5 of 80 mm


def test_a_sphere_is_round_in_three_views_and_letters_name_the_sides():
    figure = three_views(np.where(ball(), 100, -900), ball().astype(np.uint8), SPACING, "ball", simulated=True)
    FigureCanvasAgg(figure).draw()
    assert "simulated CT" in figure.get_suptitle()
    assert [axes.get_title() for axes in figure.axes] == ["axial", "coronal", "sagittal"]
    for axes in figure.axes:
        (border,) = axes.collections[0].get_paths()
        width, height = np.ptp(axes.transData.transform(border.vertices), axis=0)
        assert width == pytest.approx(height, rel=0.1) and width > 50
    assert ["".join(text.get_text() for text in axes.texts) for axes in figure.axes] == ["APRL", "SIRL", "SIAP"]


@pytest.mark.parametrize("labels", [np.zeros((4, 5, 6), np.uint8), np.ones((4, 5, 6), np.uint8)])
def test_nothing_found_and_no_imaging_are_drawn_too(labels):
    for imaging in (None, np.zeros(labels.shape)):
        FigureCanvasAgg(three_views(imaging, labels, SPACING, "case")).draw()


def test_a_figure_says_in_words_what_it_shows():
    figure, (left, right) = canvas("Dice by row", (6, 3), 1, 2, simulated=True)
    left.plot([0, 1], [0, 1], label="kidney")
    left.set(xlabel="epoch", ylabel="Dice", title="training")
    left.legend()
    right.set_yticks([0, 1], ["Dice loss", "Tversky"])
    said = alternative(figure)
    assert said == ("Dice by row (simulated CT). Panels: training, Dice against epoch. Legend: kidney. "
                    "Rows: Dice loss; Tversky")
