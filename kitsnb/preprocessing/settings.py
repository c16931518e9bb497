"""How cases are brought to the working grid: types, ranges and defaults."""

from typing import Annotated

from pydantic import AfterValidator, Field

from kitsnb.settings import Factor, Settings, rising

Spacing = Annotated[float, Field(gt=0, le=1000)]
Pixels = Annotated[int, Field(ge=1, le=4096)]


class Preprocessing(Settings):
    """Settings of the way to the working grid; the defaults are the paper's (section 4.2)."""

    #: mm: slice, height, width.
    spacing: Annotated[tuple[Spacing, Spacing, Spacing], Field(strict=False)] = (3.22, 1.62, 1.62)
    #: HU.
    clip: Annotated[tuple[float, float], Field(strict=False), AfterValidator(rising)] = (-79.0, 304.0)
    #: Pixels before resampling; None: go there directly.
    resize_in_plane: Annotated[tuple[Pixels, Pixels], Field(strict=False)] | None = (256, 256)
    #: Mean and SD in HU of the z-score; None: those of each case. The same for all keeps absolute HU.
    z_score_by: Annotated[tuple[float, Factor], Field(strict=False)] | None = None
