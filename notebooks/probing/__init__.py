"""Losses without training, for notebook 03: ``probes`` on controlled errors, ``figures`` of them, and ``hypotheses``."""
