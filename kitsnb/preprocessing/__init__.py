"""To the working grid, and exactly back.

Checked cases come in; clipped, resampled, normalized volumes go out, and predictions come back to native geometry.
"""
