"""The rows of Table 1, each a loss with its parameters, tried before any start."""

import inspect
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from kitsnb.files import PAPER
from kitsnb.losses import LOSSES
from kitsnb.messages import nearest
from kitsnb.settings import Settings
from kitsnb.training.settings import Training


def printable(title: str) -> str:
    """``title`` if figures can show it: between two dollar signs stands mathematics. Else ValueError."""
    if not title.isprintable():
        raise ValueError(f"must be one line of printable text, not {title!r}")
    if title.count("$") > 1:
        from matplotlib.mathtext import MathTextParser

        try:
            MathTextParser("path").parse(title)
        except ValueError as error:
            raise ValueError(f"must be text or valid mathematics between dollar signs, not {title!r}") from error
    return title


Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]


class Experiment(Settings):
    """A row of Table 1: a loss with its parameters."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]  # names files
    title: Title
    loss: Annotated[str, Field(min_length=1)]
    parameters: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _titled(cls, row):
        return {"title": row.get("name"), **row} if isinstance(row, dict) else row


def trainable(row: Experiment, info: ValidationInfo) -> Experiment:
    """``row`` with those of the profile's ``loss_parameters`` that its loss has and it does not set itself.

    Raises ValueError where the loss cannot be trained with.
    """
    taken = inspect.signature(LOSSES[row.loss]).parameters if row.loss in LOSSES else ()
    shared = {name: value for name, value in info.data.get("loss_parameters", {}).items() if name in taken}
    row = row.model_copy(update={"parameters": shared | row.parameters})
    try:
        Training.checked({"loss": row.loss, "loss_parameters": row.parameters}).check_loss()
    except (Exception, SystemExit) as error:  # a reader's own file may raise anything
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{row.name}: {kind}{error}") from error
    return row


def shared_by_losses(parameters: dict) -> dict:
    """``parameters`` if losses of the library have them; that a profile's own rows have none of these is no fault."""
    taken = sorted({name for loss in LOSSES.values() for name in inspect.signature(loss).parameters})
    if unknown := [f"no loss of the library has a parameter {name!r}; {nearest(name, taken)}"
                   for name in parameters if name not in taken]:
        raise ValueError("; ".join(unknown))
    return parameters


def name_problems(experiments: list[Experiment], parameters: dict) -> list[str]:
    """Parameters that name a loss or a row of Table 1, the profile's or the seed paper's, which is not there."""
    rows = [experiment.name for experiment in experiments]
    rows += [row["experiment"] for row in yaml.safe_load((PAPER / "seed_paper.yml").read_text("utf-8"))["table"]]
    results, losses = parameters.get("results", {}), parameters.get("losses", {})
    named = [("results.baseline", results.get("baseline"), rows), ("losses.reference", losses.get("reference"), rows)]
    named += [("losses.others", name, LOSSES) for name in losses.get("others") or [] if ":" not in name]
    return [f"{place}: there is no {name!r}; {nearest(name, valid)}" for place, name, valid in named
            if isinstance(name, str) and name not in valid]
