"""Fewer draws of the bootstrap, for all that is said of studies here."""

import pytest

from kitsnb.study import statistics


@pytest.fixture(autouse=True, scope="module")
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 500)
        yield
