"""Figures and tables of results from made-up studies: what they show and say, whatever a reader's matplotlibrc says."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from helpers.study_at_hand import ROWS, made_up_about, made_up_scores
from results import tables
from results.figures import choose_slices, slices, training_panels

from kitsnb.files import write_json
from kitsnb.study import figures, plots, statistics
from kitsnb.study.findings import report

SOME = [ROWS[0], ROWS[3], ROWS[6]]
HISTORY = pd.DataFrame({"epoch": [1, 2], **{f"{part}_{name}": [0.9, np.nan] for part in ("training", "validation")
                                            for name in ("loss", "background", "kidney", "tumour")}})


@pytest.fixture(scope="module")
def studies() -> dict[str, tuple[dict, pd.DataFrame]]:
    """Describe a study of three rows, one of one seed, and one of one row."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 200)
        made = {}
        for name, rows, seeds in (("whole", SOME, 3), ("one seed", SOME, 1), ("one row", SOME[:1], 1)):
            scores = made_up_scores(rows, seeds)
            made[name] = report(made_up_about(rows, seeds), scores), scores
        return made


def labels() -> np.ndarray:
    volume = np.zeros((20, 20, 20), np.uint8)
    volume[5:15, 5:15, 5:15] = 1
    volume[8:12, 8:12, 8:12] = 2
    return volume


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].texts]


@pytest.mark.filterwarnings("error")
def test_equal_figures_are_equal_files_whatever_a_readers_style(tmp_path, studies):
    drawn = []
    for reader in ({}, {"text.usetex": True, "lines.linewidth": 9, "font.size": 20, "savefig.dpi": 10}):
        mpl.rcParams.update(reader)
        figures.use_style()
        made = plots.draw(*studies["whole"])
        made["training"] = training_panels({"Dice loss": HISTORY, "other": HISTORY}, "Training", True)
        made["slices"] = slices(labels() * 100, labels(), labels() * 0, np.diag([2.0, 2, 3, 1]), "case", True)
        files = {name: figures.save(figure, tmp_path / f"{name}.svg") for name, figure in made.items()}
        drawn.append({name: path.read_bytes() for name, path in files.items()})
        assert all("simulated CT" in figure.get_suptitle() for figure in made.values())
    assert drawn[0] == drawn[1] and set(drawn[0]) == {"rows", "scores", "takes", "training", "slices"}


def test_what_does_not_apply_is_not_drawn(studies):
    whole, one_seed, one_row = (plots.draw(*study) for study in studies.values())
    assert "95 % over cases and seeds" in legend(whole["rows"]) and len(whole["rows"].axes) == 3
    assert "95 % over cases and seeds" not in legend(one_seed["rows"])
    assert len(one_row["rows"].axes) == 2 and "takes" not in one_row
    assert legend(one_seed["takes"]) == ["1 seed, each loss its own", "what the seed paper claims"]


def test_rows_are_drawn_by_rank_and_less_the_reference(studies):
    means, _, differences = plots.draw(*studies["whole"])["rows"].axes
    titles = [text.get_text() for text in means.get_yticklabels()]
    (line,) = [line for line in differences.lines if line.get_label() == "mean"]
    values = dict(zip(titles, line.get_xdata()))
    assert titles == ["Weighted Dice", "Log-cosh Dice", "Dice"] and values["Weighted Dice"] > 0 > values["Dice"]
    assert values["Log-cosh Dice"] == 0


def test_slices_are_at_the_tumours_quartiles_and_to_scale():
    assert choose_slices(labels()) == [11, 10, 9] and choose_slices(np.minimum(labels(), 1)) == [12, 10, 7]
    with pytest.raises(ValueError, match="neither kidney nor tumour"):
        choose_slices(labels() * 0)
    figure = slices(labels() * 100, labels(), labels() * 0, np.diag([2.0, 2, 3, 1]), "missed", True)
    assert len({(*panel.get_xlim(), *panel.get_ylim()) for panel in figure.axes}) == 1
    assert [panel.get_title() for panel in figure.axes[:3]] == ["+3 mm", "0 mm", "−3 mm"]


def test_tables_say_it_in_words(studies):
    found, _ = studies["whole"]
    alone, _ = studies["one row"]
    apart = tables.apart(found)
    assert {"composite", "tumour"} == set(apart.score) and tables.apart(alone).empty
    assert tuple(apart.loc[0, ["higher", "than"]]) == ("Log-cosh Dice", "Dice")
    assert apart.loc[0, "difference (95 % interval)"].startswith("+")
    claims = tables.claims(found)
    assert list(claims["from"]) == ["seed paper"] * 5 + ["hypothesis"] * 2, "of the seed paper's, two were not run"
    assert list(claims.verdict) == ["undecided", "refuted", *["held"] * 5]
    assert tuple(claims.loc[2, ["row", "against", "difference"]]) == ("Weighted Dice", "Dice", "+0.056")
    assert tables.claims(alone).empty and ("pairs told apart by the composite", 3, "of 3") in tables.measures(found)
    assert tables.table_1(found).shape == (3, 5)


def test_labels_of_simulated_cases_are_not_taken_for_the_real_ones(tmp_path):
    write_json(tmp_path / "labels.json", {"simulated": True})
    with pytest.raises(ValueError, match="describes simulated cases"):
        tables.load_labels(str(tmp_path / "labels.json"))
