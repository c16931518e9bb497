"""How cases are brought to the working grid: types, ranges and defaults."""

from typing import Annotated

from pydantic import AfterValidator, Field

from kitsnb.settings import Factor, Settings, rising

Spacing = Annotated[float, Field(gt=0, le=1000)]
Pixels = Annotated[int, Field(ge=1, le=4096)]
LIST = Field(strict=False)  # a list is taken for a tuple


class Preprocessing(Settings):
    """Settings of the way to the working grid; the defaults are the paper's (section 4.2)."""

    spacing: Annotated[tuple[Spacing, Spacing, Spacing], LIST] = (3.22, 1.62, 1.62)  # mm: slice, height, width
    clip: Annotated[tuple[float, float], LIST, AfterValidator(rising)] = (-79.0, 304.0)  # HU
    #: Pixels before resampling; None: go there directly.
    resize_in_plane: Annotated[tuple[Pixels, Pixels], LIST] | None = (256, 256)
    #: Mean and SD in HU of the z-score; None: those of each case. The same for all keeps absolute HU.
    z_score_by: Annotated[tuple[float, Factor], LIST] | None = None
