"""Which cases a study is about: where they come from, how they are split, and what is accepted of them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kitsnb.data.cases import EXCLUDED, select
from kitsnb.files import SIMULATED_SOURCES
from kitsnb.settings import Settings

#: Number of a case: five digits name its folder.
Number = Annotated[int, Field(ge=0, le=99999)]
#: First and last number, both included.
Range = Annotated[tuple[Number, Number], Field(strict=False)]
#: A value that a label has in a file; JSON and papermill hand it on as text.
Stored = Annotated[int, Field(ge=0, strict=False)]


class DataSettings(Settings):
    """The cases and their split; the defaults are the seed paper's (section 4.1)."""

    source: Literal["phantom", "hybrid", "folder"] = "folder"  # the first two simulate cases into the build folder
    folder: str | None = None  # of case_00000, case_00001, ...: with "folder" the cases, with "hybrid" the real labels
    simulated: bool = False  # is the CT simulated? said in every figure
    label_map: dict[Stored, Literal[0, 1, 2]] = {}  # labels to take as others, {3: 1} for the cysts of KiTS21
    accept_affine: bool = False  # take imaging's affine where the segmentation's differs, instead of refusing the case
    training: Range = (0, 165)
    validation: Range = (166, 209)  # held out
    excluded: Annotated[tuple[Number, ...], Field(strict=False)] | None = None  # of both; None: the paper's six

    folds: Annotated[int, Field(ge=2)] | None = None  # cut the cases of both ranges anew; None: as they are

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = []
        if self.source in SIMULATED_SOURCES and not self.simulated:
            problems.append(f"source {self.source} is simulated CT and must be called so; set simulated to true")
        if self.source != "phantom" and not self.folder:
            problems.append(f'source is "{self.source}", but folder is {self.folder!r}; '
                            f'give the folder that holds case_00000, case_00001, ...')
        try:
            select([], self.training, self.validation, self.excluded, 0 if self.folds else None, self.folds)
        except ValueError as error:
            problems.append(str(error))
        left_out = set(EXCLUDED if self.excluded is None else self.excluded)
        for name in ("training", "validation"):
            first, last = getattr(self, name)
            if first <= last and left_out.issuperset(range(first, last + 1)):
                problems.append(f"{name} [{first}, {last}]: every case is excluded; widen it, or exclude fewer")
        if problems:
            raise ValueError("; and ".join(problems))
        return self
