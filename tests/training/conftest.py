"""Three small cases, which all trainings here share."""

import pytest
from helpers.volumes_at_hand import write_simulated_cases

from kitsnb.data.cases import Case


@pytest.fixture(scope="session")
def cases(tmp_path_factory) -> tuple[list[Case], list[Case]]:
    """Two cases to train on, and a held-out one."""
    return write_simulated_cases(tmp_path_factory.mktemp("preprocessed"))
