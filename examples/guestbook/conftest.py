"""All that the plugin has to know."""

import pytest

from flask_redis_counter.testing import Endpoint

pytest_plugins = ["flask_redis_counter.testing.plugin"]


@pytest.fixture(scope="session")
def docker_compose_file():
    """The project's files."""
    return ["docker-compose.yml", "docker-compose.test.yml"]


@pytest.fixture(scope="session")
def stack_endpoint():
    """Where the guestbook is reached."""
    return Endpoint("web", 8000, ready_path="/healthz")
