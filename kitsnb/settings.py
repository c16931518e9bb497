"""What every model of settings shares: nothing unknown, nothing infinite, nothing changed later, and plain messages."""

import math
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kitsnb.messages import nearest

#: Three positive whole numbers, (slice, height, width); a list is taken, too.
Sides = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=3, max_length=3, strict=False)]


class Settings(BaseModel):
    """A frozen pydantic model. Types are strict (no text for a number, no 1 for true), but a list is a tuple."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def checked(cls, values: dict[str, Any]) -> Self:
        """The model of ``values``; ValueError that says everything that is wrong, in plain words."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise ValueError("; ".join(problems(error, cls))) from None

    @classmethod
    def among(cls, values: dict[str, Any]) -> Self:
        """The model of those of ``values`` that are settings of it, as ``checked``."""
        return cls.checked({name: values[name] for name in cls.model_fields if name in values})

    def changed(self, **values: Any) -> Self:
        """These settings with other ``values``, checked again."""
        return type(self)(**self.model_dump() | values)

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON keeps them: tuples are lists."""
        return self.model_dump(mode="json")


def finite(value: Any) -> Any:
    """``value`` if no number in it, however deep, is NaN or infinite; else ValueError."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for part in parts:
        finite(part)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must hold finite numbers, not {value}")
    return value


def rising(pair: tuple[float, float]) -> tuple[float, float]:
    """``pair`` if its second is not below its first; else ValueError."""
    if pair[0] > pair[1]:
        raise ValueError(f"must be [low, high], not {list(pair)}")
    return pair


#: Factors [low, high], above zero.
Factor = Annotated[float, Field(gt=0)]
Factors = Annotated[tuple[Factor, Factor], Field(strict=False), AfterValidator(rising)]


def problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """All that ``error`` found wrong with the settings of ``model``, a sentence each, with the nearest valid name."""
    return [_sentence(found, model) for found in error.errors()]


def _sentence(found: dict, model: type[BaseModel]) -> str:
    *parents, last = found["loc"] or ("",)
    if found["type"] == "extra_forbidden":
        where = f"{_place(parents)}: " if parents else ""
        return f"{where}unknown setting {last!r}; {nearest(last, _fields(model, parents))}"
    message = found["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if found["type"] == "value_error":
        return f"{_place(found['loc'])} {message}".strip()
    return f"{_place(found['loc'])} {message}, not {found['input']!r}"


def _place(path) -> str:
    """``path`` as one would write it: ``network.depth``, ``patch_size[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _fields(model: type[BaseModel], path) -> list[str]:
    """Names of the settings at ``path`` below ``model``."""
    for part in path:
        if isinstance(part, int):  # of a list of models
            continue
        kinds = [model.model_fields[part].annotation]
        for kind in kinds:  # also those within
            kinds += get_args(kind)
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
