"""What every model of settings shares: nothing unknown, nothing infinite, nothing changed later, plain messages."""

import json
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kitsnb.messages import nearest


class Settings(BaseModel):
    """A frozen pydantic model. Types are strict (no text for a number, no 1 for true), but a list is a tuple."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def checked(cls, values: dict[str, Any]) -> Self:
        """Return the model of ``values``; ValueError that says everything that is wrong, in plain words."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise ValueError("; ".join(problems(error, cls))) from None

    def changed(self, **values: Any) -> Self:
        """Return these settings with other ``values``, checked again."""
        return type(self)(**self.model_dump() | values)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON keeps them: tuples are lists."""
        return self.model_dump(mode="json")


def finite(value: Any) -> Any:
    """Return ``value`` if JSON can keep it, with no NaN or infinity in it, however deep; else raise ValueError."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("must hold finite numbers, texts and lists of them") from None
    return value


def rising(pair: tuple[float, float]) -> tuple[float, float]:
    """Return ``pair`` if its second is not below its first; else raise ValueError."""
    if pair[0] > pair[1]:
        raise ValueError(f"must be [low, high], not {list(pair)}")
    return pair


Positive = Annotated[int, Field(ge=1)]
#: Three positive whole numbers, (slice, height, width); a list is taken, too.
Sides = Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]
#: A positive factor, and a range of factors [low, high].
Factor = Annotated[float, Field(gt=0)]
Factors = Annotated[tuple[Factor, Factor], Field(strict=False), AfterValidator(rising)]
#: A seed of random numbers.
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """List all that ``error`` found wrong with settings of ``model``, a sentence each, with the nearest valid name."""
    return [_sentence(found, model) for found in error.errors()]


def _sentence(found: dict, model: type[BaseModel]) -> str:
    if found["type"] == "extra_forbidden":
        *parents, last = found["loc"]
        where = f"{_place(parents)}: " if parents else ""
        return f"{where}unknown setting {last!r}; {nearest(last, _names_at(model, parents))}"
    place = _place(found["loc"])
    message = found["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if found["type"] in ("value_error", "missing"):
        return f"{place} {message}".strip()
    return f"{place} {message}, not {found['input']!r}"


def _place(path: tuple | list) -> str:
    """Return ``path`` as one would write it: ``training.network.depth``, ``experiments[0].loss``."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def _names_at(model: type[BaseModel], path: list) -> list[str]:
    """List the names of the settings at ``path`` below ``model``."""
    for part in path:
        if part in model.model_fields:  # else a place in a list, or a name in a mapping, of models
            kinds = [model.model_fields[part].annotation]
            for kind in kinds:  # also those within
                kinds += get_args(kind)
            model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
