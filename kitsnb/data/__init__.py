"""From a folder of NIfTI files to cases that can be trusted.

Files come in; checked arrays and an affine go out, or a ``CaseError`` that says what is wrong and what to do.
``download`` brings KiTS19.
"""

from kitsnb.data.cases import Case, discover, hold_out
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import CaseError
from kitsnb.data.settings import DataSettings

__all__ = ["Accept", "Case", "CaseError", "DataSettings", "discover", "hold_out", "read_case"]
