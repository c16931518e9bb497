"""Figures of notebooks 01 and 03: to scale, and what is said in them."""

import numpy as np
import pandas as pd
from fingerprint.figures import clipping
from probing.figures import error_paths, gradient_shares, line_styles
from probing.probes import PATHS, Geometry, build_losses
from probing.probes import gradient_shares as measure_shares

SPACING = (5.0, 0.8, 1.6)


def test_figure_1_is_to_scale():
    figure = clipping(np.zeros((20, 125, 63)), 10, (-79, 304), SPACING, True)
    left, right = figure.axes[:2]
    for axes in (left, right):
        assert axes.get_aspect() == 1 and axes.images[0].get_extent() == [0, 63 * 1.6, 125 * 0.8, 0]
    assert "simulated" in figure.get_suptitle()


def labels() -> np.ndarray:
    volume = np.zeros((20, 20, 20), np.uint8)
    volume[5:15, 5:15, 5:15], volume[8:12, 8:12, 8:12] = 1, 2
    return volume


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
