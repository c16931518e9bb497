"""A folder of predictions against one of labels, by case: ``python -m kitsnb score PREDICTIONS REFERENCES``."""

import re
from pathlib import Path

import numpy as np
from rich.table import Table

from kitsnb.data.cases import Case, Files, stem
from kitsnb.data.checks import TOLERANCE, Accept, read_case
from kitsnb.data.nifti import CaseError, corner_distance
from kitsnb.messages import progress
from kitsnb.metric.score import SCORES, case_row, summarise

_NUMBER = re.compile(r"\d{5}")


def find_labels(folder: Path) -> dict[str, Path]:
    """Label files of ``folder`` by case: ``case_00210/segmentation.nii.gz``, ``prediction_00210.nii.gz``, or others.

    Raises FileNotFoundError where there is none, ValueError where two are of one case.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give a folder of label files")
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [Case(path).segmentation if path.is_dir() else path for path in visible]
    found: dict[str, Path] = {}
    for path in files:
        if path.name.endswith((".nii", ".nii.gz")) and path.is_file():
            own = path.parent.name if path.parent != folder else stem(path)
            number = _NUMBER.search(own)
            name = f"case_{number[0]}" if number else own
            if name in found:
                raise ValueError(f"{found[name]} and {path} are both of {name}; leave one of them in {folder}")
            found[name] = path
    if not found:
        raise FileNotFoundError(f"{folder}: holds no labels (.nii.gz); give the folder that holds them")
    return found


def score_folder(predictions: Path, references: Path, accept: Accept | None = None) -> dict:
    """Scores of all cases; ``accept`` is how the references are read.

    ``cases``: a row each, as ``case_row`` has it; ``summary``: of each score over the cases; ``refused``: by name, why.
    Raises FileNotFoundError and ValueError as ``find_labels`` does.
    """
    predicted, wanted = find_labels(predictions), find_labels(references)
    rows, refused = [], {}
    for name in progress(sorted(predicted | wanted), "scoring"):
        try:
            rows.append({"case": name, **_score(name, predicted.get(name), wanted.get(name), accept)})
        except (CaseError, ValueError) as error:
            refused[name] = str(error).removeprefix(f"{name}: ")
    summary = {score: summarise(row[score] for row in rows) for score in SCORES}
    return {"cases": rows, "summary": summary, "refused": refused}


def score_table(found: dict) -> Table:
    """What ``score_folder`` returned, for people: Dice of each case, then mean, SD and number of cases."""
    table = Table("case", *(score.replace("_", " ") for score in SCORES))
    for row in found["cases"]:
        table.add_row(row["case"], *(f"{row[score]:.3f}" for score in SCORES))
    table.add_section()
    for key, form in (("mean", ".3f"), ("sd", ".3f"), ("n", "d")):
        table.add_row(key, *(format(values[key], form) for values in found["summary"].values()))
    return table


def _score(name: str, prediction: Path | None, reference: Path | None, accept: Accept | None) -> dict:
    if prediction is None or reference is None:
        kind, other = ("prediction", reference) if prediction is None else ("reference", prediction)
        raise CaseError(name, (other or Path()).name, f"has no {kind}", f"add the {kind}, or leave the case out")
    _, found, affine = read_case(Files(name, None, prediction), imaging=False)
    _, truth, wanted = read_case(Files(name, None, reference), imaging=False, accept=accept)
    distance = corner_distance(affine, wanted, truth.shape) if found.shape == truth.shape else np.inf
    if not distance <= TOLERANCE:
        reason = f"shape {found.shape} for {truth.shape}, corners {distance:.3g} mm from those of the reference"
        raise CaseError(name, prediction.name, reason, "predict in the geometry of the reference")
    return case_row(found, truth, wanted)
