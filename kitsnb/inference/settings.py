"""How a volume is predicted patch by patch."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from kitsnb.settings import Settings

#: torchio asks for even numbers.
Even = Annotated[int, Field(ge=0, multiple_of=2)]


class Prediction(Settings):
    """Settings of prediction; the default is the paper's (section 4.2)."""

    #: Voxels that neighbouring patches share: slice, height, width.
    overlap: Annotated[tuple[Even, Even, Even], Field(strict=False)] = (40, 40, 40)

    def check(self, patch_size: Sequence[int]) -> None:
        """Raise ValueError where patches of ``patch_size`` would not advance."""
        if any(shared >= side for shared, side in zip(self.overlap, patch_size)):
            raise ValueError(f"prediction.overlap {list(self.overlap)} must be below training.patch_size "
                             f"{list(patch_size)} along each axis")
