"""kitsnb: the seven losses, the 3D U-Net and the KiTS19 score behind a reproducible paper on kidney-tumour segmentation.

The modules follow the flow of the data, and import only from modules above them in this list:

``paths``, ``parameters`` -> ``losses``, ``unet``, ``surface`` -> ``metric``, ``nifti`` -> ``cases`` -> ``checks``,
``resampling`` -> ``phantom`` -> ``tissue`` -> ``hybrid``, ``fingerprint`` -> ``preprocessing``, ``volumes`` -> ``sampling``,
``inference`` -> ``ranks`` -> ``history`` -> ``checkpoints`` -> ``training`` -> ``launch``, ``trained`` -> ``predict``;
``error_paths`` -> ``anatomy``, ``benchmarks`` -> ``figures`` -> ``runs`` -> ``results`` -> ``audit``, ``predictions``, ``paper``;
and, apart from the science, ``profiles`` -> ``jobs`` -> ``stamps``, ``execute`` -> ``watch``, ``clusters``, ``workload`` ->
``estimate``, ``grid`` -> ``runner`` -> ``distributed``; ``transfer`` -> ``download``; and above all ``__main__``.
"""

__version__ = "0.1.0"
