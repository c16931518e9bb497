"""From a folder of NIfTI files to cases that can be trusted.

Files come in; checked arrays with the affine that counts go out, or a ``CaseError`` that names case, file, reason and
advice. ``download`` brings KiTS19.
"""

from kitsnb.data.cases import Case, discover, hold_out
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import CaseError
from kitsnb.data.settings import DataSettings

__all__ = ["Accept", "Case", "CaseError", "DataSettings", "discover", "hold_out", "read_case"]
