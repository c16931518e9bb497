"""To the working grid, and exactly back.

Checked cases come in; clipped, resampled, normalized volumes go out as .npy files, three bytes per voxel. Class
probabilities of a network come back as labels in native geometry.
"""

from importlib import import_module

from kitsnb.preprocessing.settings import Preprocessing

#: What other rooms use, and its module.
PLACES = {
    "cases_below": "arrays", "read_arrays": "arrays",
    "grid_ceiling": "prepare", "preprocess_cases": "prepare", "to_grid": "prepare", "z_score": "prepare",
    "reorient": "resampling", "to_native": "resampling",
}
__all__ = ["Preprocessing", *PLACES]


def __getattr__(name: str):
    """Import what needs torch only when it is asked for."""
    if name in PLACES:
        return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
