"""The paper from made-up studies: every score in it is invented, every figure is empty."""

import copy
import json
import re

import pypdf
import pytest
from helpers.study_at_hand import ROWS, made_up_about, made_up_scores

from kitsnb import files
from kitsnb.study.findings import report
from kitsnb.study.paper import build
from kitsnb.study.tables import number

#: Figures of the paper and their widths in inches.
FIGURES = {"data01_imbalance": 7.0, "losses01_error_paths": 7.0, "losses02_gradient_shares": 7.0, "fig01_clipping": 7.0,
           "rows": 7.0, "takes": 3.4, "training": 7.0, "scores": 7.0, "patients": 7.0, "slices_dice": 7.0}
BOX = {"name": "other", "title": "Another study", "images": "slabs", "cases": 43, "text": "Of 21 pairs, 3 stand out."}


def made_up_results(rows=ROWS, seeds=3, step=0.03, figures=tuple(FIGURES), scores=None, **changes) -> dict:
    """Make a results.json: each row of the seed paper's table is above the one before."""
    scores = made_up_scores(rows, seeds, step=step) if scores is None else scores
    found = report(made_up_about(rows, seeds, **changes), scores)
    return json.loads(json.dumps(files.plain({**found, "figures": sorted(figures), "published": []})))


@pytest.fixture(scope="module")
def whole() -> dict:
    """Describe seven rows, three seeds once."""
    return made_up_results()


@pytest.fixture
def results(whole) -> dict:
    return copy.deepcopy(whole)


def write(folder, results: dict) -> files.Build:
    """Write a build with these ``results`` and an empty SVG as each figure."""
    made = files.Build(folder)
    made.figures.mkdir(parents=True)
    made.results.write_text(json.dumps(results, allow_nan=True), encoding="utf-8")
    for name in results["figures"]:
        width = 72 * FIGURES[name]
        text = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="180pt"><title>{name}</title></svg>'
        (made.figures / f"{name}.svg").write_text(text)
    return made


def words(pdf) -> str:
    """Read the PDF's text in one line; ends of lines are hyphenated or become spaces."""
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages)
    return re.sub(r"\s+", " ", re.sub(r"[-\u00ad\u2010]\s*\n\s*", "", text))


def paper(folder, results: dict) -> str:
    return words(build(write(folder, results)))


@pytest.fixture(scope="module")
def made(tmp_path_factory, whole) -> str:
    return paper(tmp_path_factory.mktemp("whole") / "build", whole)


def test_title_abstract_and_every_number_of_the_tables_are_those_of_the_results(made, results):
    won = sum(pair["verdict"] is not None for pair in results["pairs"]["composite"])
    assert won > 9, "else the title spells it"
    tumour = [row["scores"]["tumour"]["mean"] for row in results["table"]]
    wanted = [f"Seven losses for kidney tumour segmentation in simulated CT: {won} of 21 differences stand out from chance",
              "We train seven losses with three seeds each and score 12 held-out cases of simulated CT. Mean Dice is ",
              f"{min(tumour):.3f} to {max(tumour):.3f} for the tumour alone. Of 21 pairs, {won}",
              f"a difference in tumour Dice of {results['needed']['tumour']:.3f} is needed for a power of 0.8",
              f"of a seed lowers this to {results['takes'][0]['paired']:.3f}"]
    for row in results["table"]:
        composite = row["scores"]["composite"]
        wanted += [row["title"], f"{composite['mean']:.3f} ± {composite['sd']:.3f}"]
        wanted += [f"{composite['crossed_low']:.3f} to {composite['crossed_high']:.3f}", f"{row['paper']['kidney']:.3f}"]
    for pair in results["pairs"]["tumour"]:
        wanted.append(f"{number(pair['crossed_low'])} to {number(pair['crossed_high'])}")
    for design in results["takes"]:
        wanted += [f"{design['unpaired']:.3f}", f"{design['paired']:.3f}"]
    for one in results["claims"]:
        if one["difference"] and one["kind"] == "seed paper":
            found = [number(one["difference"][key]) for key in ("low", "high", "crossed_low", "crossed_high")]
            wanted.append("{} to {} {} to {} ".format(*found) + one["verdict"])
    assert [text for text in wanted if text not in made] == []


@pytest.mark.parametrize("images, said", [("slabs", "They came as slabs."), ("scans", "CC BY-NC-SA 4.0.")])
def test_the_banner_and_captions_say_what_the_images_are(tmp_path, made, results, images, said):
    assert "Simulated CT. Every image" in made and "Pictures from KiTS19" not in made
    captions = re.findall(r"(?:Figure|Table) \d+: (.*?study “madeup”)", made, re.IGNORECASE)
    assert len(captions) > 9
    assert all(re.search("imulated CT|no CT is used|Deviations of", caption) for caption in captions), captions
    results["about"] |= {"images": images, "simulated": False}
    results["about"]["settings"]["data"]["source"] = "folder"
    text = paper(tmp_path / "build", results)
    assert (images == "slabs") == ("segmentation in real CT: " in text) == ("Real CT around the tumours. Scores" in text)
    assert said in text and "imulated CT" not in text and "Pictures from KiTS19, CC BY-NC-SA 4.0" in text


@pytest.mark.parametrize("results, wanted, unwanted", [
    ({"seeds": 1}, ("stand out over cases", "With one seed, what seeds add is not known", "loss and its one seed",
                    "Whether another run of the same loss would keep the order is not known",
                    "a difference in tumour Dice of more than"), ("out from chance", "What pairing saves")),
    ({"step": 0.0}, ("none of the 21 pairs of losses can be told apart", "Every order of the rows stays open"),
     ("show no difference", "no difference between")),
    ({"scores": made_up_scores().assign(kidney_and_tumour=0.0, kidney=0.0, tumour=0.0, composite=0.0)}, (),
     ("– %", "is needed", "What pairing saves", "tumour Dice is –")),
    ({"rows": [{"name": "own", "title": "My own loss", "loss": "mine", "parameters": {"batch": True}}], "losses": None,
      "figures": ("rows", "scores")},
     ("My own loss for kidney tumour segmentation in simulated CT: one row of a table", "Nothing is compared",
      "the mean composite score of My own loss is", "pooled over the batch", "The 1 training run took"),
     ("Of 0", "of 0 pairs", "against Dice", "design could show", "Training of each loss", "foretold")),
], ids=["one seed", "all alike", "nothing found", "one row"])
def test_a_study_that_shows_less_says_less(tmp_path, results, wanted, unwanted):
    text = paper(tmp_path / "build", made_up_results(**results))
    assert [said for said in wanted if said not in text] == [] == [said for said in unwanted if said in text]


def test_what_holds_of_some_studies_only_is_said_of_these(tmp_path, made, results):
    assert "published study" not in made and "groups and each seed" not in made
    about = results["about"]
    about["trainings"][0]["precision"] = "bf16-mixed"
    about["beside"] = "hybrid"
    about["settings"]["data"]["folds"] = 5
    about["settings"]["training"]["weights"] = "best"
    results["published"] = [BOX]
    text = paper(tmp_path / "build", results).replace("-", "")
    for said in ("differ in precision (bf16mixed and 32true)", "those of the published study “hybrid”",
                 "cut into 5 groups, and each seed trains on all groups but one",
                 "The weights with the best validation are kept", "The heldout cases choose the weights",
                 "What published studies found. Another study (“other”, 43 heldout cases, real CT around the tumours): "
                 "Of 21 pairs, 3 stand out."):
        assert said in text, said


def test_what_is_missing_or_damaged_is_named_and_the_last_paper_stays(tmp_path, results):
    made = write(tmp_path / "build", results)
    made.paper.write_bytes(b"the last one")
    (made.figures / "slices_dice.svg").unlink()
    with pytest.raises(ValueError, match="slices_dice"):
        build(made)
    del results["audit"]
    made.results.write_text(json.dumps(results))
    with pytest.raises(ValueError, match='results.json: .*"audit"'):
        build(made)
    made.results.write_text('{"half')
    with pytest.raises(ValueError, match="failed to parse JSON"):
        build(made)
    assert made.paper.read_bytes() == b"the last one" and len(list(made.folder.iterdir())) == 3


def test_equal_results_give_equal_bytes(tmp_path, results):
    one, other = (build(write(tmp_path / name, results)) for name in ("one", "elsewhere"))
    assert one.read_bytes() == other.read_bytes()


#: What may be typed: levels of intervals and tests, and versions of licences.
DEFINITIONS = ("95~% interval", "95~% do so", "5~%", "power of 0.8", "95th", "CC BY 4.0", "CC BY-NC-SA 4.0")
#: A decimal, a percentage, or a whole number of two digits or more, not part of a name such as ``fig-11`` or KiTS19.
TYPED = re.compile(r"(?<![\w.\-/])(?:\d+\.\d+|\d+[\s~]*%|\d[\d,]*\d)(?![\w])")


def test_no_number_is_typed_into_the_paper():
    source = (files.PAPER / "paper.typ").read_text(encoding="utf-8")
    source = re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE)
    for definition in DEFINITIONS:
        source = source.replace(definition, "")
    assert TYPED.findall(source) == []
    assert TYPED.findall("Dice 0.521, by 7~%, 44 cases, @fig-11 of KiTS19") == ["0.521", "7~%", "44"]
