"""The losses of a profile, tried on a tiny patch before anything starts."""

import inspect

from kitsnb.losses import LOSSES, build_loss, check_loss
from kitsnb.messages import nearest
from kitsnb.workflow.profile import Profile


def unusable_losses(profile: Profile) -> list[str]:
    """List in words which rows of Table 1 cannot be trained with, and which names of losses are unknown."""
    found = []
    defaults = profile.training.loss_defaults
    taken = sorted({name for loss in LOSSES.values() for name in inspect.signature(loss).parameters})
    for name in defaults:
        if name not in taken:
            found.append(f"training.loss_defaults: no loss has a parameter {name!r}; {nearest(name, taken)}")
    for name in profile.losses.others:
        if name not in LOSSES:
            found.append(f"losses.others: there is no {name!r}; {nearest(name, LOSSES)}")
    for place, row in enumerate(profile.experiments):
        try:
            check_loss(build_loss(row.loss, defaults, **row.parameters), name=row.loss)
        except (Exception, SystemExit) as error:  # a reader's own file may raise anything
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            found.append(f"experiments[{place}] {row.name}: {kind}{error}")
    return found
