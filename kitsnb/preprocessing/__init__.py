"""To the working grid, and exactly back.

Checked cases come in; clipped, resampled, normalized volumes go out as .npy files, three bytes per voxel. Class
probabilities of a network come back as labels in native geometry.
"""

from kitsnb.preprocessing.arrays import cases_below, read_arrays
from kitsnb.preprocessing.prepare import grid_ceiling, preprocess_cases, to_grid, z_score
from kitsnb.preprocessing.resampling import reorient, to_native
from kitsnb.preprocessing.settings import Preprocessing

__all__ = ["Preprocessing", "cases_below", "grid_ceiling", "preprocess_cases", "read_arrays", "reorient", "to_grid",
           "to_native", "z_score"]
