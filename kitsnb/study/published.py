"""Studies that are kept in the repository as data: ``paper/published/NAME/``, written by ``python -m kitsnb publish``.

``scores.csv`` holds a row a run and case, ``cases.csv`` what each case is like (volumes in ml, median HU),
``study.json`` rows, settings, software, machines, commit and seconds. Rows of a later build can be paired with a
published study where nothing differs but the loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kitsnb.files import PUBLISHED, Build, plain, read_json, write_atomic, write_json
from kitsnb.messages import nearest, several
from kitsnb.receipts import digest, flat
from kitsnb.study import findings
from kitsnb.study.runs import Run, shared_settings

#: What is published of a case, by which another simulator or other labels are noticed: columns of notebook 01's table.
CASE_COLUMNS = ("kidney_ml", "tumour_ml", "kidney_hu", "tumour_hu", "role")
#: The study that the README is about, and the paper unless notebook 05 is told another.
MAIN = "hybrid"
#: Settings that say where, not what.
PLACES = ("folder", "build")
#: Bytes that a study may take in the repository.
LARGEST = 2_000_000


@dataclass(frozen=True)
class Published:
    """A published study: ``info`` (study.json), tidy ``scores`` and ``cases`` by name."""

    name: str
    info: dict
    scores: pd.DataFrame
    cases: pd.DataFrame

    @property
    def rows(self) -> list[dict]:
        return self.info["experiments"]


def names() -> list[str]:
    """The published studies."""
    return sorted(path.parent.name for path in PUBLISHED.glob("*/study.json"))


def read(name: str) -> Published:
    """Raises ValueError where there is no such study, or where its CSV is not the one that was written."""
    folder = PUBLISHED / name
    if name not in names():
        raise ValueError(f"there is no published study {name!r}; {nearest(name, names())}")
    info = read_json(folder / "study.json")
    for file, written in info.get("digests", {}).items():
        if digest(folder / file) != written:
            raise ValueError(f"{folder / file} is not as it was published; take it back from git, or publish again")
    return Published(name, info, pd.read_csv(folder / "scores.csv"),
                     pd.read_csv(folder / "cases.csv", index_col="case"))


def write(name: str, scores: pd.DataFrame, cases: pd.DataFrame, info: Mapping) -> Path:
    """Write a study; ``cases`` is notebook 01's table. Numbers keep six digits. Raises ValueError above ``LARGEST``."""
    folder = PUBLISHED / name
    cases = cases[[column for column in CASE_COLUMNS if column in cases]].rename_axis("case").reset_index()
    texts = {f"{stem}.csv": table.to_csv(index=False, float_format="%.6g")
             for stem, table in (("scores", scores), ("cases", cases))}
    if (size := sum(map(len, texts.values()))) > LARGEST:
        raise ValueError(f"{name} would take {size:,} bytes; a published study may take {LARGEST:,}")
    for file, text in texts.items():
        write_atomic(folder / file, text)
    write_json(folder / "study.json", {**info, "digests": {file: digest(folder / file) for file in texts}})
    return folder


def settings_apart(study: Published, settings: Mapping, apart_from: Sequence[str] = ()) -> list[str]:
    """In words, which ``settings`` (of training and, below ``preprocessing``, of that) are not those of ``study``.

    ``apart_from`` names settings that may differ by design, as ``network`` or ``network.normalization``.
    """
    there, here = (flat({key: value for key, value in plain(one).items() if key not in PLACES})
                   for one in (study.info["settings"], settings))
    allowed = tuple(f"{name}." for name in apart_from)
    return [f"{name} is {here.get(name)}, in {study.name} {there.get(name)}" for name in {**there, **here}
            if (here.get(name) or None) != (there.get(name) or None)  # a setting that is newer than the study, and off
            and not f"{name}.".startswith(allowed)]


def cases_apart(study: Published, cases: pd.DataFrame) -> list[str]:
    """In words, which ``cases`` (notebook 01's table) are not those of ``study``: others, or another simulator."""
    if other := sorted(set(study.cases.index) ^ set(cases.index)):
        return [f"{several(other)}: only here, or only in {study.name}"]
    found, cases = [], cases.loc[study.cases.index]
    for column in study.cases.columns.intersection(cases.columns):
        there, here = study.cases[column], cases[column]
        odd = there.index[there != here if column == "role" else ~np.isclose(there, here, rtol=1e-3, equal_nan=True)]
        if len(odd):
            found.append(f"{column} of {len(odd)} cases: {odd[0]} has {here[odd[0]]}, in {study.name} {there[odd[0]]}")
    return found


def settings_of(runs: Sequence[Run]) -> dict:
    """What the runs of a study share: settings of training and, below ``preprocessing``, of the way to the grid."""
    return shared_settings(runs) | {"preprocessing": runs[0].info.get("preprocessing")}


def cases_of(build: Build) -> pd.DataFrame:
    """Notebook 01's table of the cases of ``build``, by name."""
    return pd.read_csv(build.data_analysis / "cases.csv", index_col="case")


def check(study: Published, runs: Sequence[Run], build: Build, apart_from: Sequence[str] = ()) -> None:
    """Raises ValueError that names what differs, where ``runs`` of ``build`` cannot be paired with ``study``."""
    if found := [*settings_apart(study, settings_of(runs), apart_from), *cases_apart(study, cases_of(build))]:
        raise ValueError(f"cannot be paired with the published study {study.name}: " + "; ".join(found))


def describe(study: Published, seed_paper: Mapping) -> dict:
    """``findings.describe`` of a published study, with what ``study.json`` says of how it was made."""
    return {**study.info, **findings.describe(study.scores, study.rows, seed_paper, study.info["hypotheses"])}
