"""One run: preprocessed volumes and settings come in, checkpoints and a history of epochs go out.

Patches are drawn on the device that trains, by a plain loop (``run.py``) that resumes to the last bit. Import
``train`` and ``load_network`` from here, and the settings ``Training``, ``Network`` and ``Augmentation``.
"""

from kitsnb.training.settings import Augmentation, Network, Training

__all__ = ["Augmentation", "Network", "Training", "load_network", "train"]


def __getattr__(name: str):
    """Import what needs torch only when it is asked for."""
    if name == "train":
        from kitsnb.training.run import train

        return train
    if name == "load_network":
        from kitsnb.training.checkpoints import load_network

        return load_network
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
