"""Made-up studies for statistics and verdicts."""

import pytest
from example_study import make_study


@pytest.fixture
def study():
    return make_study
