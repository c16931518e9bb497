"""Settings: the paper's defaults, and a table of bad values, each refused in plain words before anything starts."""

import math

import pytest
from pydantic import ValidationError

from kitsnb.training.settings import Augmentation, Training

#: Settings, and what the message must say of them.
BAD = [
    (Training, {"epochs": 0}, "epochs must be greater than or equal to 1, not 0"), (Training, {"epochs": True}, "epochs"),
    (Training, {"precision": "bf16"}, "precision must be .*'bf16-mixed'.* not 'bf16'"),
    (Training, {"learning_rate": math.nan}, "finite"), (Training, {"learning_rate": 1e-6}, "minimum_learning_rate must not"),
    (Training, {"schedule": "cosine"}, "schedule must be 'plateau' or 'poly', not 'cosine'"),
    (Training, {"seed": 2**40}, "seed must be less than 4294967296"), (Training, {"selection": 0.6}, "selection"),
    (Training, {"loss_parameters": {"weights": [1.0, math.nan]}}, "loss_parameters must hold finite numbers"),
    (Training, {"patch_size": 80}, "patch_size"), (Training, {"patch_size": [0, 80, 80]}, r"patch_size\[0\]"),
    (Training, {"patch_size": [80, 80, 72]}, r"multiples of 16 \(network.depth 4\), not \[80, 80, 72\]"),
    (Training, {"network": {"depht": 3}}, "network: unknown setting 'depht'; did you mean 'depth'?"),
    (Training, {"augmentation": {"scaling": [1.2, 0.8]}}, r"scaling must be \[low, high\]"),
    (Augmentation, {"probability": 2.0}, "probability"), (Augmentation, {"gamma": [0.0, 1.0]}, "gamma"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "values", "message"), BAD)
def test_a_bad_value_is_refused_in_plain_words(model, values, message):
    with pytest.raises(ValueError, match=message) as raised:
        model.checked(values)
    assert not isinstance(raised.value, ValidationError) and "pydantic" not in str(raised.value)


def test_good_values_are_taken_and_kept():
    settings = Training.checked({"patch_size": [16, 16, 16], "network": {"depth": 2}, "augmentation": None})
    assert settings.patch_size == (16, 16, 16) and settings.augmentation is None
    assert Training(**settings.model_dump()) == settings == Training(**settings.as_json())
    with pytest.raises(ValidationError, match="depth 5"):
        settings.changed(network={"depth": 5})
