"""kitsnb: the losses, the 3D U-Net and the KiTS19 score behind a reproducible paper on kidney-tumour segmentation.

Each room (sub-package) says in its docstring what flows in and out; ``CONTRIBUTING.md`` shows how they use each other.
"""

import lazy_loader

__version__ = "0.1.0"

#: Imported when they are asked for: commands that compute nothing stay fast.
_HOMES = {
    "losses": [
        "DiceCrossEntropyLoss", "DiceLoss", "FocalLoss", "FocalTverskyLoss", "GeneralizedDiceLoss", "LogCosh",
        "TverskyLoss", "WeightedCrossEntropyLoss", "WeightedDiceLoss", "LOSSES", "build_loss",
    ],
    "metric": ["kits19_score"],
    "unet": ["UNet3D"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, list(_HOMES), _HOMES)
