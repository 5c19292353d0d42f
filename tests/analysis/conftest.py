"""Made-up studies for the statistics, tables and figures."""

import pytest
from made_study import CLASSES, LONG, make_study


@pytest.fixture
def study():
    return make_study


@pytest.fixture
def long_names():
    return LONG


@pytest.fixture
def classes():
    return CLASSES
