"""A made-up study: scores of losses on cases, drawn with known components; every number in it is invented."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kitsnb.study.claims import load_seed_paper

#: The rows of the seed paper, as an experiment each.
ROWS = [{"name": row["experiment"], "title": row["title"], "loss": row["experiment"], "parameters": {}}
        for row in load_seed_paper()["table"]]


def made_up_scores(rows: Sequence[dict] = ROWS, seeds: int = 3, cases: int = 12, step: float = 0.03) -> pd.DataFrame:
    """A tidy table in which each row's Dice is ``step`` above that of the row before, apart from noise."""
    rng, names = np.random.default_rng(0), [f"case_{number:05d}" for number in range(cases)]
    base, tables = rng.uniform(0.3, 0.6, cases), []
    for place, row in enumerate(rows):
        for seed in range(seeds):
            dice = (base + step * place + rng.normal(0, 0.01) + rng.normal(0, 0.01, (3, cases))).clip(0, 1)
            columns = dict(zip(("kidney_and_tumour", "kidney", "tumour"), dice)) | {"composite": (dice[0] + dice[2]) / 2}
            columns |= {"kidney_ml": 300.0, "tumour_ml": np.linspace(5, 250, cases), "predicted_tumour_ml": 40.0 + place}
            columns |= {"hd95_kidney_and_tumour": 5.25, "nsd_kidney_and_tumour": 0.654, "hd95_tumour": 17.5, "nsd_tumour": 0.321}
            tables.append(pd.DataFrame({"experiment": row["name"], "seed": seed, "case": names, **columns}))
    return pd.concat(tables, ignore_index=True)
