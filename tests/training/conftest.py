"""Three small volumes, bright where there is kidney and tumour, which all trainings here share."""

import pytest
from helpers.volumes_at_hand import simulated_volume

from kitsnb.data.cases import Case
from kitsnb.preprocessing.arrays import write_array


@pytest.fixture(scope="session")
def cases(tmp_path_factory) -> tuple[list[Case], list[Case]]:
    """Two cases to train on, and a held-out one."""
    folder = tmp_path_factory.mktemp("preprocessed")
    found = []
    for number, shape in enumerate([(22, 26, 24), (20, 28, 30), (24, 24, 26)]):
        volume = simulated_volume(shape, number)
        case = Case(folder / f"case_{number:05d}")
        write_array(case.folder, "imaging", (0.3 * volume.imaging + volume.segmentation).numpy())
        write_array(case.folder, "segmentation", volume.segmentation.numpy())
        found.append(case)
    return found[:2], found[2:]
