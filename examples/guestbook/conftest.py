"""Configuration of the plugin."""

import pytest

from flask_redis_counter.testing import Endpoint

pytest_plugins = ["flask_redis_counter.testing.plugin"]


@pytest.fixture(scope="session")
def docker_compose_file():
    """Return the project's Compose files."""
    return ["docker-compose.yml", "docker-compose.test.yml"]


@pytest.fixture(scope="session")
def stack_endpoint():
    """Return the guestbook's endpoint."""
    return Endpoint("web", 8000, ready_path="/healthz")
