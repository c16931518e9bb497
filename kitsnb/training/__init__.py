"""One run: preprocessed volumes and settings come in, checkpoints and a history of epochs go out.

``run.train`` is a plain loop that resumes to the last bit; patches are drawn on the device that trains.
"""

from kitsnb.training.settings import Augmentation, Network, Training

__all__ = ["Augmentation", "Network", "Training"]
