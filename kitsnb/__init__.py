"""kitsnb: the seven losses, the 3D U-Net and the KiTS19 score behind a reproducible paper on kidney-tumour segmentation.

The modules follow the flow of the data, and import only from modules above them in this list:

``paths``, ``parameters`` -> ``losses``, ``unet``, ``metric``, ``nifti``, ``cases`` -> ``checks`` -> ``phantom``, ``fingerprint``, ``preprocessing`` ->
``error_paths`` -> ``anatomy``, ``benchmarks``; ``sampling`` -> ``training``, ``inference`` -> ``trained`` -> ``predict``; ``figures`` -> ``results`` ->
``predictions``, ``paper``; and, apart from the science,
``profiles`` -> ``jobs`` -> ``stamps``, ``execute`` -> ``grid`` -> ``runner``; ``transfer`` -> ``download``; -> ``__main__``.
"""

__version__ = "0.1.0"
