"""A made-up study: scores of losses on cases, drawn with known components; every number in it is invented."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kitsnb.files import Build
from kitsnb.study.claims import load_seed_paper
from kitsnb.study.runs import SURFACES

SEED_PAPER = load_seed_paper()
#: The rows of the seed paper, as an experiment each.
ROWS = [{"name": row["experiment"], "title": row["title"], "loss": row["experiment"], "parameters": {}}
        for row in SEED_PAPER["table"]]
HYPOTHESES = [{"kind": "tumour", "experiment": "weighted_dice", "reference": "dice", "score": "tumour",
               "expected": "higher", "measure": "share of the gradient", "ratio": 1.37},
              {"kind": "lowest", "experiment": "dice", "reference": None, "score": "composite", "expected": "lowest",
               "measure": "fall", "ratio": 0.0004}]
SETTINGS = {
    "data": {"source": "phantom", "excluded": None, "folds": None, "folder": None, "more_training": []},
    "preprocessing": {"spacing": [6.0, 5.0, 5.0]},
    "training": {"network": {"base_filters": 4, "depth": 2}, "patch_size": [32, 48, 48], "batch_size": 2,
                 "learning_rate": 0.01, "epochs": 14, "stop_patience": 20, "steps_per_epoch": 50, "weights": "last",
                 "augmentation": None},
    "prediction": {"overlap": [8, 8, 8]},
}


def made_up_scores(rows: Sequence[dict] = ROWS, seeds: int = 3, cases: int = 12, step: float = 0.03) -> pd.DataFrame:
    """Make a tidy table in which each row's Dice is ``step`` above that of the row before, apart from noise."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.6, cases)
    tables = []
    for place, row in enumerate(rows):
        for seed in range(seeds):
            noise = rng.normal(0, 0.01) + rng.normal(0, 0.01, (3, cases))
            dice = (base + step * place + noise).clip(0, 1)
            table = pd.DataFrame({"experiment": row["name"], "seed": seed,
                                  "case": [f"case_{number:05d}" for number in range(cases)],
                                  "kidney_and_tumour": dice[0], "kidney": dice[1], "tumour": dice[2],
                                  "composite": (dice[0] + dice[2]) / 2, "kidney_ml": 300.0,
                                  "tumour_ml": np.linspace(5, 250, cases), "predicted_tumour_ml": 40.0 + place})
            tables.append(table.assign(**dict(zip(SURFACES, (5.25, 0.654, 17.5, 0.321)))))
    return pd.concat(tables, ignore_index=True)


def made_up_about(rows: Sequence[dict] = ROWS, seeds: int = 3, **changes) -> dict:
    """Make what is known about that study, as notebook 05 writes it down."""
    losses = {"geometry": {"name": "phantom 0", "simulated": True}, "shares_percent": [99.15, 0.68, 0.17],
              "price_of_missing": {"dice": 1.23, "weighted_dice": 3.21}}
    run = {"seconds": 61.0, "device": "cpu", "precision": "32-true"}
    return {
        "name": "madeup", "title": "A made-up study", "description": "Invented for a test.", "images": "simulated",
        "simulated": True, "slabs": "They came as slabs.", "beside": None, "apart_from": [], "baseline": "log_cosh_dice",
        "experiments": list(rows),
        "seeds": list(range(seeds)), "hypotheses": HYPOTHESES if len(rows) > 1 else [], "losses": losses,
        "labels": None, "settings": SETTINGS, "training_cases": 21, "seconds": 500.0,
        "data": {"shares_percent": {"background": 96.5, "kidney": 2.5, "tumour": 1.0}, "refused": {}},
        "deviations": [{"setting": "patch", "paper": "80, 80, 80", "here": "32, 48, 48", "why": "memory"}],
        "trainings": [{"experiment": row["name"], "seed": 0, **run} for row in rows],
        "software": {"torch": "2.13.0", "typst": "0.15.2"}, **changes,
    }


def write_runs(folder: Path, scores: pd.DataFrame, rows: Sequence[dict], settings: dict = SETTINGS) -> Build:
    """Write ``scores`` as the finished runs of a build."""
    build = Build(folder)
    titled = {row["name"]: row for row in rows}
    for (name, seed), table in scores.groupby(["experiment", "seed"]):
        run = build.run(name, seed)
        run.mkdir(parents=True)
        table.drop(columns=["experiment", "seed"]).to_csv(run / "scores.csv", index=False)
        measures = {f"{part}_{column}": [0.9, 0.5] for part in ("training", "validation")
                    for column in ("loss", "background", "kidney", "tumour")}
        pd.DataFrame({"epoch": [1, 2], **measures}).to_csv(run / "history.csv", index=False)
        training = settings["training"] | {"loss": titled[name]["loss"], "seed": int(seed),
                                           "loss_parameters": titled[name]["parameters"]}
        record = {"simulated": True, "training_cases": 5, "seconds": 1.0, "device": "cpu", "precision": "32-true", "threads": 1,
                  "best_epoch": 2, "settings": settings | {"training": training}}
        (run / "run.json").write_text(json.dumps(record))
    return build
