"""Tables that notebook 05 shows, as text, and what it writes down about its study."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from kitsnb.files import Build, read_json, resolve
from kitsnb.study.figures import NAMES
from kitsnb.study.runs import Run, describe_runs, read_stage
from kitsnb.study.tables import interval, number, software


def describe_study(study, runs: Sequence[Run]) -> dict:
    """Describe the study that is opened (``kitsnb.workflow.open_study``) with its ``runs``: ``about`` of results.json."""
    profile = study.profile
    probed = read_stage(study.build.losses / "summary.json", "03_losses")
    about = describe_runs(runs)
    images = "slabs" if about["settings"]["data"].get("slab") else "scans"
    return {
        "name": profile.name, "title": profile.title, "description": profile.description, "beside": profile.beside,
        "images": "simulated" if about["simulated"] else images, "paired": True, "baseline": profile.results.baseline,
        "experiments": [row.model_dump(mode="json") for row in profile.experiments], "seeds": list(profile.seeds),
        "deviations": [row.model_dump(mode="json") for row in profile.deviations],
        "hypotheses": probed["hypotheses"], "losses": probed, "labels": load_labels(profile.results.labels_summary),
        "data": describe_data(study.build), "software": software(), **about,
    }


def describe_data(build: Build) -> dict:
    """Say how rare the classes are, and which cases notebooks 01 or 02 refused, with the reason."""
    found = read_stage(build.data_analysis / "summary.json", "01_data_analysis")
    prepared = read_stage(build.preprocessed / "report.json", "02_preprocessing")
    return {"shares_percent": found["shares_percent"], "refused": found["refused"] | prepared["refused"]}


def load_labels(path: str | None) -> dict | None:
    """Read notebook 01's summary of the real labels, None where there is none. Of simulated cases: ValueError."""
    summary = read_json(resolve(path)) if path else {}
    if summary.get("simulated"):
        raise ValueError(f"results.labels_summary {path}: describes simulated cases; give the real KiTS19 labels' one")
    return summary or None


def table_1(found: Mapping) -> pd.DataFrame:
    """Write Table 1: mean and sd over cases of each score, the row's interval over cases and seeds of tumour Dice."""
    rows = {}
    for row in found["table"]:
        scores = row["scores"]
        rows[row["title"]] = {NAMES[name]: summary(scores[name]) for name in scores}
    return pd.DataFrame(rows).T


def summary(found: Mapping, digits: int = 3) -> str:
    """Write a summary over cases, "0.912 ± 0.020 (n = 20)", with the number of undefined ones where there are any."""
    spread = f" ± {number(found['sd'], digits)}" if found["n"] > 1 else ""
    undefined = f", {found['undefined']} undefined" if found["undefined"] else ""
    return f"{number(found['mean'], digits)}{spread} (n = {found['n']}{undefined})"


def pairs_apart(found: Mapping) -> pd.DataFrame:
    """Write the pairs of ``findings.describe`` that can be told apart, by composite and by tumour Dice."""
    titles = {row["experiment"]: row["title"] for row in found["table"]}
    rows = []
    for score in ("composite", "tumour"):
        for pair in found["pairs"][score]:
            if pair["verdict"]:
                rows.append({"score": NAMES[score], "higher": titles[pair["first"]], "than": titles[pair["second"]],
                             "difference (95 % interval)": interval(pair), "p, Holm": f"{pair['p_holm']:.2g}",
                             "with unpaired seeds": "apart" if pair["unpaired"] else "open"})
    return pd.DataFrame(rows)


def components(found: Mapping) -> pd.DataFrame:
    """Write the standard deviation of composite and tumour Dice by its source, with its interval and share."""
    table = {}
    for score in ("composite", "tumour"):
        for source, part in found["components"][score].items():
            sd, low, high = (number(math.sqrt(part[name])) for name in ("variance", "low", "high"))
            said = f"{sd} ({low} to {high}), {number(100 * part['share'], 0)} %"
            table.setdefault(source.replace("_", " x "), {})[f"SD of {score} Dice, share of variance"] = said
    return pd.DataFrame(table).T


def claims(found: Mapping) -> pd.DataFrame:
    """Write the claims that ``claims.check`` decided."""
    titles = {row["experiment"]: row["title"] for row in found["table"]}
    rows = []
    for one in found["claims"]:
        if one["verdict"] != "not run":
            difference = "–"
            if one["difference"]:
                difference = interval(one["difference"], 1 if one["kind"] == "volume" else 3)
            rows.append({"from": "seed paper" if one["kind"] == "seed paper" else "losses alone",
                         "loss": titles[one["experiment"]], "against": titles.get(one["reference"], "all rows"),
                         "score": NAMES[one["score"]], "expected": one["expected"],
                         "difference (95 % interval)": difference, "verdict": one["verdict"]})
    return pd.DataFrame(rows)


def what_we_saw(found: Mapping) -> pd.DataFrame:
    """Close the notebook: a few measures with value and unit; what is not known is left out."""
    best = next(row for row in found["table"] if row["experiment"] == found["best"])
    rows = [("runs", found["runs"], ""), ("held-out cases", found["cases"], ""),
            (f"tumour Dice, {best['title']}", number(best["scores"]["tumour"]["mean"]), "mean over cases"),
            (f"kidney and tumour, {best['title']}", number(best["scores"]["kidney_and_tumour"]["mean"]), "mean over cases")]
    pairs = found["pairs"]["composite"]
    if pairs:
        rows.append(("pairs told apart by the composite", sum(bool(pair["verdict"]) for pair in pairs), f"of {len(pairs)}"))
    if not math.isnan(found["needed"]["tumour"]):
        rows.append(("what the seed paper's design shows", number(found["needed"]["tumour"]), "tumour Dice"))
    if not math.isnan(found["size_correlation"]):
        rows.append(("tumour volume and tumour Dice", number(found["size_correlation"], 2), "rank correlation"))
    return pd.DataFrame(rows, columns=["measure", "value", "unit"])
