"""Widgets to play with: how strong augmentation is (notebook 02), what a loss makes of errors (03), and all runs (05)."""
