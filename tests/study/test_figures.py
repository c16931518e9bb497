"""Figures: to scale, equal bytes for equal figures, and what is said in them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from study.test_tables import history

from kitsnb.study import figures
from fingerprint.figures import clipping
from kitsnb.study.figures.losses import error_paths, gradient_shares, line_styles
from kitsnb.study.figures.results import best_against_baseline, case_scores, slices, training_curves
from kitsnb.study.probes import PATHS, Geometry, build_losses
from kitsnb.study.probes import gradient_shares as measure_shares

SPACING = (5.0, 0.8, 1.6)


def test_figure_1_is_to_scale():
    figure = clipping(np.zeros((20, 125, 63)), 10, (-79, 304), SPACING, True)
    left, right = figure.axes[:2]
    for axes in (left, right):
        assert axes.get_aspect() == 1 and axes.images[0].get_extent() == [0, 63 * 1.6, 125 * 0.8, 0]
    assert "simulated" in figure.get_suptitle()


def scores(tumour) -> pd.DataFrame:
    names = pd.Index([f"case_{n:05d}" for n in range(3)], name="case")
    return pd.DataFrame({"kidney": 0.8, "tumour": tumour, "tumour_ml": [10.0, 0.0, 40.0]}, index=names)


def labels() -> np.ndarray:
    volume = np.zeros((20, 20, 20), np.uint8)
    volume[5:15, 5:15, 5:15], volume[8:12, 8:12, 8:12] = 1, 2
    return volume


DRAWINGS = {
    "curves": lambda: training_curves(history(), "Dice loss", True),
    "cases": lambda: case_scores(scores([0.7, np.nan, 0.3]), "Dice loss", True),
    "pair": lambda: best_against_baseline(scores([0.7, np.nan, 0.3]), scores([0.1, np.nan, 0.4]), ["kidney", "tumour"],
                                          ("Dice loss", "My loss"), True),
    "slices": lambda: slices(labels() * 100, labels(), labels(), np.diag([2.0, 2, 3, 1]), "case", True),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DRAWINGS)
def test_figures_say_that_ct_is_simulated_and_equal_figures_are_equal_files(tmp_path, name):
    figures.use_style()
    first, second = DRAWINGS[name](), DRAWINGS[name]()
    assert "simulated CT" in first.get_suptitle()
    one, other = (figures.save(figure, tmp_path / f"{n}.svg").read_bytes() for n, figure in enumerate((first, second)))
    assert one == other


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].texts]


def test_legends_say_what_colours_mean():
    assert legend(DRAWINGS["pair"]()) == ["My loss", "Dice loss", "kidney: higher", "tumour: higher", "lower"]
    assert legend(DRAWINGS["curves"]())[-1] == "checkpoint, epoch 4"
    assert legend(DRAWINGS["cases"]()) == ["kidney, mean 0.800", "tumour, mean 0.500, 1 undefined"]
    assert legend(case_scores(scores(np.nan), "none", True)) == ["kidney, mean 0.800", "tumour, 3 undefined"]


def test_a_prediction_without_labels_is_drawn_at_the_references_scale():
    figure = slices(labels() * 100, labels(), labels() * 0, np.diag([2.0, 2, 3, 1]), "missed", True)
    assert len({(*panel.get_xlim(), *panel.get_ylim()) for panel in figure.axes}) == 1


def test_losses_keep_their_colour_and_rows_their_order():
    rows = [{"name": "dice", "title": "Dice loss", "loss": "dice"}, {"name": "log", "title": "Log-cosh", "loss": "log_cosh_dice"},
            {"name": "mine", "title": "My loss", "loss": "tversky", "parameters": {"alpha": 0.6}}]
    styles = line_styles(rows)
    for key in ("color", "marker"):
        assert styles["dice"][key] == styles["log"][key] != styles["mine"][key]
    assert styles["log"]["linestyle"] == "--" and styles["dice"]["linestyle"] == "-"
    figure = gradient_shares(measure_shares(build_losses(rows), (0.9, 0.07, 0.03)), rows, (0.9, 0.07, 0.03))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["Dice loss", "Log-cosh", "My loss"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is on top"


def test_error_paths_have_a_line_a_loss():
    rows = [{"name": name, "loss": name} for name in ("dice", "focal")]
    table = pd.DataFrame([{"path": path, "amount": amount, "loss": row["name"], "relative": amount, "gradient": 1.0}
                          for path in PATHS for amount in (0.0, 1.0) for row in rows])
    figure = error_paths(table, rows, Geometry("phantom 0", labels(), np.array(SPACING), simulated=True))
    assert all(len(axes.lines) == 2 for axes in figure.axes) and "simulated anatomy" in figure.get_suptitle()
