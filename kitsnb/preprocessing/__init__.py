"""To the working grid, and back to native geometry.

Checked cases come in; clipped, resampled, normalized volumes go out as .npy files, three bytes per voxel. Class
probabilities of a network come back as labels in native geometry.
"""

import lazy_loader

#: Imported when they are asked for: settings alone, and commands that compute nothing, stay fast.
_HOMES = {
    "arrays": ["cases_below", "read_arrays"],
    "prepare": ["grid_ceiling", "preprocess_cases", "to_grid", "z_score"],
    "resampling": ["reorient", "to_native"],
    "settings": ["Preprocessing"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
