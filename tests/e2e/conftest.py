"""The stacks that the end-to-end tests run on."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import randrange
from types import MappingProxyType

import pytest

from flask_redis_counter.store.valkey_binary import server_binary
from flask_redis_counter.testing import ComposeStack, Endpoint, ProcessStack, Program, Stack
from flask_redis_counter.testing.reporting import report_logs
from flask_redis_counter.testing.stacks.docker import is_engine_available, run_docker
from flask_redis_counter.testing.stacks.project import make_project_name

ROOT = Path(__file__).parents[2]
FILES = [str(ROOT / "docker-compose.yml"), str(ROOT / "docker-compose.test.yml")]
SCALE_FILES = [
    str(ROOT / "docker-compose.scale.yml"),
    str(ROOT / "tests" / "e2e" / "docker-compose.scale.yml"),
]
SENTINEL_FILES = [
    *FILES,
    str(ROOT / "docker-compose.sentinel.yml"),
    str(ROOT / "tests" / "e2e" / "docker-compose.sentinel.yml"),
]
CLUSTER_FILES = [
    *FILES,
    str(ROOT / "docker-compose.cluster.yml"),
    str(ROOT / "tests" / "e2e" / "docker-compose.cluster.yml"),
]
VALKEY_FILE = str(ROOT / "tests" / "e2e" / "docker-compose.valkey.yml")

#: The service's endpoint, directly and behind the load balancer.
WEB = Endpoint("web", 5000, ready_path="/readyz")
BALANCER = Endpoint("lb", 5000, ready_path="/readyz")

#: Admin key, for setting and deleting counters; the Compose file of the tests has the same.
ADMIN_KEY = "the-key-of-the-tests"

NewStack = Callable[..., Stack]

#: Kind of the run's stacks: compose or process.
KIND = pytest.StashKey[str]()


#: Of the servers of a stack with Sentinels or a cluster. Its characters need quoting in a shell and
#: in the Sentinels' configuration.
PASSWORD = r'a "$p\a'


@contextmanager
def replicated_stack(config: pytest.Config, files: Sequence[str]) -> Iterator[ComposeStack]:
    """Run the Compose stack with other stores than one server, and two replicas of the service.

    :param files: its Compose files, to which those with the load balancer are added.
    """
    if config.stash[KIND] == "process":
        pytest.skip("needs the Compose stack")
    name = make_project_name("counter")
    stack = ComposeStack([*files, *SCALE_FILES], name, endpoint=BALANCER, scale={"web": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_PASSWORD", PASSWORD)
        patch.setenv("STORE_NETWORK", f"10.{randrange(192, 256)}.{randrange(256)}")
        with stack:
            yield stack


def process_stack(
    replicas: int = 1, *, settings: Mapping[str, str] = MappingProxyType({})
) -> ProcessStack:
    """Return a stack of the service's processes and a Valkey, configured as in the Compose file.

    :param settings: additional environment variables of the service.
    """
    store = [server_binary(), "--port", "{port}", "--bind", "127.0.0.1", "--dir", "{data}"]
    store += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    web = [sys.executable, "-m", "flask_redis_counter", "serve", "--port={port}"]
    given = {"REDIS_URL": "redis://127.0.0.1:{redis}/0", "COUNTER_ADMIN_KEY": ADMIN_KEY}
    given["PORT"] = "{port}"  # for exec(); in a container it is 5000
    programs = {
        "redis": Program(store),
        "web": Program(web, {**given, **settings}, replicas),
    }
    return ProcessStack(programs, endpoint=WEB)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the kind of the run's stacks."""
    kind = config.getoption("--stack")
    if kind == "auto":
        kind = "compose" if is_engine_available() else "process"
    config.stash[KIND] = kind
    if config.getoption("--store") == "valkey":
        FILES.append(VALKEY_FILE)


def pytest_report_header(config: pytest.Config) -> str:
    """Print the kind of stack and the store."""
    return f"e2e stack: {config.stash[KIND]}, store: {config.getoption('--store')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line if the containers were not covered."""
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
    """Skip tests that need containers on the process stack."""
    if config.stash[KIND] == "process":
        for item in items:
            if item.get_closest_marker("compose"):
                item.add_marker(pytest.mark.skip(reason="needs the Compose stack"))


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config) -> None:
    """Build the images once."""
    if pytestconfig.stash[KIND] == "compose":
        run_docker("docker", "compose", f"--file={FILES[0]}", f"--file={SCALE_FILES[0]}", "build")


@pytest.fixture(scope="session")
def docker_compose_file() -> list[str]:
    """Return the project's Compose files, and the overrides of the tests."""
    return FILES


@pytest.fixture(scope="session")
def stack_endpoint() -> Endpoint:
    """Return the service's endpoint."""
    return WEB


@pytest.fixture(scope="session")
def shared_stack(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack for all tests that leave it running."""
    if pytestconfig.stash[KIND] == "compose":
        yield request.getfixturevalue("compose_stack")
    else:
        with process_stack() as stack:
            yield stack


@pytest.fixture
def new_stack(pytestconfig: pytest.Config, request: pytest.FixtureRequest, image) -> NewStack:
    """Make new stacks, empty and not started; use them as context managers."""

    def make(replicas: int = 1) -> Stack:
        made: Stack
        if pytestconfig.stash[KIND] == "process":
            made = process_stack(replicas)
        elif replicas == 1:
            made = ComposeStack(FILES, make_project_name("counter"), endpoint=WEB)
        else:
            project, scale = make_project_name("counter"), {"web": replicas}
            files = [*FILES, *SCALE_FILES]
            made = ComposeStack(files, project, endpoint=BALANCER, scale=scale)
        report_logs(request.node, made)
        return made

    return make
