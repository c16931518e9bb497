"""A picture of labels on a CT: the three planes that hold most of them, in the body's proportions."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from kitsnb.data.nifti import spacing_of
from kitsnb.files import replaced
from kitsnb.preprocessing.resampling import reorient

#: Soft tissue, in HU.
WINDOW = (-160, 240)
PLANES = ("axial", "coronal", "sagittal")
COLOURS = {"kidney": (1, "#0173b2"), "tumour": (2, "#d55e00")}
WIDTH = 10.0  # inches


def draw_planes(path: Path, imaging: np.ndarray, labels: np.ndarray, affine: np.ndarray) -> Figure:
    """Write a PNG of ``labels`` on ``imaging`` (HU), both [three axes] with one ``affine``; returns the figure.

    Planes go through the largest sections of the tumour, else of the kidneys, else through the middle. The patient's right is
    on the left, front and head are up; sagittal, the front is on the left.
    """
    (imaging, upright), (labels, _) = reorient(imaging, affine), reorient(labels, affine)
    spacing = spacing_of(upright)
    wanted = labels == (2 if (labels == 2).any() else 1)
    sides = [np.delete(spacing * labels.shape, axis) for axis in range(3)]  # mm down and across
    ratio = sum(across / down for down, across in sides)  # all planes are equally high
    figure = Figure(figsize=(WIDTH, WIDTH / ratio + 0.5), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=[across / down for down, across in sides])
    for axis, (name, panel) in enumerate(zip(PLANES, axes, strict=True)):
        area = wanted.sum(tuple(other for other in range(3) if other != axis))
        index = int(area.argmax()) if area.any() else labels.shape[axis] // 2
        down, across = np.delete(spacing, axis)
        panel.imshow(imaging.take(index, axis), cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], aspect=down / across)
        for label, colour in COLOURS.values():
            mask = labels.take(index, axis) == label
            if mask.any():
                panel.contour(mask, [0.5], colors=colour, linewidths=1.2)
        panel.set_title(name, fontsize=9)
        panel.set_axis_off()
    figure.suptitle("kidney blue, tumour orange" if labels.any() else "nothing was found", fontsize=9)
    with replaced(path) as partial:
        figure.savefig(partial, dpi=100)
    return figure
