"""A pytest plugin for Compose projects: a stack, faults, and logs on failure.

Load it in the ``conftest.py`` of the folder that pytest is started from::

    pytest_plugins = ["flask_redis_counter.testing.plugin"]

or, from any folder, with ``-p flask_redis_counter.testing.plugin`` in ``addopts``. The fixtures
``docker_compose_file`` and ``docker_compose_project_name`` of pytest-docker define the stack of
the tests in a folder; ``docker_ip`` is the address of its ports.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from .faults.faults import Faults
from .faults.nemesis import FaultFactories, Nemesis, NemesisFactory
from .reporting import (
    add_sections,
    get_notes,
    merge_worker_notes,
    note_kept_stack,
    report_faults,
    report_logs,
    report_nemesis,
)
from .stacks.compose import ComposeStack
from .stacks.docker import PROXY_VARIABLE, proxy_script
from .stacks.errors import StackError, StackTimeoutError
from .stacks.project import make_project_name
from .stacks.sharing import SharedStacks, remove_abandoned
from .stacks.stack import READY_TIMEOUT, Endpoint, Stack

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

#: Timeout in seconds for a stack that was not ready for an earlier test.
NOT_READY_TIMEOUT = 2.0

#: The fixtures that define `compose_stack`. A folder may override each of them.
STACK_FIXTURES = (
    "docker_compose_file",
    "docker_compose_project_name",
    "docker_ip",
    "stack_endpoint",
)

#: The stacks that were not ready, each with the first test that waited for it.
_NOT_READY = pytest.StashKey[dict[Stack, str]]()

#: The stacks of the fixture `compose_stack`.
_COMPOSE_STACKS = pytest.StashKey[set[Stack]]()

#: The definitions of :data:`STACK_FIXTURES` that each definition of `compose_stack` used last.
_LAST_FIXTURES = pytest.StashKey[dict[object, Sequence[object]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for the stack and the nemesis."""
    group = parser.getgroup("stack", "a stack of services under test")
    group.addoption(
        "--stack-keep",
        action="store_true",
        help="keep the stack running after the run, and print how to reach and remove it",
    )
    group.addoption(
        "--stack-attach",
        metavar="PROJECT",
        help="use the running stack of this Compose project, and keep it running",
    )
    group.addoption(
        "--stack-logs",
        action="store_true",
        help="show every service's log for each test, not only for failed tests",
    )
    group.addoption(
        "--stack-per-worker",
        action="store_true",
        help="with pytest-xdist: start a stack for each worker instead of a shared one",
    )
    group.addoption(
        "--nemesis-seed",
        type=int,
        metavar="N",
        help="seed of the nemeses' plans (default: random for each run)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the seed, which the workers of pytest-xdist share, and the variable STACK_PROXY.

    The variable is in this process's environment, so that pytest-docker's fixtures see it as well.
    """
    config.stash[_NOT_READY] = {}
    config.stash[_COMPOSE_STACKS] = set()
    config.stash[_LAST_FIXTURES] = {}
    os.environ[PROXY_VARIABLE] = proxy_script()
    if config.option.nemesis_seed is None:
        config.option.nemesis_seed = secrets.randbits(32)
    if config.option.stack_logs:
        config.option.reportchars += "P"  # or pytest shows no sections of a test that passed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the notes on stacks that are kept or were removed late."""
    for note in get_notes(terminalreporter.config):
        terminalreporter.write_line(note, yellow=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Collect the notes of a worker of pytest-xdist."""
    config: pytest.Config = node.config  # type: ignore[attr-defined]
    merge_worker_notes(config, getattr(node, "workeroutput", {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove stacks of crashed workers; pytest-xdist also kills workers after five seconds."""
    config = session.config
    if not config.pluginmanager.has_plugin("dsession") or config.option.stack_keep:
        return
    folder = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    notes = get_notes(config)
    try:
        for project in remove_abandoned(folder):
            notes.append(f"a worker did not remove the stack {project}: it was removed now")
    except StackError as error:
        notes.append(f"a worker did not remove a stack, remove it by hand: {error}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Finish `compose_stack` if the test's folder defines it in another way.

    pytest caches the value of a session fixture even if a folder overrides the fixtures that it
    uses. Finishing it also finishes all fixtures that depend on it, as pytest does between two
    parameters.
    """
    if "compose_stack" not in getattr(item, "fixturenames", ()):
        return
    find = item.session._fixturemanager.getfixturedefs
    names = ("compose_stack", *STACK_FIXTURES)
    compose_stack, *fixtures = [(find(name, item) or ())[-1] for name in names]
    last_fixtures = item.config.stash[_LAST_FIXTURES]
    if last_fixtures.setdefault(compose_stack, fixtures) != fixtures:
        compose_stack.finish(item._request)  # type: ignore[attr-defined]
        last_fixtures[compose_stack] = fixtures


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the faults and every service's log to the report of a failed test."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.failed or (report.when == "call" and item.config.option.stack_logs):
        add_sections(item, report)
    return report  # type: ignore[return-value]


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    """Return a unique name for this run; pytest-docker's default has only the process id."""
    return make_project_name("pytest")


@pytest.fixture(scope="session")
def stack_endpoint() -> Endpoint | None:
    """Return the stack's address and its ready path, if any. Override it."""
    return None


@pytest.fixture(scope="session")
def _shared_stacks(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedStacks]:
    """The stacks that this process shares with the other workers of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(pytestconfig, "workerinput") and not pytestconfig.option.stack_per_worker:
        folder = folder.parent  # common to all workers
    stacks = SharedStacks(folder, keep=pytestconfig.option.stack_keep)
    yield stacks
    stacks.release()


@pytest.fixture(scope="session")
def compose_stack(
    pytestconfig: pytest.Config,
    _shared_stacks: SharedStacks,
    docker_compose_file: str | Path | Sequence[str | Path],
    docker_compose_project_name: str,
    docker_ip: str,
    stack_endpoint: Endpoint | None,
) -> Iterator[ComposeStack]:
    """The stack of containers that all tests and workers with the same Compose files share."""
    files = _as_list(docker_compose_file)
    attach_to = pytestconfig.option.stack_attach

    def make(project: str) -> ComposeStack:
        return ComposeStack(files, project, endpoint=stack_endpoint, build=True, host=docker_ip)

    if attach_to:
        stack = make(attach_to)
        try:
            stack.check_files()
        except StackError as error:
            raise StackError(f"--stack-attach: {error}") from None
    else:
        stack = _shared_stacks.acquire(make, docker_compose_project_name)
    pytestconfig.stash[_COMPOSE_STACKS].add(stack)
    yield stack
    if pytestconfig.option.stack_keep and not attach_to:
        note_kept_stack(pytestconfig, stack)


@pytest.fixture(scope="session")
def shared_stack(compose_stack: ComposeStack) -> Stack:
    """Return the stack for the fixture `stack`; override it to use another one."""
    return compose_stack


@pytest.fixture
def stack(shared_stack: Stack, request: pytest.FixtureRequest) -> Stack:
    """The stack, ready. If it was not ready for an earlier test, the timeout is short.

    :raises StackTimeoutError: the stack is not ready in time.
    :raises StackError: the stack is still not ready, or has other Compose files than the test's
        folder.
    """
    if shared_stack in request.config.stash[_COMPOSE_STACKS]:
        _check_files(shared_stack, request)
    not_ready = request.config.stash[_NOT_READY]
    if shared_stack in not_ready:
        try:
            shared_stack.wait_ready(timeout=NOT_READY_TIMEOUT)
        except StackTimeoutError as error:
            replicas = "; ".join(str(one) for one in error.replicas if not one.is_ready)
            raise StackError(
                f"the stack is still not ready, see the error of {not_ready[shared_stack]}: "
                f"{replicas or str(error).partition(chr(10))[0]}"
            ) from None
        del not_ready[shared_stack]
    report_logs(request.node, shared_stack)
    try:
        shared_stack.wait_ready(timeout=READY_TIMEOUT)
    except StackTimeoutError:
        not_ready[shared_stack] = request.node.nodeid
        raise
    return shared_stack


@pytest.fixture
def faults(stack: Stack, request: pytest.FixtureRequest) -> Faults:
    """Faults for the stack."""
    made = Faults(stack)
    report_faults(request.node, made)
    return made


@pytest.fixture
def nemesis(
    faults: Faults, pytestconfig: pytest.Config, request: pytest.FixtureRequest
) -> NemesisFactory:
    """Create a nemesis: ``with nemesis({"redis killed": lambda: faults.killed("redis")}):``."""

    def make(kinds: FaultFactories, *, rate: float = 20.0) -> Nemesis:
        made = Nemesis(kinds, seed=pytestconfig.option.nemesis_seed, rate=rate)
        report_nemesis(request.node, made)
        return made

    return make


def _as_list(files: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """Return the value of the fixture ``docker_compose_file`` as a list, as pytest-docker does."""
    return [files] if isinstance(files, (str, Path)) else files


def _check_files(stack: Stack, request: pytest.FixtureRequest) -> None:
    """Check that a stack has the Compose files that the folder of a test defines.

    :raises StackError: the stack has others, because the test requested it dynamically.
    """
    own = ComposeStack(_as_list(request.getfixturevalue("docker_compose_file")), "any").files
    if isinstance(stack, ComposeStack) and stack.files != own:
        raise StackError(
            f"{request.node.nodeid} has the Compose files {','.join(own)}, but the stack has "
            f"{','.join(stack.files)}: name the fixture `stack` as an argument of the test, "
            "not in request.getfixturevalue()"
        )
