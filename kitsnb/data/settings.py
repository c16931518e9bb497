"""Which cases a study is about: where they come from, how they are split, and what is accepted of them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from kitsnb.settings import Settings, rising

CONFIRMED = "annotation confirmed faulty by the organizers of the challenge"
DOUBTED = "annotation doubted by the winners of the challenge"
#: Cases that the seed paper leaves out (its reference 13), by number. Four of the six were corrected upstream in
#: December 2019; they stay out to keep the split.
EXCLUDED = {15: CONFIRMED, 23: DOUBTED, 37: CONFIRMED, 68: DOUBTED, 125: DOUBTED, 133: DOUBTED}
#: Five digits, which name a case's folder.
Number = Annotated[int, Field(ge=0, le=99999)]
#: First and last number, both included.
Range = Annotated[tuple[Number, Number], Field(strict=False), AfterValidator(rising)]
#: Null is the paper's six, so that it is never taken for the empty list, which excludes nobody.
_SIX = BeforeValidator(lambda numbers: tuple(EXCLUDED) if numbers is None else numbers)


@dataclass(frozen=True)
class Accept:
    """How a case is read, where that is not as KiTS19 has it; fields as in ``DataSettings``."""

    label_map: Mapping[int, int] = field(default_factory=dict)
    affine: bool = False
    slab: int | None = None

    @classmethod
    def parse(cls, pairs: Iterable[str], affine: bool = False) -> Self:
        """Return what ["3=1"] accepts. Raises ValueError for what does not read OLD=NEW."""
        label_map = {}
        for pair in pairs:
            if not re.fullmatch("-?[0-9]+=[012]", pair):
                raise ValueError(f"--label-map {pair}: must read OLD=NEW, as in 3=1; NEW is 0, 1 or 2")
            old, new = pair.split("=")
            label_map[int(old)] = int(new)
        return cls(label_map, affine)


class Slab(Settings):
    """Of each case only the longest run of neighbouring slices with tumour, and of them the middle."""

    in_plane: Annotated[int, Field(ge=1)] = 320  # pixels a side


class DataSettings(Settings):
    """The cases and their split; the defaults are the seed paper's (section 4.1)."""

    source: Literal["phantom", "hybrid", "folder"] = "folder"  # the first two simulate cases into the build folder
    folder: str | None = None  # of case_00000, case_00001, ...: with "folder" the cases, with "hybrid" the real labels
    simulated: bool = False  # is the CT simulated? said in every figure
    #: Labels to take as others, {3: 1} for the cysts of KiTS21; JSON hands their values on as text.
    label_map: dict[Annotated[int, Field(strict=False)], Literal[0, 1, 2]] = {}
    accept_affine: bool = False  # take imaging's affine where the segmentation's differs, instead of refusing the case
    slab: Slab | None = None
    training: Range | None = (0, 165)  # null: those of more_training alone
    validation: Range = (166, 209)  # held out
    #: Further folders, such as the simulated cases of another build: all train but numbers held out or excluded.
    more_training: Annotated[tuple[str, ...], Field(strict=False)] = ()
    excluded: Annotated[tuple[Number, ...], Field(strict=False), _SIX] = tuple(EXCLUDED)  # of both
    folds: Annotated[int, Field(ge=2)] | None = None  # cut the cases of both ranges; seed k holds out fold k

    @property
    def accept(self) -> Accept:
        """What ``read_case`` accepts of the study's cases, and takes of them; simulated ones are as they should be."""
        slab = self.slab and self.slab.in_plane
        if self.source != "folder":
            return Accept(slab=slab)
        return Accept(self.label_map, self.accept_affine, slab)

    @property
    def accept_labels(self) -> Accept:
        """What is accepted of real labels that CT is painted around."""
        return Accept(self.label_map, self.accept_affine)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = []
        if self.source != "folder" and not self.simulated:
            problems.append(f"source {self.source} is simulated CT and must be called so; set simulated to true")
        if self.source != "phantom" and not self.folder:
            problems.append("folder: none; give the folder that holds case_00000, case_00001, ...")
        training, validation = numbers_of(self)
        if not (training or self.more_training) or not validation:
            problems.append("training or validation: every case is excluded; widen it, or exclude fewer")
        if self.more_training and {1, 2} & self.label_map.keys():
            problems.append("label_map: 1 and 2 cannot be changed where more_training has kidney and tumour as 1 and 2")
        if self.folds and not self.training:
            problems.append("folds: training null leaves no case to cut into folds")
        if training & validation:
            problems.append("training and validation share cases; give disjoint ranges")
        if problems:
            raise ValueError("; and ".join(problems))
        return self


def numbers_of(settings: DataSettings) -> tuple[set[int], set[int]]:
    """Return the numbers of the cases to train on, and of those to hold out, before any folds."""
    parts = []
    for first, last in (settings.training or (0, -1), settings.validation):
        parts.append(set(range(first, last + 1)).difference(settings.excluded))
    return parts[0], parts[1]
