"""The number of fuzzing examples."""

import pytest
from hypothesis import settings


def pytest_configure(config: pytest.Config) -> None:
    """Configure hypothesis before the tests are collected."""
    settings.register_profile("fuzz", max_examples=config.getoption("--examples"))
    settings.load_profile("fuzz")
