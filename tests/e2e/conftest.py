"""The stacks that the scenarios run on, and what a failed one reports."""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_docker.plugin import get_docker_services

from flask_redis_counter.testing import ComposeStack, ProcessStack, Stack
from flask_redis_counter.testing.compose import engine_answers, run

ROOT = Path(__file__).parents[2]
FILES = [str(ROOT / "docker-compose.yml"), str(ROOT / "docker-compose.test.yml")]
SCALED_FILES = [
    *FILES,
    str(ROOT / "docker-compose.scale.yml"),
    str(ROOT / "tests" / "e2e" / "docker-compose.scale.yml"),
]

NewStack = Callable[..., Stack]

#: What the run's stacks are made of, and the stacks that a test used.
KIND = pytest.StashKey[str]()
STACKS = pytest.StashKey[list[Stack]]()


def project_name() -> str:
    """Return a project name that no other run has."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"counter-{worker}-{secrets.token_hex(4)}"


def pytest_configure(config: pytest.Config) -> None:
    """Decide once what the run's stacks are made of."""
    kind = config.getoption("--stack")
    if kind == "auto":
        kind = "compose" if engine_answers() else "process"
    config.stash[KIND] = kind


def pytest_report_header(config: pytest.Config) -> str:
    """Say what the scenarios run on."""
    return f"e2e stack: {config.stash[KIND]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line when the containers were not covered."""
    config = terminalreporter.config
    if config.stash[KIND] == "process":
        reason = "chosen" if config.getoption("--stack") == "process" else "no Docker Engine"
        terminalreporter.write_line(
            f"e2e ran on the PROCESS stack ({reason}): the image and the Compose files "
            "were not covered",
            yellow=True,
            bold=True,
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what only containers can show where there are none."""
    if config.stash[KIND] == "process":
        for item in items:
            if item.get_closest_marker("compose"):
                item.add_marker(pytest.mark.skip(reason="needs the Compose stack"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Put every service's log into the report of a failed test."""
    report = yield
    if report.failed:
        for stack in item.stash.get(STACKS, []):
            try:
                logs = stack.last_words or stack.logs()
            except Exception as error:
                logs = {"logs": f"not to be had: {error}"}
            report.sections += [(f"log of {name}", log) for name, log in logs.items()]
    return report


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config) -> None:
    """Build the image once."""
    if pytestconfig.stash[KIND] == "compose":
        run("docker", "compose", "--file", FILES[0], "build")


@pytest.fixture(scope="session")
def docker_compose_file() -> list[str]:
    """Return the files that a user runs, and what the tests change in them."""
    return FILES


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    """Return a name of this run's own; pytest-docker's default is only the process id."""
    return project_name()


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """Start what the image fixture has built."""
    return ["up --wait --no-build"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    """Remove everything, the volume included."""
    return ["down --volumes --remove-orphans"]


@pytest.fixture(scope="session")
def docker_services(
    image, docker_compose_command, docker_compose_file, docker_compose_project_name,
    docker_setup, docker_cleanup,
):  # fmt: skip
    """Start pytest-docker's services, and leave nothing behind also where that fails."""
    with services_without_leftovers(
        docker_compose_command,
        docker_compose_file,
        docker_compose_project_name,
        docker_setup,
        docker_cleanup,
    ) as services:
        yield services


class services_without_leftovers:  # noqa: N801  # used like the function that it wraps
    """pytest-docker's services; it cleans up only after a setup that succeeded."""

    def __init__(self, command, files, project, setup, cleanup) -> None:
        self._services = get_docker_services(command, files, project, setup, cleanup)
        self._stack = ComposeStack(files, project)

    def __enter__(self):
        try:
            return self._services.__enter__()
        except BaseException:
            self._stack.down(volumes=True)
            raise

    def __exit__(self, *error: object) -> None:
        self._services.__exit__(*error)
        assert self._stack.leftovers() == []


@pytest.fixture(scope="session")
def shared_stack(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """One stack for all scenarios that leave it whole."""
    if pytestconfig.stash[KIND] == "compose":
        request.getfixturevalue("docker_services")
        yield ComposeStack(FILES, request.getfixturevalue("docker_compose_project_name"))
    else:
        with ProcessStack() as stack:
            yield stack


@pytest.fixture
def stack(shared_stack: Stack, request: pytest.FixtureRequest) -> Stack:
    """The shared stack, ready."""
    request.node.stash.setdefault(STACKS, []).append(shared_stack)
    shared_stack.wait_ready()
    return shared_stack


@pytest.fixture
def new_stack(pytestconfig: pytest.Config, request: pytest.FixtureRequest, image) -> NewStack:
    """Make stacks of one's own, empty and not yet up; use them as context managers."""

    def make(replicas: int = 1) -> Stack:
        made: Stack
        if pytestconfig.stash[KIND] == "process":
            made = ProcessStack(replicas=replicas)
        elif replicas == 1:
            made = ComposeStack(FILES, project_name())
        else:
            made = ComposeStack(
                SCALED_FILES, project_name(), entry=("lb", 5000), scale={"web": replicas}
            )
        request.node.stash.setdefault(STACKS, []).append(made)
        return made

    return make
