"""Tables that notebook 05 shows, as text, and what it writes down about its study."""

from collections.abc import Mapping, Sequence

import pandas as pd

from kitsnb.data.settings import Slab
from kitsnb.files import read_json, resolve
from kitsnb.study import published
from kitsnb.study.figures import NAMES
from kitsnb.study.runs import Run, describe_runs
from kitsnb.study.tables import interval, number, software


def describe_study(study, runs: Sequence[Run]) -> dict:
    """Describe the opened study with its ``runs``: ``about`` of results.json."""
    profile = study.profile
    probed = read_json(study.made(study.build.losses / "summary.json"))
    data = read_json(study.made(study.build.data_analysis / "summary.json"))
    prepared = read_json(study.made(study.build.preprocessed / "report.json"))
    about = describe_runs(runs)
    images = "slabs" if about["settings"]["data"].get("slab") else "scans"
    if about["simulated"]:
        images = "simulated"
    about |= profile.model_dump(mode="json", include={"title", "description", "beside", "apart_from", "experiments",
                                                      "seeds"})
    return about | {
        "deviations": [{"setting": name, **row.as_json()} for name, row in profile.deviations.items()],
        "name": profile.name,
        "images": images,
        "baseline": profile.results.baseline,
        "hypotheses": probed["hypotheses"],
        "losses": probed,
        "labels": load_labels(profile.results.labels_summary),
        "data": {"shares_percent": data["shares_percent"], "refused": data["refused"] | prepared["refused"]},
        "software": software(),
        "slabs": origin_of_slabs(published.read_cases(study.build.data_analysis), profile.data.slab),
    }


def origin_of_slabs(cases: pd.DataFrame, slab: Slab | None) -> str:
    """Say whether slabs were cut when whole scans were read, or came as slabs; "" where there are none."""
    if not slab:
        return ""
    used = cases[~cases.role.isin(("excluded", "not used"))]
    smaller = (used[["height", "width"]].max(axis=1) < slab.in_plane).sum()
    if not smaller:
        return "The slabs were cut from whole scans when these were read."
    return f"Of {len(used)} cases, {smaller} came as slabs, cut before and with pooled voxels (see the deviations)."


def load_labels(path: str | None) -> dict | None:
    """Read notebook 01's summary of the real labels, None where there is none. Of simulated cases: ValueError."""
    summary = read_json(resolve(path)) if path else {}
    if summary.get("simulated"):
        raise ValueError(f"results.labels_summary {path}: describes simulated cases; give the real KiTS19 labels' one")
    return summary or None


def table_1(found: Mapping) -> pd.DataFrame:
    """Write Table 1: mean and sd over cases of each score, with the number of cases that define it."""
    rows = []
    for row in found["table"]:
        cells = {"loss": row["title"]}
        for name, one in row["scores"].items():
            cells[NAMES[name]] = f"{number(one['mean'])} ± {number(one['sd'])} (n = {one['n']})"
        rows.append(cells)
    return pd.DataFrame(rows)


def apart(found: Mapping) -> pd.DataFrame:
    """List the pairs that can be told apart, by composite and by tumour Dice."""
    titles = _titles(found)
    rows = []
    for score in ("composite", "tumour"):
        for pair in found["pairs"][score]:
            if pair["verdict"]:
                names = [titles[pair["first"]], titles[pair["second"]]]
                rows.append([score, *names, interval(pair), number(pair["p_holm"])])
    return pd.DataFrame(rows, columns=["score", "higher", "than", "difference (95 % interval)", "p, Holm"])


def claims(found: Mapping) -> pd.DataFrame:
    """List the seed paper's claims on rows that were run, and the hypotheses that were held or refuted."""
    table = pd.DataFrame(found["claims"])
    settled = table.verdict.isin(["held", "refuted"])
    undecided = (table.kind == "seed paper") & (table.verdict == "undecided")
    table = table[settled | undecided].reset_index(drop=True)
    difference = [number(one["mean"], signed=True) if one else "–" for one in table.difference]
    titles = _titles(found)
    return pd.DataFrame({
        "from": table.kind.where(table.kind == "seed paper", "hypothesis"),
        "row": table.experiment.map(titles),
        "against": table.reference.map(titles).fillna("all rows"),
        "score": table.score.map(NAMES),
        "expected": table.expected,
        "verdict": table.verdict,
        "difference": difference,
    })


def _titles(found: Mapping) -> dict[str, str]:
    return {row["experiment"]: row["title"] for row in found["table"]}


def measures(found: Mapping) -> list[tuple]:
    """List what closes the notebook: measure, value and unit."""
    rows = {row["experiment"]: row for row in found["table"]}
    best = rows[found["best"]]
    pairs = found["pairs"]["composite"]
    told = [pair for pair in pairs if pair["verdict"]]
    return [
        ("held-out cases", found["cases"], ""),
        (f"tumour Dice, {best['title']}", number(best["scores"]["tumour"]["mean"]), "mean over cases"),
        ("pairs told apart by the composite", len(told), f"of {len(pairs)}"),
        ("what the seed paper's design shows", number(found["needed"]["tumour"]), "tumour Dice"),
        ("tumour volume and tumour Dice", number(found["size_correlation"], 2), "rank correlation"),
    ]
