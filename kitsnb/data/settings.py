"""Which cases a study is about: where they come from, how they are split, and what is accepted of them."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from kitsnb.data.cases import EXCLUDED
from kitsnb.data.checks import Accept
from kitsnb.settings import Settings

#: Number of a case: five digits name its folder.
Number = Annotated[int, Field(ge=0, le=99999)]
#: First and last number, both included.
Range = Annotated[tuple[Number, Number], Field(strict=False)]
#: A value that a label has in a file; JSON and papermill hand it on as text.
Stored = Annotated[int, Field(strict=False)]


def _the_six(numbers):
    """Take null for the paper's six, so that it is never taken for the empty list, which excludes nobody."""
    return tuple(EXCLUDED) if numbers is None else numbers


Excluded = Annotated[tuple[Number, ...], Field(strict=False), BeforeValidator(_the_six)]


class Slab(Settings):
    """Of each case only the longest run of neighbouring slices with tumour, and of them the middle.

    Cases whose slices are no larger than that are taken whole: they are slabs already.
    """

    in_plane: Annotated[int, Field(ge=1)] = 320  # pixels of a slice, in height and width


class DataSettings(Settings):
    """The cases and their split; the defaults are the seed paper's (section 4.1)."""

    source: Literal["phantom", "hybrid", "folder"] = "folder"  # the first two simulate cases into the build folder
    folder: str | None = None  # of case_00000, case_00001, ...: with "folder" the cases, with "hybrid" the real labels
    simulated: bool = False  # is the CT simulated? said in every figure
    label_map: dict[Stored, Literal[0, 1, 2]] = {}  # labels to take as others, {3: 1} for the cysts of KiTS21
    accept_affine: bool = False  # take imaging's affine where the segmentation's differs, instead of refusing the case
    slab: Slab | None = None  # look at the slices with tumour only
    training: Range = (0, 165)
    validation: Range = (166, 209)  # held out
    excluded: Excluded = tuple(EXCLUDED)  # of both; null: the paper's six
    folds: Annotated[int, Field(ge=2)] | None = None  # cut the cases of both ranges; seed k holds out fold k

    @property
    def accept(self) -> Accept:
        """What ``read_case`` accepts of a case, and takes of it."""
        return Accept(self.label_map, self.accept_affine, self.slab.in_plane if self.slab else None)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = []
        if self.source != "folder" and not self.simulated:
            problems.append(f"source {self.source} is simulated CT and must be called so; set simulated to true")
        if self.source != "phantom" and not self.folder:
            problems.append(f'source is "{self.source}", but folder is {self.folder!r}; '
                            f'give the folder that holds case_00000, case_00001, ...')
        asked = []
        for name in ("training", "validation"):
            first, last = getattr(self, name)
            asked.append(set(range(first, last + 1)) - set(self.excluded))
            if first > last:
                problems.append(f"{name}: [{first}, {last}] is no range; give [first, last], both included")
            elif not asked[-1]:
                problems.append(f"{name} [{first}, {last}]: every case is excluded; widen it, or exclude fewer")
        if asked[0] & asked[1]:
            both = f"training {list(self.training)} and validation {list(self.validation)}"
            problems.append(f"{both} share cases; give disjoint ranges")
        if self.folds and self.folds > len(asked[0] | asked[1]):
            problems.append(f"folds: {len(asked[0] | asked[1])} cases cannot be cut into {self.folds} folds")
        if problems:
            raise ValueError("; and ".join(problems))
        return self
