"""A folder of predictions against one of labels, by case: ``python -m kitsnb score PREDICTIONS REFERENCES``."""

from pathlib import Path

from rich.table import Table

from kitsnb.data.cases import case_name, is_nifti, stem
from kitsnb.data.checks import Accept, fit_labels, read_labels
from kitsnb.data.nifti import CaseError
from kitsnb.messages import progress
from kitsnb.metric.score import SCORES, case_row, summarise


def find_labels(folder: Path) -> dict[str, Path]:
    """Find the label files of ``folder`` by case: ``case_00210/segmentation.nii.gz`` or files, see ``case_name``.

    Raises FileNotFoundError where there is none, ValueError where two are of one case.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give a folder of label files")
    found: dict[str, Path] = {}
    inner = [path for path in folder.glob("*/*") if stem(path).lower() == "segmentation"]
    for path in sorted([*folder.glob("*"), *inner]):
        if not is_nifti(path) or not path.is_file() or path.name.startswith("."):
            continue
        name = case_name(path)
        if name in found:
            raise ValueError(f"{found[name]} and {path} are both of {name}; leave one of them in {folder}")
        found[name] = path
    if not found:
        raise FileNotFoundError(f"{folder}: holds no labels (.nii.gz); give the folder that holds them")
    return found


def score_folder(predictions: Path, references: Path, accept: Accept | None = None) -> dict:
    """Score all cases; ``accept`` is how predictions and references are read.

    Returns ``cases``: a row per case, as ``case_row`` has it; ``summary``: of each score over the cases; ``refused``:
    by name, why; ``unpaired``: names without prediction and without reference. Raises FileNotFoundError and
    ValueError as ``find_labels`` does.
    """
    predicted = find_labels(predictions)
    wanted = find_labels(references)
    unpaired = {"prediction": sorted(wanted.keys() - predicted), "reference": sorted(predicted.keys() - wanted)}
    refused = {}
    for kind, names in unpaired.items():
        for name in names:
            there = (predicted | wanted)[name].name
            refused[name] = f"{there}: has no {kind}; add the {kind}, or leave the case out"
    rows = []
    for name in progress(sorted(predicted.keys() & wanted), "scoring"):
        try:
            rows.append({"case": name, **_score(name, predicted[name], wanted[name], accept or Accept())})
        except CaseError as error:
            refused[name] = str(error).removeprefix(f"{name}: ")
    summary = {score: summarise(row[score] for row in rows) for score in SCORES}
    return {"cases": rows, "summary": summary, "refused": dict(sorted(refused.items())), "unpaired": unpaired}


def score_table(found: dict) -> Table:
    """Return what ``score_folder`` found, for people: Dice of each case, then mean, SD and number of cases."""
    table = Table("case", *(score.replace("_", " ") for score in SCORES))
    for row in found["cases"]:
        table.add_row(row["case"], *(f"{row[score]:.3f}" for score in SCORES))
    table.add_section()
    for key, form in (("mean", ".3f"), ("sd", ".3f"), ("n", "d")):
        table.add_row(key, *(format(values[key], form) for values in found["summary"].values()))
    return table


def unpaired_line(found: dict) -> str:
    """Say how many cases ``score_folder`` found on one side only; nothing where all have both."""
    counts = {kind: len(names) for kind, names in found["unpaired"].items() if names}
    return "; ".join(f"cases without {kind}: {count}" for kind, count in counts.items())


def _score(name: str, prediction: Path, reference: Path, accept: Accept) -> dict:
    found = read_labels(prediction, name, accept)
    truth, affine = read_labels(reference, name, accept)
    found = fit_labels(name, prediction, found, (truth.shape, affine), other="the reference")
    return case_row(found, truth, affine)
