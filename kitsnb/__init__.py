"""kitsnb: the losses, the 3D U-Net and the KiTS19 score behind a reproducible paper on kidney-tumour segmentation.

Each room (sub-package) says in its docstring what flows in and out; ``CONTRIBUTING.md`` shows how they use each other.
"""

from importlib import import_module

__version__ = "0.1.0"

_LOSSES = (
    "DiceCrossEntropyLoss", "DiceLoss", "FocalLoss", "FocalTverskyLoss", "GeneralizedDiceLoss", "LogCosh", "TverskyLoss",
    "TwoTermDiceLoss", "WeightedCrossEntropyLoss", "WeightedDiceLoss", "LOSSES", "build_loss",
)  # fmt: skip
_HOME = {**dict.fromkeys(_LOSSES, "kitsnb.losses"), "UNet3D": "kitsnb.unet", "kits19_score": "kitsnb.metric"}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Import losses, network and score when they are asked for: commands that compute nothing stay fast."""
    if name not in _HOME:
        raise AttributeError(f"module 'kitsnb' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List what can be imported, for completion in Jupyter."""
    return sorted([*globals(), *__all__])
