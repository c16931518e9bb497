"""A folder of predictions against one of labels, by case: ``python -m kitsnb score PREDICTIONS REFERENCES``."""

from pathlib import Path

from rich.table import Table

from kitsnb.data.cases import case_name, is_nifti, stem
from kitsnb.data.checks import Accept, read_labels
from kitsnb.data.nifti import CaseError
from kitsnb.messages import progress
from kitsnb.metric.score import SCORES, case_row, summarise


def find_labels(folder: Path) -> dict[str, Path]:
    """Find the label files of ``folder`` by case: ``case_00210/segmentation.nii.gz`` or files, see ``case_name``.

    Raises FileNotFoundError where there is none, ValueError where two are of one case.
    """
    found: dict[str, Path] = {}
    inner = [path for path in folder.glob("*/*") if stem(path).lower() == "segmentation"]
    for path in sorted([*folder.glob("[!.]*"), *inner]):
        if is_nifti(path) and path.is_file():
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
    by name, why. Raises FileNotFoundError and ValueError as ``find_labels`` does.
    """
    predicted = find_labels(predictions)
    wanted = find_labels(references)
    rows = []
    refused = {}
    for name in progress(sorted(predicted | wanted), "scoring"):
        if name not in wanted:
            refused[name] = f"{predicted[name].name}: has no reference; add it, or leave the case out"
        elif name not in predicted:
            refused[name] = f"{wanted[name].name}: has no prediction; add it, or leave the case out"
        else:
            try:
                truth, affine = read_labels(wanted[name], name, accept)
                grid = truth.shape, affine
                found, _ = read_labels(predicted[name], name, accept, grid)
                rows.append({"case": name, **case_row(found, truth, affine)})
            except CaseError as error:
                refused[name] = error.message
    summary = {score: summarise(row[score] for row in rows) for score in SCORES}
    return {"cases": rows, "summary": summary, "refused": refused}


def score_table(found: dict) -> Table:
    """Return what ``score_folder`` found, for people: Dice of each case, then mean, SD and number of cases."""
    table = Table("case", *(score.replace("_", " ") for score in SCORES))
    for row in found["cases"]:
        table.add_row(row["case"], *(f"{row[score]:.3f}" for score in SCORES))
    table.add_section()
    for key, form in (("mean", ".3f"), ("sd", ".3f"), ("n", "d")):
        table.add_row(key, *(format(values[key], form) for values in found["summary"].values()))
    return table
