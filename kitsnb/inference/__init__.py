"""A trained run on any CT: overlapping patches, blended, brought back to native geometry.

A checkpoint and a CT come in; labels in the CT's geometry go out, with scores where there is a reference.
"""

from kitsnb.inference.held_out import predict_and_score
from kitsnb.inference.settings import Prediction
from kitsnb.inference.sliding_window import predict_probabilities
from kitsnb.inference.trained import Trained, load_run, write_run

__all__ = ["Prediction", "Trained", "load_run", "predict_and_score", "predict_probabilities", "write_run"]
