"""One run: preprocessed volumes and settings come in, checkpoints and a history of epochs go out.

``run.train`` is a plain loop that resumes to the last bit; patches are drawn on the device that trains.
"""

import lazy_loader

#: Imported when they are asked for: settings alone, and commands that compute nothing, stay fast.
_HOMES = {
    "checkpoints": ["load_network"],
    "run": ["train"],
    "settings": ["Augmentation", "Network", "Training"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
