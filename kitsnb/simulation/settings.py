"""Settings of simulated CT: section ``simulation`` of a profile."""

from typing import Annotated

from pydantic import Field

from kitsnb.settings import Factor, Seed, Settings


class Simulation(Settings):
    """How many phantoms there are, or on which grid CT is painted around real label maps; equal seeds, equal cases."""

    cases: int = Field(120, ge=1)  # phantoms; hybrids are as many as there are label maps
    seed: Seed = 0
    spacing: Annotated[tuple[Factor, ...], Field(min_length=3, max_length=3, strict=False)] = (3.22, 1.62, 1.62)  # mm
