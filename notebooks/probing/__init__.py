"""Losses without training (notebook 03): ``probes`` on controlled errors, ``figures`` of them, ``hypotheses``."""
