"""Pytest plugin for testing mutants (``-p tools.mutant``): fast tests first, clean timeouts."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import Phase, settings

# The same examples for each mutant, without shrinking the first one that kills it.
settings.register_profile(
    "mutant",
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("mutant")

#: Exit code that mutmut reads as a timeout.
_LATE = 36


def pytest_configure() -> None:
    """End on SIGXCPU, mutmut's signal for a timeout, and stop the servers of the tests."""
    signal.signal(signal.SIGXCPU, _end)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests last: those with a server, and those of the model."""
    items.sort(key=lambda item: ("integration" in item.path.parts, "model" in item.path.stem))


def _end(*_: object) -> None:
    signal.signal(signal.SIGALRM, lambda *_: os._exit(_LATE))  # teardown may hang as well
    signal.alarm(5)
    pytest.exit("out of time", returncode=_LATE)
