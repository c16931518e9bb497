"""A trained run on any CT: overlapping patches, blended, brought back to native geometry.

A checkpoint and a CT come in; labels in the CT's geometry go out, with scores where there is a reference.
"""

import lazy_loader

#: Imported when they are asked for: settings alone, and commands that compute nothing, stay fast.
_HOMES = {
    "held_out": ["predict_and_score"],
    "settings": ["Prediction"],
    "sliding_window": ["predict_probabilities"],
    "trained": ["load_run", "write_run"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
