"""Where the patches of a prediction stand."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from kitsnb.settings import Settings, Sides

Overlap = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=3, max_length=3, strict=False)]


class Window(Settings):
    """Patch size and overlap in voxels (the paper: 80^3 and 40^3), and how many patches are predicted at a time.

    Two at a time, since a single patch takes a way through oneDNN that is several times slower on one thread.
    """

    patch_size: Sides = (80, 80, 80)
    overlap: Overlap = (40, 40, 40)
    at_a_time: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if any(o >= p for o, p in zip(self.overlap, self.patch_size)):
            raise ValueError(f"overlap {list(self.overlap)} must be below patch_size {list(self.patch_size)} along "
                             "each axis")
        return self

    def starts(self, shape: Sequence[int]) -> list[list[int]]:
        """First voxels of the patches along each axis of a volume; patches stand at every combination of them."""
        result = []
        for length, patch, overlap in zip(shape, self.patch_size, self.overlap, strict=True):
            length = max(length, patch)  # a thin volume is padded
            result.append(sorted({min(n, length - patch) for n in range(0, length - overlap, patch - overlap)}))
        return result
