"""The rows of Table 1, each a loss with its parameters, tried before any start."""

import inspect
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, model_validator

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


def with_parameters(experiment: Experiment, parameters: dict) -> Experiment:
    """``experiment`` with those of ``parameters`` that its loss has and it does not set itself."""
    taken = inspect.signature(LOSSES[experiment.loss]).parameters if experiment.loss in LOSSES else ()
    own = {name: value for name, value in parameters.items() if name in taken}
    return experiment.model_copy(update={"parameters": own | experiment.parameters})


def shared_problems(parameters: dict) -> list[str]:
    """Names in ``loss_parameters`` that no loss of the library has; that a profile's own rows have none is no fault."""
    taken = sorted({name for loss in LOSSES.values() for name in inspect.signature(loss).parameters})
    return [f"loss_parameters: no loss of the library has a parameter {name!r}; {nearest(name, taken)}"
            for name in parameters if name not in taken]


def name_problems(experiments: list[Experiment], parameters: dict) -> list[str]:
    """Parameters that name a loss or a row of Table 1, the profile's or the seed paper's, which is not there."""
    rows = [experiment.name for experiment in experiments]
    rows += [row["experiment"] for row in yaml.safe_load((PAPER / "seed_paper.yml").read_text("utf-8"))["table"]]
    results, losses = parameters.get("results", {}), parameters.get("losses", {})
    named = [("results.baseline", results.get("baseline"), rows), ("losses.reference", losses.get("reference"), rows)]
    named += [("losses.others", name, LOSSES) for name in losses.get("others") or [] if ":" not in name]
    return [f"{place}: there is no {name!r}; {nearest(name, valid)}" for place, name, valid in named
            if isinstance(name, str) and name not in valid]


def loss_problems(experiment: Experiment) -> list[str]:
    """Why the loss of ``experiment`` cannot be trained with."""
    try:
        Training.checked({"loss": experiment.loss, "loss_parameters": experiment.parameters}).check_loss()
    except (Exception, SystemExit) as error:  # a reader's own file may raise anything
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return [f"experiment {experiment.name}: {kind}{error}"]
    return []
