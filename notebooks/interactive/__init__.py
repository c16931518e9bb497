"""Widgets to play with: any case (notebook 01), augmentation (02), what a loss makes of errors (03), all runs (05)."""
