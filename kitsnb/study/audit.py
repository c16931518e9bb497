"""What the seed paper states, looked at again: ``audit`` of paper/seed_paper.yml, with what can be counted."""

from collections.abc import Mapping

import torch

from kitsnb.unet import UNet3D, count_parameters


def count_network(network: Mapping) -> dict[str, int]:
    """Count trainable parameters of the study's ``network``, and all of the seed paper's."""
    with torch.device("meta"):  # shapes without memory
        trainable, running = count_parameters(UNet3D())
        own, _ = count_parameters(UNet3D(**network))
    return {"trainable": own, "paper_trainable": trainable, "paper_running": running}


def audit(seed_paper: Mapping, labels: Mapping | None) -> list[dict]:
    """List what the seed paper states: ``claim``, ``where``, ``verdict``, ``evidence``, ``command`` to see it again.

    A claim with a ``measure`` holds where its values lie ``within`` bounds. ``labels`` is notebook 01's summary of the
    real labels; without it, claims that need it are left out.
    """
    measured = dict(labels or {})
    measured["network"] = count_network({})
    if labels:
        odd = labels["not_512"]
        names = ", ".join(odd).replace("_", " ")
        measured["in_plane"] = {"cases": labels["cases"], "odd": names, "number": len(odd)}
    rows = []
    for row in seed_paper["audit"]:
        if "measure" not in row:
            rows.append(row)
        elif row["measure"] in measured:
            values = measured[row["measure"]]
            holds = all(low <= values[name] <= high for name, (low, high) in row["within"].items())
            verdict = "holds" if holds else "does not hold"
            rows.append({**row, "verdict": verdict, "evidence": row["evidence"].format(**values)})
    return rows
