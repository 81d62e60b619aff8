"""A pytest plugin for anybody's Compose project: a stack, faults, logs on failure.

Load it in the ``conftest.py`` of the folder that pytest is started from::

    pytest_plugins = ["flask_redis_counter.testing.plugin"]

or, wherever pytest is started, with ``-p flask_redis_counter.testing.plugin`` in ``addopts``. The
stack is what pytest-docker's fixtures ``docker_compose_file`` and
``docker_compose_project_name`` describe for the folder of the test, and is reached at its
``docker_ip``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from .faults.faults import Faults
from .faults.nemesis import FaultFactories, Nemesis, NemesisFactory
from .stacks.compose import ComposeStack, unique_project
from .stacks.docker import PROXY_VARIABLE, proxy_script
from .stacks.sharing import SharedStacks, remove_abandoned
from .stacks.stack import READY_TIMEOUT, Endpoint, Stack, StackError, StackTimeoutError

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True

#: Seconds that a stack gets which was not ready for an earlier test.
BROKEN_TIMEOUT = 2.0

#: The stacks that a test used, each with the moment when the test began; and what it did to them.
_USED = pytest.StashKey[dict[Stack, float]]()
_FAULTS = pytest.StashKey[list[Faults]]()
_NEMESES = pytest.StashKey[list[Nemesis]]()

#: The stacks that were not ready, each with the first test that saw it.
_BROKEN = pytest.StashKey[dict[Stack, str]]()

#: The stacks of `compose_stack`; and what each definition of that fixture was last made from.
_COMPOSE_STACKS = pytest.StashKey[set[Stack]]()
_MADE_FROM = pytest.StashKey[dict[object, Sequence[object]]]()

#: The fixtures that say what `compose_stack` is. A folder may override each of them.
SOURCES = ("docker_compose_file", "docker_compose_project_name", "docker_ip", "stack_entry")

#: What the end of the run says about the stack.
_NOTES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the caller say what becomes of the stack, and how the nemesis chooses."""
    group = parser.getgroup("stack", "a stack of services under test")
    group.addoption(
        "--stack-keep",
        action="store_true",
        help="leave the stack running after the run, and say how to reach and to stop it",
    )
    group.addoption(
        "--stack-attach",
        metavar="PROJECT",
        help="use the running stack of this Compose project, and leave it running",
    )
    group.addoption(
        "--stack-logs",
        action="store_true",
        help="show every service's log for each test, not only for those that fail",
    )
    group.addoption(
        "--stack-per-worker",
        action="store_true",
        help="under pytest-xdist: a stack for each worker, in place of one for all",
    )
    group.addoption(
        "--nemesis-seed",
        type=int,
        metavar="N",
        help="what nemeses make their plans from (one of its own for each run)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed once: the workers of pytest-xdist get the same.

    Whatever reads the Compose files finds the proxy's script: pytest-docker's fixtures do, as well.
    """
    config.stash[_NOTES] = []
    config.stash[_BROKEN] = {}
    config.stash[_COMPOSE_STACKS] = set()
    config.stash[_MADE_FROM] = {}
    os.environ[PROXY_VARIABLE] = proxy_script()
    if config.option.nemesis_seed is None:
        config.option.nemesis_seed = secrets.randbits(32)
    if config.option.stack_logs:
        config.option.reportchars += "P"  # or pytest shows nothing of a test that passed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how to reach a stack that goes on running, and how to stop it."""
    for note in terminalreporter.config.stash[_NOTES]:
        terminalreporter.write_line(note, yellow=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take over what a worker of pytest-xdist has to say."""
    output = getattr(node, "workeroutput", {})
    config: pytest.Config = node.config  # type: ignore[attr-defined]
    notes = config.stash[_NOTES]
    notes += [note for note in output.get("stack-notes", []) if note not in notes]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove what workers of pytest-xdist left: it kills those that take five seconds to end."""
    config = session.config
    if not config.pluginmanager.has_plugin("dsession") or config.option.stack_keep:
        return
    folder = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    try:
        for project in remove_abandoned(folder):
            config.stash[_NOTES].append(f"a worker has left the stack {project}: it is removed now")
    except StackError as error:
        config.stash[_NOTES].append(f"a worker has left a stack: {error}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let a test have the stack of its own folder's fixtures.

    pytest keeps the value of a session's fixture whatever another folder overrides. Here it
    forgets `compose_stack`, with all that was made from it, as between two parameters.
    """
    if "compose_stack" not in getattr(item, "fixturenames", ()):
        return
    find = item.session._fixturemanager.getfixturedefs
    compose_stack, *sources = [(find(name, item) or ())[-1] for name in ("compose_stack", *SOURCES)]
    made_from = item.config.stash[_MADE_FROM]
    if made_from.setdefault(compose_stack, sources) != sources:
        compose_stack.finish(item._request)  # type: ignore[attr-defined]
        made_from[compose_stack] = sources


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put what happened to the stack, and every service's log, into a failed test's report."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.failed or (report.when == "call" and item.config.option.stack_logs):
        for nemesis in item.stash.get(_NEMESES, []):
            report.sections.append(("nemesis", str(nemesis)))
        for faults in item.stash.get(_FAULTS, []):
            if faults.history:
                report.sections.append(("faults", "\n".join(map(str, faults.history))))
        for stack, began in item.stash.get(_USED, {}).items():
            try:
                logs = stack.last_words or stack.logs(since=began)
            except StackError as error:
                logs = {"the stack": f"not to be had: {error}"}
            report.sections += [(f"log of {name}", log) for name, log in logs.items() if log]
    return report  # type: ignore[return-value]


def watch(item: pytest.Item, stack: Stack) -> None:
    """Let a test's report have the logs of a stack, from now on."""
    item.stash.setdefault(_USED, {})[stack] = stack.mark()


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    """Return a name of this run's own; pytest-docker's default is only the process id."""
    return unique_project("pytest")


@pytest.fixture(scope="session")
def stack_entry() -> Endpoint | None:
    """Say where the stack is reached, and which path says that it is ready. Override it."""
    return None


@pytest.fixture(scope="session")
def _shared_stacks(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedStacks]:
    """What this process shares with the other workers of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(pytestconfig, "workerinput") and not pytestconfig.option.stack_per_worker:
        folder = folder.parent  # which the workers have in common
    stacks = SharedStacks(folder, keep=pytestconfig.option.stack_keep)
    yield stacks
    stacks.leave()


@pytest.fixture(scope="session")
def compose_stack(
    pytestconfig: pytest.Config,
    _shared_stacks: SharedStacks,
    docker_compose_file: str | Path | Sequence[str | Path],
    docker_compose_project_name: str,
    docker_ip: str,
    stack_entry: Endpoint | None,
) -> Iterator[ComposeStack]:
    """One stack of containers for all tests, and workers, that have the same Compose files."""
    files = _listed(docker_compose_file)
    attached = pytestconfig.option.stack_attach

    def make(project: str) -> ComposeStack:
        return ComposeStack(files, project, entry=stack_entry, build=True, host=docker_ip)

    if attached:
        stack = make(attached)
        try:
            stack.check_files()
        except StackError as error:
            raise StackError(f"--stack-attach: {error}") from None
    else:
        stack = _shared_stacks.use(make, docker_compose_project_name)
    pytestconfig.stash[_COMPOSE_STACKS].add(stack)
    yield stack
    if pytestconfig.option.stack_keep and not attached:
        _note_kept(pytestconfig, stack)


@pytest.fixture(scope="session")
def shared_stack(compose_stack: ComposeStack) -> Stack:
    """Return the stack that `stack` gives to each test; override it for another one."""
    return compose_stack


@pytest.fixture
def stack(shared_stack: Stack, request: pytest.FixtureRequest) -> Stack:
    """The stack, ready; what was not ready for a test is hardly waited for again.

    :raises StackError: it is that of other Compose files than this test's.
    """
    if shared_stack in request.config.stash[_COMPOSE_STACKS]:
        _check_files(shared_stack, request)
    broken = request.config.stash[_BROKEN]
    if shared_stack in broken:
        try:
            shared_stack.wait_ready(within=BROKEN_TIMEOUT)
        except StackTimeoutError as error:
            ailing = "; ".join(str(one) for one in error.replicas if not one.ready)
            raise StackError(
                f"the stack is still not ready, as it was when {broken[shared_stack]} began, "
                f"which has more: {ailing or str(error).partition(chr(10))[0]}"
            ) from None
        del broken[shared_stack]
    watch(request.node, shared_stack)
    try:
        shared_stack.wait_ready(within=READY_TIMEOUT)
    except StackTimeoutError:
        broken[shared_stack] = request.node.nodeid
        raise
    return shared_stack


@pytest.fixture
def faults(stack: Stack, request: pytest.FixtureRequest) -> Faults:
    """What may befall the stack."""
    made = Faults(stack)
    request.node.stash.setdefault(_FAULTS, []).append(made)
    return made


@pytest.fixture
def nemesis(
    faults: Faults, pytestconfig: pytest.Config, request: pytest.FixtureRequest
) -> NemesisFactory:
    """Make a nemesis: ``with nemesis({"redis killed": lambda: faults.killed("redis")}):``."""

    def make(kinds: FaultFactories, *, rate: float = 20.0) -> Nemesis:
        made = Nemesis(kinds, seed=pytestconfig.option.nemesis_seed, rate=rate)
        request.node.stash.setdefault(_NEMESES, []).append(made)
        return made

    return make


def _listed(files: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """Return the value of the fixture ``docker_compose_file`` as a list, as pytest-docker does."""
    return [files] if isinstance(files, (str, Path)) else files


def _check_files(stack: Stack, request: pytest.FixtureRequest) -> None:
    """Check that a stack is of the Compose files that the folder of a test names.

    :raises StackError: it is of others, which pytest has not told the plugin in time.
    """
    own = ComposeStack(_listed(request.getfixturevalue("docker_compose_file")), "any").files
    if isinstance(stack, ComposeStack) and stack.files != own:
        raise StackError(
            f"{request.node.nodeid} has the Compose files {','.join(own)}, but the stack is that "
            f"of {','.join(stack.files)}: name the fixture `stack` as an argument of the test, "
            "not in request.getfixturevalue()"
        )


def _note_kept(config: pytest.Config, stack: ComposeStack) -> None:
    reached = f" on {stack.url()}" if stack.entry else ""
    remove = [f"docker compose -p {stack.project} down --volumes"]
    if images := stack.images():
        remove.append(f"docker image rm {' '.join(images)}")
    note = (
        f"the stack {stack.project} goes on running{reached}: --stack-attach={stack.project} uses "
        f"it again, `{' && '.join(remove)}` stops it"
    )
    notes = config.stash[_NOTES]
    if note not in notes:
        notes.append(note)
    if hasattr(config, "workeroutput"):
        config.workeroutput["stack-notes"] = notes
