"""The paper from a made-up build: every score in it is invented, every figure is a grey box."""

import copy
import json
import re

import pypdf
import pytest
import yaml

from kitsnb import files as paths
from kitsnb.study.paper import PaperError, build

SEED = yaml.safe_load((paths.PAPER / "seed_paper.yml").read_text(encoding="utf-8"))
#: Figures of the paper and their widths in inches.
FIGURES = {
    "data01_imbalance": 7.0,
    "losses01_error_paths": 7.0,
    "losses02_gradient_shares": 7.0,
    "fig01_clipping": 7.0,
    "fig02_training_log_cosh_dice": 7.0,
    "fig03_training_focal_tversky": 7.0,
    "fig04_training_log_cosh_focal_tversky": 7.0,
    "fig05_training_weighted_dice": 7.0,
    "fig06_scores_log_cosh_dice": 3.4,
    "fig07_scores_dice": 3.4,
    "fig08_scores_focal_tversky": 3.4,
    "fig09_scores_log_cosh_focal_tversky": 3.4,
    "fig10_scores_weighted_dice": 3.4,
    "fig11_best_against_baseline": 7.0,
    "fig12_best_against_baseline_tumour": 3.4,
    "fig13_slices_baseline": 7.0,
    "fig14_slices_best": 7.0,
}
LABELS = {
    "simulated": False, "imaging": False, "folder_cases": 210, "cases": 210,
    "slices": {"mean": 216.3, "median": 108.0, "min": 29, "max": 1059},
    "slice_spacing_mm": {"min": 0.5, "median": 3.0, "max": 5.0},
    "in_plane_spacing_mm": {"min": 0.4375, "median": 0.78, "max": 1.041},
    "in_plane_shapes": {"512x512": 209, "512x796": 1}, "not_512": ["case_00160"],
    "shares_percent": {"background": 99.148, "kidney": 0.684, "tumour": 0.168},
    "tumour_ml": {"min": 0.8, "q25": 8.0, "median": 30.0, "q75": 94.0, "max": 1464.0},
    "kidney_ml": {"min": 100.0, "q25": 353.0, "median": 408.0, "q75": 490.0, "max": 900.0},
    "orientations": {"IPL": 210}, "without_tumour": 0, "refused": {}, "seconds": 200.0,
}  # fmt: skip


HYPOTHESIS = {"kind": "tumour", "experiment": "weighted_dice", "reference": "dice", "score": "tumour", "expected": "higher",
              "measure": "share of the gradient", "ratio": 1.37, "verdict": "held",
              "difference": {"mean": 0.123, "low": 0.045, "high": 0.201, "n": 9}}
LOSSES = {
    "geometry": {"name": "phantom 0", "simulated": True, "tumour_ml": 21.0}, "shares_percent": [99.15, 0.68, 0.17],
    "price_of_missing": {"dice": 1.23, "weighted_dice": 3.21},
    "hypotheses": [HYPOTHESIS, HYPOTHESIS | {"expected": "same", "verdict": "undecided"},
                    {"kind": "lowest", "experiment": "focal_tversky_5", "reference": None, "score": "composite",
                     "expected": "lowest", "measure": "fall", "ratio": 0.0004, "verdict": "refuted", "difference": None}],
}  # fmt: skip


def score(mean: float, n: int = 9, undefined: int = 0) -> dict:
    return {"mean": mean, "sd": 0.111, "n": n, "undefined": undefined}


def row(experiment: str, title: str, mean: float, seed_row: dict | None, **parameters) -> dict:
    return {
        "experiment": experiment, "title": title, "loss": experiment, "loss_parameters": parameters, "seeds": 1,
        "scores": {"kidney_and_tumour": score(mean), "kidney": score(mean - 0.02), "tumour": score(mean - 0.2),
                   "composite": score(mean - 0.1)},
        "paper": seed_row and {name: seed_row[name] for name in ("kidney_and_tumour", "kidney", "tumour")},
    }  # fmt: skip


@pytest.fixture
def results() -> dict:
    """A made-up results.json with the seven rows of the seed paper, weighted Dice last in the list and best."""
    table = [row(r["experiment"], r["title"], 0.701 + 0.01 * i, r) for i, r in enumerate(SEED["table"])]
    table[1]["loss_parameters"] = {"alpha": 0.7, "beta": 0.3, "exponent": 0.75}
    table[6]["loss_parameters"] = {"weights": [1, 2, 3]}
    return {
        "profile": {"name": "madeup", "title": "A made-up profile", "description": "Invented for a test of the paper.",
                    "simulated": True,
                    "deviations": [{"setting": "filters", "paper": 32, "here": 8, "why": "two processor cores"},
                                   {"setting": "patch", "paper": "80, 80, 80", "here": [32, 48, 48], "why": "memory"}]},
        "data": {"simulated": True, "training": 21, "validation": 9, "spacing": [6.0, 5.0, 5.0],
                 "shares_percent": {"background": 96.5, "kidney": 2.5, "tumour": 1.0}, "refused": {}},
        "settings": {"build": "/somewhere/build", "patch_size": [32, 48, 48], "batch_size": 2, "learning_rate": 0.01,
                     "epochs": 14, "stop_patience": 20, "steps_per_epoch": 50, "base_filters": 8, "depth": 3, "optimizer": "adam",
                     "normalization": "batch", "warm_up": None, "flips": True},
        "network": {"trainable": 351179, "paper_trainable": 22581283, "paper_running": 5888},
        "table": table, "baseline": "log_cosh_dice", "reference": "log_cosh_dice", "best": "weighted_dice", "rival": "weighted_dice", "worst": "dice",
        "difference": {"kidney_and_tumour": {"mean": 0.031, "low": 0.012, "high": 0.047},
                       "tumour": {"mean": 0.029, "low": -0.013, "high": 0.066}},
        "extremes": {"mean": 0.06, "low": 0.03, "high": 0.09},
        "comparisons": [dict(one, paper=0.018, verdict="undecided", difference={"mean": 0.004, "low": -0.02, "high": 0.03})
                        for one in SEED["comparisons"][:-1]]
        + [dict(SEED["comparisons"][-1], paper=0.114, verdict="agrees", difference={"mean": 0.08, "low": 0.02, "high": 0.11})],
        "unlike": {},
        "order_agreement": {"tumour": 0.24, "kidney_and_tumour": -0.14},
        "losses": copy.deepcopy(LOSSES),
        "distances": [{"experiment": r["experiment"], "title": r["title"], "hd95_kidney_and_tumour": score(5.25),
                       "nsd_kidney_and_tumour": score(0.654), "hd95_tumour": score(17.5, n=8, undefined=1),
                       "nsd_tumour": score(0.321)} for r in table],
        "by_size": [{"experiment": r["experiment"], "title": r["title"],
                     "sizes": {"up to 4 cm": score(0.456, n=6), "over 7 cm": score(0.789, n=3)}} for r in table],
        "audit": {"labels": LABELS},
        "runs": [{"experiment": r["experiment"], "title": r["title"], "seed": 0, "seconds": 61.0, "device": "cpu",
                  "precision": "bf16"} for r in table],
        "figures": list(FIGURES), "seconds": 500.0,
        "software": {"torch": "2.13.0", "torchio": "1.2.1", "typst": "0.15.2"},
    }  # fmt: skip


def write(folder, results: dict) -> paths.Build:
    """A build that holds ``results`` and the figures as grey boxes."""
    made = paths.Build(folder)
    made.figures.mkdir(parents=True)
    made.results.write_text(json.dumps(results), encoding="utf-8")
    for name, width in FIGURES.items():
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * 72}pt" height="180pt" '
            f'viewBox="0 0 {width * 72} 180"><rect width="{width * 72}" height="180" fill="#ccc"/></svg>'
        )
        (made.figures / f"{name}.svg").write_text(svg, encoding="utf-8")
    return made


def words(pdf) -> str:
    """The PDF's text in one line; ends of lines are hyphenated or become spaces."""
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages)
    return re.sub(r"\s+", " ", re.sub(r"[-\u00ad\u2010]\s*\n\s*", "", text))


@pytest.fixture
def made(tmp_path, results) -> str:
    return words(build(write(tmp_path / "build", results)))


def test_title_profile_and_rows(made, results):
    assert "a reproducible re-implementation" in made
    assert "A made-up profile" in made
    for item in results["table"]:
        assert item["title"] in made
    for item in SEED["table"]:
        for name in ("kidney_and_tumour", "kidney", "tumour"):
            assert f"{item[name]:.3f}" in made
    for item in results["table"]:
        assert f"{item['scores']['composite']['mean']:.3f} ± 0.111 (9)" in made


def test_figures_are_numbered_as_in_the_seed_paper(made):
    captions = {int(n): text for n, text in re.findall(r"Figure (\d+): (.{40})", made)}
    assert sorted(captions) == list(range(1, 15))
    assert "before and after" in captions[1]
    assert "weighted Dice" in captions[5] + captions[10]
    assert "Prediction of the best" in captions[14] and "Prediction of the baseline" in captions[13]


def test_simulated_stands_in_title_abstract_and_all_captions(tmp_path, made, results):
    assert "Simulated CT. Every image" in made
    for n in [*map(str, range(1, 15)), "S3"]:
        caption = re.search(rf"Figure {n}: (.*?profile “madeup”\.)", made)
        assert caption and "Simulated CT" in caption[1], n
        assert "Figure" not in caption[1], n
    for n in ("S1", "S2"):
        assert re.search(rf"Figure {n}: [^“]*no CT is used\. Profile “madeup”", made), n
    assert re.search(r"Figure S1: [^“]*whose anatomy is simulated", made)
    assert re.search(r"Table \d: What the losses alone let one expect.*?Simulated CT, profile", made)
    assert re.search(r"Table 1: Dice on .*?Simulated CT, profile", made)
    results["profile"]["simulated"] = results["data"]["simulated"] = False
    real = words(build(write(tmp_path / "real", results)))
    assert "imulated CT" not in real and "images are simulated" not in real


def test_cross_validation_is_told_as_what_it_is(tmp_path, made, results):
    assert "fold cross-validation" not in made and "It trains on 21 cases and is scored on 9 others" in made
    results["data"] |= {"folds": 3, "training": 20, "training_most": 21, "validation": 31}
    text = words(build(write(tmp_path / "folds", results)))
    assert "3-fold cross-validation, every case held out once: 31 cases are shuffled and cut into 3 groups" in text
    assert "trains on all groups but one, 20 to 21 cases" in text and "is scored on 31 others" not in text
    assert "Dice on 31 held-out cases" in text and "training cases and" not in text
    assert re.search(r"Figure 2: Training with log-cosh Dice\. The first of 3 folds\.", text)


def test_an_eighth_row_has_a_dash_for_the_seed_paper(tmp_path, results):
    results["table"].append(row("my_own", "My own loss", 0.654, None, exponent=2, batch=True))
    made = write(tmp_path / "build", results)
    with pytest.raises(PaperError, match="training_my_own"):
        build(made)
    for kind in ("training", "scores", "slices"):
        (made.figures / f"{kind}_my_own.svg").write_text((made.figures / "fig01_clipping.svg").read_text())
    text = words(build(made))
    for caption in ("Training with My own loss", "Scores of My own loss, case by case", "Prediction of My own loss against"):
        assert re.search(rf"Figure S\d: {caption}[^“]*Simulated CT", text), caption
    assert "pooled over the batch" in text and "batch yes" not in text
    assert re.search(r"My own loss.{0,20}exponent 2; pooled over the batch.{0,8}0\.654 ± 0\.111 \(9\) – 0\.634", text)
    assert "8 losses" in text


def test_labels_absent_is_said(tmp_path, made, results):
    assert "case 00160" in made and "216.3" in made and "99.148" in made
    results["audit"]["labels"] = None
    text = words(build(write(tmp_path / "none", results)))
    assert "did not measure the real labels" in text and "216.3" not in text


def test_words_follow_the_numbers(tmp_path, made, results):
    assert "an interval above zero" in made and "an interval that holds zero: these cases leave open which is higher" in made
    assert "show no difference" not in made
    assert "more pairs of losses in the opposite order" in made
    assert "both counts are confirmed" in made
    other = copy.deepcopy(results)
    other["difference"]["tumour"] = {"mean": -0.05, "low": -0.09, "high": -0.01}
    other["extremes"] |= {"low": None, "high": None}
    for one in other["comparisons"]:
        one["difference"] |= {"mean": 0.0004, "low": 0.01} if one["verdict"] == "undecided" else {}
    other["order_agreement"] = {"tumour": None, "kidney_and_tumour": 0.0}
    other["network"]["paper_trainable"] -= 1
    other["profile"]["deviations"] = []
    other["table"][0]["scores"]["tumour"] = score(None, n=0, undefined=9)
    text = words(build(write(tmp_path / "other", other)))
    assert "the paired difference here is 0.000 (95 % interval 0.010 to 0.030)" in text
    assert "is −0.050 (95 % interval −0.090 to −0.010), an interval below zero" in text
    assert "above zero" in text and "that holds zero" not in text
    assert "is not defined" in text and "as many pairs" in text
    assert "the counts are not the same" in text and "lists no deviation" in text
    results["best"] = "log_cosh_dice"
    text = words(build(write(tmp_path / "baseline", results)))
    assert "The highest mean is that of the baseline. The paired difference of Weighted Dice to the baseline" in text
    assert "Prediction of the best other loss (Weighted Dice)" in text


def test_a_paper_of_one_row_compares_nothing(tmp_path, results):
    results |= {"table": results["table"][:1], "baseline": None, "reference": "dice", "best": "dice", "worst": "dice"}
    results |= {"rival": None, "difference": None, "extremes": None, "comparisons": []}
    results |= {key: results[key][:1] for key in ("distances", "by_size", "runs")}
    results["losses"]["hypotheses"] = []
    results["settings"] |= {"epochs": 40, "stop_patience": 40}
    text = words(build(write(tmp_path / "alone", results)))
    assert "It was the only loss of the profile, Dice, with a mean composite score of 0.601; nothing is compared" in text
    assert "is the only loss of the profile, so there is none to compare it with" in text
    for nonsense in ("ighest mean composite", "the highest mean for", "Hypotheses, checked", "Of 0 hypotheses", "stands in"):
        assert nonsense not in text, nonsense
    assert "trains for 40 epochs of 50 steps. The weights" in text and "The 1 training run of" in text
    assert text.count("This profile does not run the experiment.") == 4 + 4 + 3  # 2-5, all but Dice of 6-10, 11, 12 and 14
    assert "Figure 13: Prediction of Dice, against the label" in text
    assert "ran none of the pairs of losses that the seed paper compares" in text and "did not run both" not in text


def test_rows_that_were_not_made_alike_are_said(tmp_path, made, results):
    assert "made alike" not in made
    results["unlike"] = {"precision": ["32-true", "bf16-mixed"], "threads": ["1", "2"]}
    text = words(build(write(tmp_path / "unlike", results)))
    assert re.search(r"differ in precision \(32-?true and bf16-?mixed\) and threads \(1 and 2\)", text)


def test_distances_and_sizes(tmp_path, made, results):
    assert re.search(r"Weighted Dice 5\.3 0\.654 17\.5 \(1\) 0\.321 0\.456 \(6\) 0\.789 \(3\)", made)
    assert "up to 4 cm" in made and "4-7 cm" not in made
    for item in results["by_size"]:
        item["sizes"] = {}
    assert "up to 4 cm" not in words(build(write(tmp_path / "none", results)))


def test_losses_and_what_they_let_one_expect(tmp_path, made, results):
    assert "1.23 (Dice) and 3.21 (Weighted Dice)" in made
    assert "Of 3 hypotheses, 1 held, 1 was refuted, 0 expected no difference" in made and "1 stayed undecided" in made
    assert re.search(r"\+0\.123 \(0\.045 to 0\.201\) held", made) and re.search(r"below 0\.01 – refuted", made)
    assert "whose anatomy is simulated" in made
    results["losses"]["geometry"] = {"name": "case_00122", "simulated": False, "tumour_ml": 30.0}
    results["losses"] |= {"hypotheses": []}
    text = words(build(write(tmp_path / "real", results)))
    assert "the label of case 00122" in text and "anatomy is simulated" not in text and "ypotheses, checked" not in text


def test_what_a_profile_leaves_out_is_said_and_keeps_its_figure_number(tmp_path, results):
    results["table"] = [item for item in results["table"] if item["experiment"] in ("dice", "weighted_dice")]
    results |= {"baseline": None, "reference": "dice", "comparisons": results["comparisons"][:1]}
    made = write(tmp_path / "build", results)
    left = ("training_weighted", "clipping", "imbalance", "losses0", "scores_dice", "scores_weighted", "slices", "best_against")
    for path in made.figures.iterdir():
        if not any(name in path.name for name in left):
            path.unlink()
    text = words(build(made))
    assert "this build did not run both" in text and "The baseline was not run" in text
    assert {int(n) for n in re.findall(r"Figure (\d+): ", text)} == set(range(1, 15))
    assert "to Dice, which stands in for the baseline" in text and "Prediction of Dice, which stands in" in text
    assert text.count("This profile does not run the experiment.") == 6


@pytest.mark.parametrize("path", ["profile.name", "data.spacing", "network.paper_running", "settings.epochs",
                                  "difference.tumour", "audit.labels", "order_agreement.tumour",
                                  "software", "unlike", "extremes", "comparisons", "losses.hypotheses"])  # fmt: skip
def test_a_missing_key_is_an_error_that_names_it(tmp_path, results, path):
    *parents, key = path.split(".")
    holder = results
    for parent in parents:
        holder = holder[parent]
    del holder[key]
    made = write(tmp_path / "build", results)
    with pytest.raises(PaperError, match=f'"{key}"'):
        build(made)
    assert not made.paper.exists() and not list(made.folder.glob("*partial*"))


@pytest.mark.parametrize("figure", FIGURES)
def test_a_missing_figure_is_an_error_that_names_it(tmp_path, results, figure):
    made = write(tmp_path / "build", results)
    (made.figures / f"{figure}.svg").unlink()
    with pytest.raises(PaperError, match=figure):
        build(made)


def test_no_results_or_no_json(tmp_path, results):
    with pytest.raises(PaperError, match="run the results notebook first"):
        build(paths.Build(tmp_path / "nothing"))
    results["difference"]["tumour"]["mean"] = float("nan")
    with pytest.raises(PaperError, match="undefined score is null"):
        build(write(tmp_path / "nan", results))


def test_a_failed_build_leaves_the_last_paper(tmp_path, results):
    made = write(tmp_path / "build", results)
    first = build(made).read_bytes()
    made.results.write_text("{}", encoding="utf-8")
    with pytest.raises(PaperError):
        build(made)
    assert made.paper.read_bytes() == first


def test_equal_results_give_equal_bytes_wherever_they_lie(tmp_path, results):
    one = build(write(tmp_path / "one", results)).read_bytes()
    results["settings"]["build"] = "/elsewhere"
    two = build(write(tmp_path / "a longer name" / "two", results)).read_bytes()
    assert one == two
    assert str(tmp_path).encode() not in one


def test_no_word_follows_a_number_without_its_stop(made):
    """typst takes a semicolon after an expression for its own, unless it is escaped."""
    assert "to Dice; the paired difference of these two is" in made
    source = (paths.PAPER / "paper.typ").read_text(encoding="utf-8")
    assert re.findall(r"#[\w.-]+(?:\([^()]*\))?;", source) == []


def test_every_reference_is_cited(made):
    source = (paths.PAPER / "paper.typ").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{(\w+),", (paths.PAPER / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    assert [entry for entry in entries if f"@{entry}" not in source] == []


# ---- no number is typed ----------------------------------------------------------------------------------------------

#: What paper.typ may say in digits: level of the intervals and versions of licences.
DEFINITIONS = ("95~% bootstrap", "95~% interval", "CC BY 4.0", "CC BY-NC-SA 4.0")
#: A decimal, a percentage, or a whole number of two digits or more, not part of a name such as ``fig-11`` or KiTS19.
TYPED = re.compile(r"(?<![\w.\-/])(?:\d+\.\d+|\d+[\s~]*%|\d[\d,]*\d)(?![\w])")


def typed_numbers(source: str) -> list[str]:
    """Result-like numbers in a typst ``source``: comments, names and ``DEFINITIONS`` are passed over."""
    source = re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE)
    for definition in DEFINITIONS:
        source = source.replace(definition, "")
    return [match.strip() for match in TYPED.findall(source)]


def test_no_number_is_typed_into_the_paper():
    assert typed_numbers((paths.PAPER / "paper.typ").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted", ["tumour Dice is 0.521.", "rose by 12 %", "fell by 7~%", "a gain of 3%", "in 44 cases",
                "22,581,283 weights",
                "(0.9)", "from 29 to 1059 slices"]  # fmt: skip
)
def test_a_planted_number_is_found(planted):
    source = (paths.PAPER / "paper.typ").read_text(encoding="utf-8")
    assert typed_numbers(source + "\n" + planted)


def test_names_and_constants_are_no_results():
    names = '@fig-11 KiTS19 #fig("fig11_best")'
    assert typed_numbers(names + " the 95~% interval under CC BY 4.0, 1/2 of 3D, digits: 3") == []
