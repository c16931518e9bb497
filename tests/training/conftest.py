"""Three phantoms on the working grid, which all trainings here share."""

import pytest

from kitsnb.data.cases import discover
from kitsnb.preprocessing.prepare import Preprocessing, preprocess_cases
from kitsnb.simulation.phantom import write_dataset


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    preprocess_cases(write_dataset(folder / "data", 3, 0), folder / "grid", Preprocessing(spacing=(8, 8, 8), resize_in_plane=None))
    prepared = discover(folder / "grid")
    return prepared[:2], prepared[2:]
