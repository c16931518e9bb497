"""What the seed paper states, and what can be counted to look at it: its network, and the real labels if measured.

The paper works out from these what its table, split and conclusions say of each other. Nothing here needs training.
"""

from pathlib import Path

import torch
import yaml

from kitsnb.files import PAPER, read_json, resolve
from kitsnb.unet import UNet3D, count_parameters


def load_seed_paper(path: Path = PAPER / "seed_paper.yml") -> dict:
    """The seed paper's table, comparisons and settings, as they are printed there."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def count_network() -> dict[str, int]:
    """Trainable parameters and running statistics of the seed paper's network, counted on the network itself."""
    with torch.device("meta"):  # shapes without memory
        trainable, running = count_parameters(UNet3D())
    return {"paper_trainable": trainable, "paper_running": running}


def load_labels(path: str | Path | None) -> dict | None:
    """Summary of the real labels by 01_data_analysis, None where there is none. Simulated ones: ValueError."""
    if path is None or not resolve(path).is_file():
        return None
    summary = read_json(resolve(path))
    if summary["simulated"]:
        raise ValueError(f"labels_summary {path}: describes simulated cases; give the real KiTS19 labels' one, or None")
    return summary
