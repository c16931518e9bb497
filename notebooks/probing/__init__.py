"""Losses without training (notebook 03): ``errors`` are known, ``probes`` measure losses on them, ``figures`` draw."""
