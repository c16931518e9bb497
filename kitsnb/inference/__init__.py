"""A trained run on any CT: overlapping patches, blended, brought back to native geometry.

A checkpoint and a CT come in; labels in the CT's geometry go out, with scores where there is a reference.
"""

from importlib import import_module

from kitsnb.inference.settings import Prediction

#: What other rooms use, and its module.
PLACES = {
    "predict_and_score": "held_out", "predict_probabilities": "sliding_window",
    "Trained": "trained", "load_run": "trained", "write_run": "trained",
}
__all__ = ["Prediction", *PLACES]


def __getattr__(name: str):
    """Import what needs torch only when it is asked for."""
    if name in PLACES:
        return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
