"""What the seed paper states, looked at again: ``audit`` of paper/seed_paper.yml, with what can be measured.

Nothing here needs training; what runs say of the seed paper's comparisons is in ``kitsnb.study.claims``.
"""

import math
from collections.abc import Mapping

import torch

from kitsnb.study.tables import number
from kitsnb.unet import UNet3D, count_parameters

VERDICTS = {True: "holds", False: "does not hold"}


def count_network(network: Mapping) -> dict[str, int]:
    """Count trainable parameters of the study's ``network``, and all of the seed paper's."""
    with torch.device("meta"):  # shapes without memory
        trainable, running = count_parameters(UNet3D())
        own, _ = count_parameters(UNet3D(**network))
    return {"trainable": own, "paper_trainable": trainable, "paper_running": running}


def audit(seed_paper: Mapping, labels: Mapping | None, found: Mapping) -> list[dict]:
    """List what the seed paper states: ``claim``, ``where``, ``verdict``, ``evidence``, ``command`` to see it again.

    Rows of the YAML that name a ``measure`` are decided here. ``labels`` is notebook 01's summary of the real labels;
    without it what it decides is left out. ``found`` is ``findings.describe``.
    """
    measured = {"network": _network(seed_paper["claims"]), "power": _power(found)}
    if labels:
        measured |= _labels(seed_paper["claims"], labels)
    rows = []
    for row in seed_paper["audit"]:
        row = dict(row)
        measure = row.pop("measure", None)
        if measure in measured:
            row["verdict"], values = measured[measure]
            row["evidence"] = row["evidence"].format(**values)
        if "verdict" in row:
            rows.append(row)
    return rows


def _network(claims: Mapping) -> tuple[str, dict]:
    counted = count_network({})
    trainable = counted["paper_trainable"]
    total = trainable + counted["paper_running"]
    same = trainable == claims["trainable_parameters"] and total == claims["total_parameters"]
    return VERDICTS[same], {"total": total, "trainable": trainable}


def _power(found: Mapping) -> tuple[str, dict]:
    needed = found["needed"]["tumour"]
    said = f"its design shows {number(needed)} or more with power 0.8"
    if math.isnan(needed):
        said = "one row says nothing of what it could show"
    elif found["seeds"] == 1:
        said = f"its design needs more than {number(needed)}, which one seed here gives without what seeds add"
    return "cannot be told", {"power": said}


def _labels(claims: Mapping, labels: Mapping) -> dict[str, tuple[str, dict]]:
    odd = ", ".join(labels["not_512"]).replace("_", " ")
    slices = labels["slices"]
    thickness = labels["slice_spacing_mm"]
    shares = labels["shares_percent"]
    low, high = claims["slice_thickness_mm"]
    close = abs(slices["mean"] - claims["mean_slices"]) < 1 and abs(slices["median"] - claims["median_slices"]) < 5
    thick = low <= thickness["min"] and thickness["max"] <= high
    return {
        "in_plane": (VERDICTS[not odd], {"cases": labels["cases"], "odd": odd or "none"}),
        "thickness": (VERDICTS[thick], thickness),
        "slices": (VERDICTS[close], slices),
        "rarity": (VERDICTS[shares["background"] > 95], shares),
    }
