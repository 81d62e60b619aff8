"""A minimal Compose project with tests, for running the plugin."""

import pytest

from flask_redis_counter.testing import ComposeStack
from flask_redis_counter.testing.stacks.docker import run_docker
from flask_redis_counter.testing.stacks.project import make_project_name

COMPOSE = """
services:
  redis:
    image: redis:alpine
    stop_grace_period: 1s
"""

CONFTEST = """
import os, pytest
pytest_plugins = ["flask_redis_counter.testing.plugin"]

@pytest.fixture(scope="session")
def docker_compose_file(pytestconfig):
    return str(pytestconfig.rootpath / "compose.yml")

@pytest.fixture(scope="session")
def docker_compose_project_name():
    return os.environ["PROJECT"]
"""

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it_counts(stack, number):
    stack.run_redis_command("redis", "INCR", "hits")

def test_it_fails(stack, faults, nemesis):
    with nemesis({"kill": lambda: faults.killed("redis")}, rate=600) as working:
        while not working.done:
            pass
    assert stack.state("redis")[0].status == "on fire"
"""


@pytest.fixture
def project(monkeypatch):
    """A project name; its stack, and the second stack of a run, must leave nothing behind."""
    name = make_project_name("plugin")
    monkeypatch.setenv("PROJECT", name)
    yield name
    for each in (name, f"{name}-2"):
        run_docker(
            "docker", "compose", "--project-name", each, "down", "--volumes", "--timeout", "1"
        )
        assert ComposeStack([], each).leftovers() == []


@pytest.fixture
def suite(pytester, project):
    """Run the tests of the project, with options."""
    pytester.makefile(".yml", compose=COMPOSE)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=TESTS)

    def run_with(*options):
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)

    return run_with
