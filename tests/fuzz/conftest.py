"""How much fuzzing there is."""

import pytest
from hypothesis import settings


def pytest_configure(config: pytest.Config) -> None:
    """Tell hypothesis before the tests are made."""
    settings.register_profile("fuzz", max_examples=config.getoption("--examples"))
    settings.load_profile("fuzz")
