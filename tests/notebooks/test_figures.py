"""Figures: to scale, equal bytes for equal figures, and what is said in them."""

import numpy as np
import pandas as pd
import pytest
from fingerprint.figures import clipping
from helpers.study_at_hand import ROWS, made_up_scores
from matplotlib.figure import Figure
from probing.figures import error_paths, gradient_shares, line_styles
from probing.probes import PATHS, Geometry, build_losses
from probing.probes import gradient_shares as measure_shares
from results.figures import against, case_panels, slices, training_panels, what_it_takes
from study.test_tables import history

from kitsnb.study import figures
from kitsnb.study.claims import load_seed_paper
from kitsnb.study.figures import rows_and_ranks
from kitsnb.study.findings import describe

SPACING = (5.0, 0.8, 1.6)
SEED = load_seed_paper()
FOUND = describe(made_up_scores(), ROWS, SEED)
ALONE = describe(made_up_scores(ROWS[:1], seeds=1), ROWS[:1], SEED)


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
    "curves": lambda: training_panels({"Dice loss": (history(), None)}, "Dice loss", True),
    "panels": lambda: training_panels(dict.fromkeys("abc", (history(), None)), "Training", True),
    "cases": lambda: case_panels({"Dice loss": scores([0.7, np.nan, 0.3]), "none": scores(np.nan)}, True),
    "pair": lambda: against(scores([0.7, np.nan, 0.3]), scores([0.1, np.nan, 0.4]), ("Dice loss", "My loss"), True),
    "rows": lambda: rows_and_ranks(FOUND, True, "Rows", "dice"),
    "one row": lambda: rows_and_ranks(ALONE, True, "Rows", "dice"),
    "takes": lambda: what_it_takes(FOUND, SEED, True, "What it takes"),
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


def test_legends_and_titles_say_what_is_drawn():
    assert legend(DRAWINGS["pair"]()) == ["My loss", "Dice loss", "kidney: higher", "tumour: higher", "lower"]
    assert legend(DRAWINGS["curves"]())[-1] == "epoch of the checkpoint"
    titles = [axes.get_title() for axes in DRAWINGS["cases"]().axes]
    assert titles[0] == "Dice loss\nmeans 0.800 and 0.500 (1 undefined)" and titles[1].endswith("and nan (3 undefined)")
    assert sum(bool(axes.lines) for axes in DRAWINGS["panels"]().axes) == 6, "a fourth place stays empty"


def test_the_central_figure_shows_crossed_intervals_and_ranks_only_where_there_are_any():
    rows, alone = DRAWINGS["rows"](), DRAWINGS["one row"]()
    assert "95 % over cases and seeds" in legend(rows) and len(rows.axes) == 4 and len(alone.axes) == 2
    assert legend(alone) == ["mean, 95 % over cases", "seed paper, its own data"], "one seed: no interval over seeds"
    assert [text.get_text() for text in rows.axes[0].get_yticklabels()][0] == ROWS[-1]["title"], "the highest on top"


def test_what_it_takes_has_a_curve_a_number_of_seeds_where_seeds_are_known():
    assert any("3 seeds" in text for text in legend(DRAWINGS["takes"]()))
    one = describe(made_up_scores(seeds=1), ROWS, SEED)
    assert not any("3 seeds" in text for text in legend(what_it_takes(one, SEED, True, "What it takes")))
    assert what_it_takes(ALONE, SEED, True, "What it takes") is None


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
