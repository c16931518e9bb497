"""Slices drawn to scale: what is round in the body is round on paper, in every plane; colours that all can tell apart."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.figure import Figure

from kitsnb.drawing import COLOURS, ERRORS, GREY, alternative, canvas, labelled_section, outline, section, three_views

SPACING = np.array([5.0, 0.8, 1.6])
#: Linear RGB as it is seen without red, green or blue receptors (Machado and others 2009, severity 1).
SIGHT = {
    "all": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
#: XYZ of linear RGB, over that of white.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) / [[0.9505], [1], [1.089]]


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


def test_three_views_name_their_planes_and_sides_and_need_no_label():
    figure = three_views(np.zeros((4, 5, 6)), np.zeros((4, 5, 6), np.uint8), SPACING, "case", simulated=True)
    assert figure.get_suptitle() == "case (simulated CT)"
    assert [axes.get_title() for axes in figure.axes] == ["axial", "coronal", "sagittal"]
    assert ["".join(text.get_text() for text in axes.texts) for axes in figure.axes] == ["APRL", "SIRL", "SIAP"]


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


def test_a_figure_says_in_words_what_it_shows_whatever_its_rows_are_called():
    figure, (left, right) = canvas("Dice by row", (6, 3), 1, 2, simulated=True)
    left.plot([0, 1], [1e-4, 1e2], label="kidney")
    left.set(xlabel="epoch", ylabel="Dice", title="training", yscale="log")
    left.legend()
    rows = ["Dice loss", "metal", "default", "−0.5", *(f"loss {n}" for n in range(15))]  # two as mathtext is spelt
    right.set_yticks(range(len(rows)), rows)
    said = alternative(figure)
    assert said.startswith("Dice by row (simulated CT). Panels: training, Dice against epoch. Legend: kidney. "
                           "Rows: Dice loss; metal; default; loss 0;")
    assert said.endswith("loss 8; and 6 more")


def linear(colour: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(colour: str, sight: str) -> np.ndarray:
    """CIELAB of ``colour`` with the receptors of ``sight``."""
    x, y, z = np.cbrt(XYZ @ np.clip(SIGHT[sight] @ linear(colour), 0, 1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("colours, least", [
    (COLOURS, 15), (ERRORS, 25), ({name: COLOURS[name] for name in ("kidney", "tumour")}, 80)],
    ids=["classes", "errors", "kidney and tumour"])
def test_colours_can_be_told_apart_without_one_kind_of_receptor(colours, least, sight):
    for (one, first), (other, second) in combinations(colours.items(), 2):
        assert np.linalg.norm(lab(first, sight) - lab(second, sight)) > least, (one, other)


def test_grey_can_be_read_on_white():
    assert 1.05 / (XYZ[1] @ linear(GREY) + 0.05) > 4.5  # the least contrast of text, WCAG 2 AA
