"""The run browser: what it follows, what it draws, and that a row of its table opens that case of that run."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from interactive.run_browser import RunBrowser, curves, follow, merged, points, table_of_cases

from kitsnb.files import Build

ROWS = [{"name": "dice", "title": "Dice loss", "loss": "dice"}, {"name": "focal", "title": "Focal loss", "loss": "focal"}]
AFFINE = np.array([[0, 0, -8.0, 40], [0, -8.0, 0, 30], [-9.0, 0, 0, 60], [0, 0, 0, 1]])  # KiTS19's IPL
#: Tumour Dice of the two cases by loss and seed; no run of seed 1 of the second loss has ended.
TUMOUR = {("dice", 0): (0.6, 0.2), ("dice", 1): (0.8, 0.4), ("focal", 0): (0.1, 0.9)}


def write_epochs(folder, n: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{part}_{name}" for part in ("training", "validation") for name in ("loss", "soft_dice", "kidney", "tumour")]
    table = pd.DataFrame({"epoch": range(1, n + 1)} | {name: np.linspace(0.1, 0.5, n) for name in names})
    table.to_csv(folder / "history.csv", index=False)


@pytest.fixture
def build(tmp_path):
    """Two cases, three runs that have ended, one of which lacks a prediction, and one in training."""
    build = Build(tmp_path)
    label = np.zeros((10, 16, 16), np.uint8)
    label[3:7, 4:12, 4:12], label[4:6, 5:8, 5:8] = 1, 2
    noise = np.random.default_rng(0).normal(0, 300, label.shape).astype(np.int16)
    for n in (0, 1):
        for name, array in (("imaging", noise), ("segmentation", label)):
            path = build.data / f"case_0000{n}" / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, AFFINE), path)
    for (name, seed), tumour in TUMOUR.items():
        folder = build.run(name, seed)
        write_epochs(folder, 3)
        scores = {"kidney": 0.9, "kidney_and_tumour": 0.8, "composite": 0.7, "tumour_ml": 10.0, "predicted_tumour_ml": 9.0}
        pd.DataFrame({"case": ["case_00000", "case_00001"], "tumour": tumour, **scores}).to_csv(folder / "scores.csv", index=False)
        (folder / "run.json").write_text(json.dumps({}))
        (folder / "predictions").mkdir()
        for n in (0, 1)[: 1 if name == "focal" else 2]:
            nib.save(nib.Nifti1Image(np.roll(label, n + 1, 2), AFFINE), folder / "predictions" / f"case_0000{n}.nii.gz")
    write_epochs(build.run("focal", 1), 1)
    return build


@pytest.fixture
def browser(build):
    return RunBrowser(build, ROWS, [0, 1], build.data, simulated=True)


def test_what_is_followed(build):
    followed = follow(build, ROWS, [0, 1, 2], None)
    assert [one.name for one in followed] == ["Dice loss, seed 0", "Dice loss, seed 1", "Focal loss, seed 0", "Focal loss, seed 1"]
    assert followed[3].scores is None and followed[3].title == "Focal loss, seed 1 (in training, epoch 1)"
    assert follow(build, ROWS, [0], 3) == []


def test_seeds_are_averaged_and_cases_are_ordered_by_hand(build):
    followed = follow(build, ROWS, [0, 1], None)
    assert merged(followed).set_index(["loss", "case"]).tumour.to_dict() == pytest.approx({
        ("Dice loss", "case_00000"): 0.7, ("Dice loss", "case_00001"): 0.3,
        ("Focal loss", "case_00000"): 0.1, ("Focal loss", "case_00001"): 0.9})
    table = table_of_cases(followed)
    assert table["tumour Dice"].tolist() == [0.1, 0.2, 0.4, 0.6, 0.8, 0.9]
    assert table.iloc[0][["run", "case"]].tolist() == ["Focal loss, seed 0", "case 00000"]
    assert table_of_cases(followed[3:]).empty and merged(followed[3:]).empty


def test_figures_draw_every_run_and_every_case(build):
    followed = follow(build, ROWS, [0, 1], None)
    axes, = curves(followed, "validation_tumour", True).axes
    assert [len(line.get_xdata()) for line in axes.lines] == [3, 3, 3, 1] and "simulated" in axes.figure.get_suptitle()
    axes, = points(merged(followed), "tumour", False).axes
    assert sorted(x for found in axes.collections for x in found.get_offsets()[:, 0]) == pytest.approx([0.1, 0.3, 0.7, 0.9])
    assert points(merged(followed[3:]), "tumour", False).axes[0].lines[:] == []


def test_a_row_opens_that_case_of_that_run(browser):
    browser.table.selected_rows = [2]
    assert "case 00001, Dice loss, seed 1: tumour Dice 0.400" in browser.heading.value
    shown = browser.picture.value
    browser.table.selected_rows = [3]
    assert "case 00000, Dice loss, seed 0" in browser.heading.value and browser.picture.value != shown
    browser.deeper.click()
    assert browser.viewer.children[0].case.value == "case_00000"
    browser.table.selected_rows = [5]  # its prediction is not there
    assert "alert" in browser.heading.value and "case_00001" in browser.heading.value and not browser.viewer.children


def test_choosing_runs_leaves_the_others_out_and_refresh_follows_the_training(browser, build):
    browser.chosen.value = [1, 3]
    assert browser.rows.run.unique().tolist() == ["Dice loss, seed 1"]
    browser.table.selected_rows = [0]
    assert "case 00001, Dice loss, seed 1" in browser.heading.value
    before = browser.pictures["curves"].value
    write_epochs(build.run("focal", 1), 2)
    write_epochs(build.run("dice", 2), 2)  # of no seed that is looked at
    browser.again.click()
    assert [label for label, _ in browser.chosen.options][3] == "Focal loss, seed 1 (in training, epoch 2)"
    assert browser.chosen.value == (1, 3) and browser.pictures["curves"].value != before


def test_pairs_and_nothing_yet(browser, tmp_path):
    assert (browser.first.value, browser.second.value) == ("Focal loss", "Dice loss")
    before = browser.pictures["pairs"].value
    browser.second.value = "Focal loss"
    assert browser.pictures["pairs"].value != before
    empty = RunBrowser(Build(tmp_path / "other"), ROWS, [0], tmp_path)
    assert empty.chosen.options == () and empty.rows.empty and not empty.pictures["pairs"].value
