"""Configuration of the plugin."""

import pytest

pytest_plugins = ["flask_redis_counter.testing.plugin"]


@pytest.fixture(scope="session")
def docker_compose_file():
    """Return the project's Compose file."""
    return "docker-compose.yml"
