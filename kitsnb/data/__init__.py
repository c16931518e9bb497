"""From a folder of NIfTI files to cases that can be trusted.

Files come in; checked arrays with their affine go out, or a ``CaseError`` that names case, file, reason and advice.
``download`` brings KiTS19.
"""
