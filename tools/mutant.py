"""What pytest does otherwise where a mutant is tested (``-p tools.mutant``): it hurries."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import Phase, settings

# The same examples for each mutant, and no simpler one than the first that kills it.
settings.register_profile(
    "mutant",
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("mutant")

#: What mutmut takes for a time-out.
_LATE = 36


def pytest_configure() -> None:
    """End when mutmut says so, and not without stopping the servers that tests have started."""
    signal.signal(signal.SIGXCPU, _end)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that take longer behind the others: those with a server, and the model."""
    items.sort(key=lambda item: ("integration" in item.path.parts, "model" in item.path.stem))


def _end(*_: object) -> None:
    signal.signal(signal.SIGALRM, lambda *_: os._exit(_LATE))  # what tidies up may hang as well
    signal.alarm(5)
    pytest.exit("out of time", returncode=_LATE)
