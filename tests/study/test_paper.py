"""The paper from made-up builds: every score in it is invented, every figure is a grey box."""

import copy
import json
import re

import pypdf
import pytest
from helpers.study_at_hand import ROWS, made_up_scores
from results.audit import audit

from kitsnb import files as paths
from kitsnb.study import statistics
from kitsnb.study.claims import load_seed_paper
from kitsnb.study.findings import describe
from kitsnb.study.paper import PaperError, build

SEED = load_seed_paper()
#: Figures of the paper and their widths in inches.
FIGURES = {"data01_imbalance": 7.0, "losses01_error_paths": 7.0, "losses02_gradient_shares": 7.0, "fig01_clipping": 7.0, "rows": 7.0,
           "takes": 3.4, "size": 3.4, "training": 7.0, "scores": 7.0, "against": 7.0, "slices_dice": 7.0, "slices_weighted_dice": 7.0}
#: Those of the published study, where there is one.
PUBLISHED = {"study_rows": 7.0, "study_takes": 3.4}
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
              "measure": "share of the gradient", "ratio": 1.37}
LOSSES = {
    "geometry": {"name": "phantom 0", "simulated": True, "tumour_ml": 21.0}, "shares_percent": [99.15, 0.68, 0.17],
    "price_of_missing": {"dice": 1.23, "weighted_dice": 3.21},
    "hypotheses": [HYPOTHESIS, HYPOTHESIS | {"expected": "same"},
                   {"kind": "lowest", "experiment": "dice", "reference": None, "score": "composite", "expected": "lowest",
                    "measure": "fall", "ratio": 0.0004}],
}  # fmt: skip


def made_up_results(rows=ROWS, labels=LABELS, **options) -> dict:
    """A made-up results.json: each row of the seed paper's table is above the one before."""
    hypotheses = LOSSES["hypotheses"] if len(rows) > 1 else []
    here = describe(made_up_scores(rows, **options), rows, SEED, hypotheses)
    return json.loads(json.dumps(paths.plain({
        "profile": {"name": "madeup", "title": "A made-up profile", "description": "Invented for a test of the paper.",
                    "simulated": True, "beside": None, "apart_from": [],
                    "deviations": [{"setting": "filters", "paper": 32, "here": 8, "why": "two processor cores"},
                                   {"setting": "patch", "paper": "80, 80, 80", "here": [32, 48, 48], "why": "memory"}]},
        "data": {"simulated": True, "training": 21, "validation": 12, "spacing": [6.0, 5.0, 5.0], "folds": None,
                 "shares_percent": {"background": 96.5, "kidney": 2.5, "tumour": 1.0}, "refused": {}},
        "settings": {"build": "/somewhere/build", "patch_size": [32, 48, 48], "batch_size": 2, "learning_rate": 0.01,
                     "epochs": 14, "stop_patience": 20, "steps_per_epoch": 50, "warm_up": None, "flips": True},
        "network": {"trainable": 351179, "paper_trainable": 22581283, "paper_running": 5888},
        "here": here, "published": {}, "main": None, "size_correlation": 0.5,
        "reference": rows[0]["name"], "rival": rows[-1]["name"] if len(rows) > 1 else None,
        "losses": copy.deepcopy(LOSSES), "audit": audit(SEED, labels, here), "labels": bool(labels), "unlike": {},
        "runs": [{"experiment": row["name"], "seed": 0, "seconds": 61.0, "device": "cpu", "precision": "bf16"} for row in rows],
        "figures": list(FIGURES), "seconds": 500.0, "software": {"torch": "2.13.0", "torchio": "1.2.1", "typst": "0.15.2"},
    })))  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    """Seven rows, three seeds; the many resamples of a real study would take their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 300)
        yield made_up_results()


@pytest.fixture
def results(whole, monkeypatch) -> dict:
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    return copy.deepcopy(whole)


def write(folder, results: dict) -> paths.Build:
    """A build with these ``results`` and a grey box as each figure."""
    made = paths.Build(folder)
    made.figures.mkdir(parents=True)
    made.results.write_text(json.dumps(results, allow_nan=True), encoding="utf-8")
    for name, width in (FIGURES | (PUBLISHED if results.get("main") else {})).items():
        svg = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * 72}pt" height="180pt" '
               f'viewBox="0 0 {width * 72} 180"><title>{name}</title><rect width="{width * 72}" height="180" fill="#ccc"/></svg>')
        (made.figures / f"{name}.svg").write_text(svg, encoding="utf-8")
    return made


def words(pdf) -> str:
    """The PDF's text in one line; ends of lines are hyphenated or become spaces."""
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages)
    return re.sub(r"\s+", " ", re.sub(r"[-\u00ad\u2010]\s*\n\s*", "", text))


def paper(folder, results: dict) -> str:
    return words(build(write(folder, results)))


@pytest.fixture
def made(tmp_path, results) -> str:
    return paper(tmp_path / "build", results)


def test_title_and_abstract_say_what_was_found(made, results):
    won = sum(pair["verdict"] is not None for pair in results["here"]["pairs"]["composite"])
    assert won > 9, "else the title spells it"
    assert f"Seven losses for kidney tumour segmentation in simulated CT: {won} of 21 differences stand out from chance" in made
    assert f"We train seven losses with three seeds each and score 12 held-out cases of simulated CT. Of 21 pairs, {won}" in made
    needed = results["here"]["needed"]["tumour"]
    assert f"a difference in tumour Dice of {needed:.3f} is needed for a power of 0.8" in made
    for title in ("Limits", "Discussion", "Conclusion", "Open questions"):
        assert re.search(rf"\d {title}", made), title


def test_every_row_stands_in_table_1_beside_the_seed_papers(made, results):
    for row in results["here"]["table"]:
        composite = row["scores"]["composite"]
        assert row["title"] in made and f"{composite['mean']:.3f} ± {composite['sd']:.3f}" in made
        assert f"{composite['crossed_low']:.3f} to {composite['crossed_high']:.3f}" in made
    for row in SEED["table"]:
        assert all(f"{row[name]:.3f}" in made for name in ("kidney_and_tumour", "kidney", "tumour"))


def test_every_claim_is_printed_with_both_intervals_and_its_verdict(made, results):
    for one in results["here"]["claims"]:
        if one["difference"] and one["kind"] == "seed paper":
            found = one["difference"]
            shown = [f"{found[key]:.3f}".replace("-", "−") for key in ("low", "high", "crossed_low", "crossed_high")]
            assert re.search(rf"{shown[0]} to {shown[1]} {shown[2]} to {shown[3]} {one['verdict']}", made), one
    for pair in results["here"]["pairs"]["tumour"]:
        assert f"{pair['crossed_low']:.3f} to {pair['crossed_high']:.3f}".replace("-", "−") in made
    assert len(results["audit"]) >= 12 and all(row["evidence"].split(",")[0][:40] in made for row in results["audit"])


def test_simulated_stands_in_title_and_all_captions(tmp_path, made, results):
    assert "Simulated CT. Every image" in made
    captions = re.findall(r"(?:Figure|Table) \d+: (.*?profile “madeup”)", made, re.IGNORECASE)
    assert len(captions) > 12
    for caption in captions:
        assert re.search("imulated CT|no CT is used|Deviations of", caption), caption
    results["profile"]["simulated"] = results["data"]["simulated"] = False
    real = paper(tmp_path / "real", results)
    assert "imulated CT" not in real and "images are simulated" not in real


def test_cross_validation_is_told_as_what_it_is(tmp_path, made, results):
    assert "fold cross-validation" not in made and "It trains on 21 cases and is scored on 12 others" in made
    results["data"] |= {"folds": 3, "training": 20, "training_most": 21, "validation": 31}
    text = paper(tmp_path / "folds", results)
    assert "3-fold cross-validation, every case held out once: 31 cases are shuffled and cut into 3 groups" in text
    assert "trains on all groups but one, 20 to 21 cases" in text and "is scored on 31 others" not in text
    assert "The first of 3 folds" in text


def test_a_row_of_ones_own_has_a_dash_for_the_seed_paper(tmp_path, results):
    results = made_up_results([*ROWS, {"name": "my_own", "title": "My own loss", "loss": "mine", "parameters": {"batch": True}}])
    results["figures"].append("slices_my_own")
    made = write(tmp_path / "build", results)
    with pytest.raises(PaperError, match="slices_my_own"):
        build(made)
    (made.figures / "slices_my_own.svg").write_text((made.figures / "fig01_clipping.svg").read_text())
    text = words(build(made))
    assert "Eight losses" in text and "Prediction of My own loss on slices" in text
    assert "pooled over the batch" in text and "batch yes" not in text


def test_labels_absent_is_said(tmp_path, made, results):
    assert "case 00160" in made and "216.3" in made and "99.15" in made and "not checked" not in made
    text = paper(tmp_path / "none", made_up_results(labels=None))
    assert "did not measure the real labels" in text and "216.3" not in text


def test_with_one_seed_what_seeds_add_is_said_to_be_unknown(tmp_path, results):
    text = paper(tmp_path / "one", made_up_results(seeds=1))
    for said in ("stand out over cases", "With one seed, what seeds add is not known", "loss and its one seed", "Each loss was trained once",
                 "Whether another run of the same loss would keep the order is not known", "a difference in tumour Dice of more than"):
        assert said in text, said
    assert "out from chance" not in text and "larger than what cases alone explain" in text


def test_absence_of_evidence_is_not_written_as_evidence_of_absence(tmp_path, results):
    alike = made_up_results(step=0.0)
    assert not any(pair["verdict"] for pair in alike["here"]["pairs"]["composite"])
    text = paper(tmp_path / "alike", alike)
    assert "none of the 21 pairs of losses can be told apart" in text and "Every order of the rows stays open" in text
    assert "Nothing is bold" in text and "no of 21 differences stand out" in text
    assert "show no difference" not in text and "no difference between" not in text


def test_a_paper_of_one_row_compares_nothing(tmp_path, results):
    for seeds in (1, 2):
        alone = made_up_results(ROWS[:1], seeds=seeds)
        alone["figures"] = [name for name in alone["figures"] if name not in ("against", "slices_weighted_dice", "takes")]
        alone["settings"] |= {"epochs": 40, "stop_patience": 40}
        alone["losses"]["hypotheses"] = []
        made = write(tmp_path / f"alone{seeds}", alone)
        for name in ("against", "slices_weighted_dice", "takes"):
            (made.figures / f"{name}.svg").unlink()
        text = words(build(made))
        assert "Dice for kidney tumour segmentation in simulated CT: one row of a table" in text
        assert "Nothing is compared" in text and "the mean composite score of Dice is" in text
        for nonsense in ("Of 0", "of 0 pairs", "ighest mean composite", "Kendall", "can be told apart by the composite", "against Dice"):
            assert nonsense not in text, nonsense
        assert "trains for 40 epochs of 50 steps. The weights" in text and "The 1 training run of" in text


def test_a_published_study_is_what_the_paper_is_about_and_the_build_stands_apart(tmp_path, results):
    other = made_up_results(ROWS[:3], seeds=2)["here"]
    results |= {"main": "hybrid", "published": {"hybrid": other | {
        "simulated": True, "commit": "0123456789abcdef", "seconds": 7200.0, "title": "Hybrid", "training_cases": 160,
        "deviations": [{"setting": "grid", "paper": "fine", "here": "coarse indeed", "why": "CPU time"}]}}}
    text = paper(tmp_path / "both", results)
    assert "Three losses for kidney tumour segmentation" in text and "from commit 01234567" in text
    assert re.search(r"6 What this build measured The profile “madeup” trained 7 runs", text)
    assert text.count("Each loss, highest composite on top") == 2 and text.count("mean ± standard deviation over cases") == 2
    assert "published study “hybrid”" in text and "Simulated CT, profile “madeup”" in text
    assert "trained on 160 cases each" in text and "coarse indeed" in text, "the study's own settings, not the build's alone"


def test_rows_that_were_not_made_alike_are_said(tmp_path, made, results):
    assert "made alike" not in made
    results["unlike"] = {"precision": ["32-true", "bf16-mixed"], "threads": ["1", "2"]}
    text = paper(tmp_path / "unlike", results)
    assert re.search(r"differ in precision \(32-?true and bf16-?mixed\) and threads \(1 and 2\)", text)


@pytest.mark.parametrize("path", ["profile.name", "data.spacing", "network.paper_trainable", "settings.epochs", "here.pairs",
                                  "here.needed.tumour", "audit", "software", "unlike", "main", "here.claims", "losses.geometry"])
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
    results["here"]["needed"]["tumour"] = float("nan")
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


def test_no_word_follows_a_number_without_its_stop():
    """typst takes a semicolon after an expression for its own, unless it is escaped."""
    source = (paths.PAPER / "paper.typ").read_text(encoding="utf-8")
    assert re.findall(r"#[\w.-]+(?:\([^()]*\))?;", source) == []


def test_every_reference_is_cited(made):
    source = (paths.PAPER / "paper.typ").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{(\w+),", (paths.PAPER / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    assert [entry for entry in entries if f"@{entry}" not in source] == []


# ---- no number is typed ----------------------------------------------------------------------------------------------

#: What paper.typ may say in digits: levels of intervals and tests, and versions of licences.
DEFINITIONS = ("95~% interval", "95~% do so", "5~%", "power of 0.8", "95th", "CC BY 4.0", "CC BY-NC-SA 4.0")
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
