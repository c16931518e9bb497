"""The seed paper, looked at itself: what its table, split, network and labels say of each other. Needs no training."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml

from kitsnb.data.cases import EXCLUDED
from kitsnb.files import PAPER, resolve
from kitsnb.study.tables import PAPER_COLUMNS
from kitsnb.unet import UNet3D, count_parameters


def count_network() -> dict[str, int]:
    """Trainable parameters and running statistics of the seed paper's network, counted on the network itself."""
    with torch.device("meta"):  # shapes without memory
        trainable, running = count_parameters(UNet3D())
    return {"paper_trainable": trainable, "paper_running": running}


def audit(seed_paper: Mapping, labels: Mapping | None) -> dict:
    """The seed paper against itself and against the data: its table's arithmetic, split, network and labels."""
    claims, network = seed_paper["claims"], count_network()
    ranges = {
        name: range(claims[f"{name}_first"], claims[f"{name}_last"] + 1) for name in ("training", "validation")
    }
    rows = [
        {name: row[name] for name in ("experiment", *PAPER_COLUMNS)}
        | {
            "mean_of_columns": (row["kidney"] + row["tumour"]) / 2,
            "composite_from_columns": (row["kidney_and_tumour"] + row["tumour"]) / 2,
        }
        for row in seed_paper["table"]
    ]
    kept = {name: sum(number not in EXCLUDED for number in numbers) for name, numbers in ranges.items()}
    return {
        "table": rows,
        "split": kept | {"excluded": len(EXCLUDED), "equation_cases": claims["equation_cases"]},
        "parameters": {
            "paper_total": claims["total_parameters"],
            "paper_trainable": claims["trainable_parameters"],
            "measured_total": network["paper_trainable"] + network["paper_running"],
            "measured_trainable": network["paper_trainable"],
        },
        "labels": labels,
    }


def load_seed_paper(path: str | Path = PAPER / "seed_paper.yml") -> dict:
    return yaml.safe_load(Path(path).read_text())


def load_labels(path: str | Path | None) -> dict | None:
    """Summary of the real labels by 01_data_analysis, None where there is none. Raises ValueError for simulated ones."""
    if path is None or not resolve(path).is_file():
        return None
    summary = json.loads(resolve(path).read_text())
    if summary["simulated"]:
        raise ValueError(f"labels_summary {path}: describes simulated cases; give the real KiTS19 labels' one, or None")
    return summary
