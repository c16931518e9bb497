"""kitsnb: the losses, the 3D U-Net and the KiTS19 score behind a reproducible paper on kidney-tumour segmentation.

Each room (sub-package) says in its docstring what flows in and out; ``CONTRIBUTING.md`` shows how they use each other.
"""

__version__ = "0.1.0"
