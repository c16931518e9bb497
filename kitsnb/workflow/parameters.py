"""What a notebook can be given: the names of its parameters cell, and the models that check the values.

papermill only warns about an unknown parameter, and takes a value of any type; here both are refused before any start.
"""

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, create_model, model_validator

from kitsnb.data.settings import DataSettings, Number, Range
from kitsnb.inference.window import Window
from kitsnb.preprocessing.settings import Preprocessing, Spacing
from kitsnb.settings import Settings, problems
from kitsnb.training.settings import AtLeastOne, Training
from kitsnb.workflow.profile_files import ProfileError

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Triple = Annotated[list[Spacing], Field(min_length=3, max_length=3)]


class DataAnalysis(DataSettings):
    """The cases, and how many phantoms are simulated where these are the cases."""

    phantom_cases: Annotated[int, Field(ge=0, le=100_000)] = 120

    @model_validator(mode="after")
    def _enough(self) -> Self:
        last = max(self.training[1], self.validation[1])
        if self.source == "phantom" and last >= self.phantom_cases:
            raise ValueError(f"phantom_cases {self.phantom_cases} end before case {last} of training or validation")
        return self


#: Parameters of a notebook by name: annotation, else the type of the default, and the default.
Cell = dict[str, tuple[object, object]]
#: What checks the parameters of each stage's notebook, and gives the defaults of those that a profile leaves out.
MODELS: dict[str, tuple[type[Settings], ...]] = {
    "data_analysis": (DataAnalysis,),
    "preprocessing": (DataSettings, Preprocessing),
    "training": (DataSettings, Training, Window),
    "results": (DataSettings,),
}
#: Types of parameters that no model has. Any other must be of the type that it has in its cell.
TYPES = {
    "phantom_seed": Seed, "hybrid_seed": Seed, "phantom_number": Number, "case": Number, "validation": Range,
    "hybrid_spacing": Triple, "spacing": Triple, "extent": Triple, "shares": Triple, "weights": Triple,
    "steps": Annotated[int, Field(ge=2)], "repeats": AtLeastOne, "workers": AtLeastOne | None,
    "loss_sizes": list[list[AtLeastOne]], "others": list[str],
    "parts": list[Literal["reading", "preprocessing", "sampling", "inference", "metric", "losses", "steps",
                          "training"]],
}


def read_parameters(notebook: Path, given: Sequence[str] = ()) -> Cell:
    """Parameters of a py:percent notebook, from its cell tagged "parameters".

    Raises ``ProfileError`` where that is not one cell, cannot be executed, or lacks a name in ``given``.
    """
    text = notebook.read_text("utf-8")  # jupytext would read it as well, but takes a second and a half to import
    cells = re.findall(r'(?ms)^# %%[^\n]*"parameters"[^\n]*\n(.*?)(?=^# %%|\Z)', text)
    if len(cells) != 1:
        raise ProfileError(notebook, [f'{len(cells)} cells are tagged "parameters"; it needs exactly one'])
    cell = ModuleType("parameters")
    try:
        exec(cells[0], vars(cell))
    except Exception as error:
        raise ProfileError(notebook, [f"parameters cell: {type(error).__name__}: {error}"]) from error
    values = {name: value for name, value in vars(cell).items() if not name.startswith("__")}
    if lacking := [f"its parameters cell must declare {name!r}" for name in given if name not in values]:
        raise ProfileError(notebook, lacking)
    kinds = {name: object if value is None else type(value) for name, value in values.items()}
    kinds |= inspect.get_annotations(cell)
    return {name: (kinds[name], value) for name, value in values.items()}


def check(stage: str, cell: Cell, values: dict) -> tuple[dict, list[str]]:
    """All values of the parameters in ``cell`` where ``values`` gives some, and everything that is wrong with these.

    A default is the model's, else the cell's. ``values`` may hold what a model must know and the cell lacks.
    """
    full, found = {name: default for name, (_, default) in cell.items()}, []
    models = [model for model in MODELS.get(stage, ()) if model.model_fields.keys() & cell.keys()]
    known = {name for model in models for name in model.model_fields}
    others = {name: (TYPES.get(name, kind), default) for name, (kind, default) in cell.items() if name not in known}
    for model in (*models, others_model := create_model("Others", __base__=Settings, **others)):
        try:
            checked = model(**{name: value for name, value in values.items() if name in model.model_fields})
            dumped = checked.model_dump(mode="json", exclude_unset=model is others_model)
            full |= {name: value for name, value in dumped.items() if name in cell}
        except ValidationError as error:
            found += problems(error, model)
    return full, found
