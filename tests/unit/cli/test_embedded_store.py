"""The embedded store as a fallback of commands."""

import sys

import pytest

from flask_redis_counter.cli.embedded_store import embedded_fallback
from flask_redis_counter.errors import ConfigurationError


def test_embedded_fallback_without_its_packages(monkeypatch):
    """embedded_fallback names the extra to install if platformdirs cannot be imported."""
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with (
        pytest.raises(ConfigurationError, match=r"pip install 'flask-redis-counter\[.*embedded\]'"),
        embedded_fallback({}),
    ):
        pass
