"""What augmentation does to training patches, as a picture with a slider of its strength."""

from collections.abc import Sequence

import ipywidgets as widgets
from matplotlib.figure import Figure

from kitsnb.drawing import COLOURS, PAGE, canvas, outline, section
from kitsnb.training.patches import PatchSampler
from kitsnb.training.settings import Augmentation, Training
from kitsnb.training.volumes import Volume

from interactive.picture import Picture

#: Fields of ``Augmentation`` that grow with its strength: ranges about one, by a power, and sizes, by a factor.
POWERS, SIZES = ("scaling", "brightness", "contrast", "gamma"), ("rotation", "elastic", "noise")
#: A patch is at most so many voxels wide, and this share of the volume; so many are shown.
SIDE, SHARE, PATCHES = 80, 0.6, 5


def with_strength(augmentation: Augmentation, strength: float) -> Augmentation:
    """``augmentation`` applied always, ``strength`` times as strong: 0 changes nothing, 1 is as it is. Nothing is
    mirrored.
    """
    changed = {name: tuple(end**strength for end in getattr(augmentation, name)) for name in POWERS}
    changed |= {name: min(getattr(augmentation, name) * strength, 180) for name in SIZES}
    return augmentation.changed(probability=1.0, mirror=False, **changed)


def augmented(volume: Volume, spacing: Sequence[float], simulated: bool, strength: float = 1.0) -> Figure:
    """Patches on the tumour as they are (above) and augmented (below), in axial slices, to scale.

    The random numbers are those of the patch and stay; ``strength`` multiplies what they do. ``spacing`` in mm.
    """
    size = [min(SIDE, 2 * round(SHARE * side / 2)) for side in volume.imaging.shape]
    title = f"Patches as they are, and augmented at {strength:g} times the usual strength"
    figure, grid = canvas(title, (PAGE, 2.9), 2, PATCHES, simulated=simulated)
    for row, (name, much) in zip(grid, {"as it is": 0.0, "augmented": strength}.items()):
        augmentation = with_strength(Augmentation(), much)
        given = {"network": {"depth": 1}, "patch_size": size, "foreground": 1.0, "tumour": 1.0}
        sampler = PatchSampler([volume], Training(**given, augmentation=augmentation))
        row[0].set_ylabel(name)
        for step, axes in enumerate(row):
            imaging, labels = (part.reshape(size).numpy() for part in sampler.batch(step))
            middle = size[0] // 2
            section(axes, imaging, spacing, middle, cmap="gray", vmin=-2, vmax=2)
            for label, of in ((1, "kidney"), (2, "tumour")):
                outline(axes, labels == label, spacing, middle, COLOURS[of])
    return figure


class StrengthSlider(widgets.VBox):
    """``augmented`` with a slider from none to twice the usual strength."""

    def __init__(self, volume: Volume, spacing: Sequence[float], simulated: bool):
        self.strength = widgets.FloatSlider(1.0, min=0, max=2, step=0.1, description="strength",
                                            layout={"width": "420px"})
        self.picture, self.drawn = widgets.HTML(), (volume, spacing, simulated)
        self.strength.observe(lambda _: self.draw(), "value")
        super().__init__([self.strength, self.picture])
        self.draw()

    def draw(self) -> None:
        self.picture.value = Picture(augmented(*self.drawn, self.strength.value)).html()
