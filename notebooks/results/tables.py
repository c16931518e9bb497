"""Tables that notebook 05 shows beside Table 1: pairs, claims, what runs were made from and cost, hard cases."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from kitsnb.files import Build
from kitsnb.messages import nearest
from kitsnb.metric.score import SCORES
from kitsnb.study.figures import NAMES
from kitsnb.study.runs import COSTS, Run, read_stage, trainings
from kitsnb.study.statistics import SOURCES
from kitsnb.study.tables import interval, number, scores_of

#: What rows of one table should share beside their settings; ``run.json`` says it, where it was recorded.
CONDITIONS = ("precision", "device", "machine", "threads")


def find_baseline(name: str, table: Sequence[Mapping], seed_paper: Mapping) -> str | None:
    """``name`` where the profile has it, None where only the seed paper has. Raises ValueError for any other name."""
    experiments = [row["experiment"] for row in table]
    if name in experiments:
        return name
    if name in (row["experiment"] for row in seed_paper["table"]):
        return None
    raise ValueError(f"baseline {name!r} is no experiment of this profile; {nearest(name, experiments)}")


def describe_data(build: Build, runs: Sequence[Run]) -> dict:
    """What the runs learned from and were scored on; ``refused``: the cases that 01 or 02 refused, with the reason.

    ``training`` and ``validation`` are numbers of cases. With ``folds`` (else None), ``validation`` counts all cases,
    since each is held out once, and ``training`` those that the smallest fold leaves to learn from, ``training_most``
    the largest.
    """
    found = read_stage(build.data_analysis / "summary.json", "01_data_analysis")
    prepared = read_stage(build.preprocessed / "report.json", "02_preprocessing")
    learned = [run.info["training_cases"] for run in trainings(runs[:1])]
    return {
        "simulated": found["simulated"], "training": min(learned), "training_most": max(learned),
        "folds": len(runs[0].folds) or None, "validation": len(runs[0].scores), "spacing": prepared["spacing"],
        "shares_percent": found["shares_percent"], "refused": found["refused"] | prepared["refused"],
    }


def describe_cases(scores: pd.DataFrame) -> pd.DataFrame:
    """Per case, hardest first: tumour volume (ml), mean of each score and range of tumour Dice over the experiments."""
    by_case = pd.concat([scores_of(scores, name) for name in scores.experiment.unique()]).groupby(level="case")
    described = by_case[["tumour_ml", *SCORES]].mean()
    described["tumour_low"], described["tumour_high"] = by_case.tumour.min(), by_case.tumour.max()
    return described.sort_values(["composite", "kidney_and_tumour"], na_position="last")


def unlike(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Those of ``CONDITIONS`` in which trainings differ, each with all its values; empty where rows compare fairly."""
    found = {name: sorted({str(run.info[name]) for run in trainings(runs) if run.info.get(name) is not None})
             for name in CONDITIONS}
    return {name: values for name, values in found.items() if len(values) > 1}


def costs(runs: Sequence[Run]) -> pd.DataFrame:
    """``COSTS`` of every training, a row each, by the name of its folder; what no run recorded is left out."""
    rows = {run.folder.name: {name: run.info.get(name) for name in COSTS} for run in trainings(runs)}
    return pd.DataFrame.from_dict(rows, orient="index").dropna(axis="columns", how="all")


def false_by_organ(scores: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Mean ml a case of false kidney and tumour in each organ, most first, a column a row of Table 1.

    Empty where no case has a map of its organs.
    """
    found = pd.DataFrame({title: scores_of(scores, name).filter(like="false_ml_").mean()
                          for name, title in titles.items()})
    found.index = found.index.str.removeprefix("false_ml_").str.replace("_", " ")
    return found.loc[found.mean(axis=1).sort_values(ascending=False).index]


def located_scores(scores: pd.DataFrame) -> dict[str, dict[str, float]]:
    """By experiment, mean scores of what lies around the kidneys that a coarse pass found, where there was one."""
    means = {name: scores_of(scores, name).filter(like="located_").mean() for name in scores.experiment.unique()}
    return {name: found.rename(lambda column: column.removeprefix("located_")).to_dict()
            for name, found in means.items() if found.notna().any()}


def summary(found: Mapping, digits: int = 3) -> str:
    """A summary over cases, "0.912 ± 0.020 (n = 20)", with the number of undefined ones where there are any."""
    spread = f" ± {number(found['sd'], digits)}" if found["n"] > 1 else ""
    undefined = f", {found['undefined']} undefined" if found["undefined"] else ""
    return f"{number(found['mean'], digits)}{spread} (n = {found['n']}{undefined})"


def pairs_apart(found: Mapping, titles: Mapping[str, str]) -> pd.DataFrame:
    """The pairs of ``findings.describe`` that can be told apart, by composite and by tumour Dice, as text."""
    return pd.DataFrame([
        {"score": NAMES[score], "higher": titles[pair["first"]], "than": titles[pair["second"]],
         "difference (95 % interval)": interval(pair), "p, Holm": f"{pair['p_holm']:.2g}",
         "rank-biserial": number(pair["rank_biserial"], 2), "higher on a new case": number(pair["beats"], 2)}
        for score in ("composite", "tumour") for pair in found["pairs"][score] if pair["verdict"]
    ])


def spread(found: Mapping) -> pd.DataFrame:
    """Standard deviation of each score by its source, with its interval, as text."""

    def said(part: Mapping[str, float]) -> str:
        sd, low, high = (number(math.sqrt(part[name])) for name in ("variance", "low", "high"))
        return f"{sd} ({low} to {high})"

    table = pd.DataFrame({NAMES[score]: {source: said(part) for source, part in parts.items()}
                          for score, parts in found["components"].items()})
    order = [source for source in SOURCES if source in found["components"]["tumour"]]
    return table.reindex(order).rename_axis("standard deviation of Dice from")


def claims_in_words(claims: Sequence[Mapping], titles: Mapping[str, str]) -> pd.DataFrame:
    """Claims that ``claims.check`` decided, a row each, as text."""
    return pd.DataFrame([
        {"from": "seed paper" if one["kind"] == "seed paper" else "losses alone", "loss": titles[one["experiment"]],
         "against": titles.get(one["reference"], "all rows"), "score": NAMES[one["score"]],
         "expected": one["expected"],
         "difference (95 % interval)": interval(one["difference"], 1 if one["kind"] == "volume" else 3)
         if one["difference"] else "–", "verdict": one["verdict"]}
        for one in claims
    ])
