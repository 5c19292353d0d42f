"""Made-up studies for tables and figures."""

import pytest
from example_study import CLASSES, LONG, make_study


@pytest.fixture
def study():
    """make(names=None, seeds=3, failed=(), missing=()) -> MadeStudy."""
    return make_study


@pytest.fixture
def long_names():
    return LONG


@pytest.fixture
def classes():
    return CLASSES
