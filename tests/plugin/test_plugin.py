"""The plugin on a minimal stack: options, reports, workers and cleanup."""

import re

import pytest

from flask_redis_counter.testing import ComposeStack
from flask_redis_counter.testing.stacks.docker import run_docker

from .conftest import COMPOSE, CONFTEST

pytestmark = pytest.mark.compose

BOTH = """
def test_theirs(docker_services):
    assert docker_services.port_for("redis", 6379)

def test_both(stack, docker_services):
    assert stack.address("redis", 6379)[1] == docker_services.port_for("redis", 6379)
"""

ONE_SHOT = """
import pytest
from flask_redis_counter.testing import StackError, StackTimeoutError

def test_a_fault_does_not_rerun_one_shot_services(stack, faults):
    stack.pause("redis")
    with faults.killed("web"):
        pass
    stack.unpause("redis")
    assert stack.logs()["migrate"].count("migrated") == 1

def test_a_one_shot_service_that_has_ended_cannot_be_stopped(stack, faults):
    with pytest.raises(StackError, match="migrate-1 exited with 0"), faults.stopped("migrate"):
        pass

def test_it(stack):
    stack.stop("redis")
    assert stack.state("redis")[0].exit_code == 0
    with pytest.raises(StackTimeoutError, match="redis ready"):
        stack.wait_ready(timeout=0)
"""

STOPS_REDIS = """
def test_that_stops_redis(stack):
    stack.stop("redis")

def test_that_waits_for_it(stack):
    pass

def test_that_does_not_wait_again(stack):
    pass

def test_that_starts_redis(shared_stack):
    shared_stack.start("redis")

def test_that_uses_redis(stack):
    assert stack.run_redis_command("redis", "PING") == "PONG"
"""

SHORT_TIMEOUT = """
from flask_redis_counter.testing import plugin

plugin.READY_TIMEOUT = 5
"""

MISTAKES = """
def test_a_fault(stack, faults):
    with faults.killed("rediss"):
        pass

def test_a_port(stack):
    stack.url("redis", 80)
"""

DOCKER_IP = """
@pytest.fixture(scope="session")
def docker_ip():
    return "localhost"
"""

HANDLES_SIGINT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in background processes
"""

INTERRUPTS = """
import os, signal, time

def test_it(stack):
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(60)
"""


def test_failure_report_has_logs_since_test_began(suite, project):
    """It has the nemesis with its seed and the faults as well; the stack is removed."""
    result = suite("--nemesis-seed=77")
    result.assert_outcomes(passed=4, failed=1)
    output = result.stdout.str()
    assert re.search(r"-+ nemesis -+\nnemesis with seed 77, \d+ faults", output)
    assert re.search(r"-+ faults -+\n[0-9:.]+ redis killed: injecting", output)
    started = output.partition("log of redis")[2].count("Ready to accept connections")
    assert started == output.count("redis killed: cleared"), (
        "the report has the log from before the test"
    )
    assert ComposeStack([], project).leftovers() == []


def test_stack_error_points_to_line_of_test(suite, pytester):
    """The traceback does not show the plugin's frames."""
    pytester.makepyfile(test_it=MISTAKES)
    result = suite()
    result.assert_outcomes(failed=2)
    output = result.stdout.str()
    assert re.findall(r"^(\S+):(\d+): StackError$", output, re.M) == [
        ("test_it.py", "2"),
        ("test_it.py", "6"),
    ]
    assert "rediss killed: the stack has no such service; it has redis" in output
    assert "redis does not publish its port 80; it publishes none" in output


def test_stack_logs_shows_logs_of_passed_tests(suite, pytester):
    """Tests without log output have no section."""
    restarts = 'def test_restarts(stack):\n    stack.restart("redis")\n'
    pytester.makepyfile(test_it=f"{restarts}\ndef test_does_nothing(stack):\n    pass\n")
    result = suite("--stack-logs")
    result.assert_outcomes(passed=2)
    assert result.stdout.str().count("log of redis") == 1


def test_stack_keep_and_attach(suite, project, pytester):
    """A note says how to attach and to remove the stack; attached runs keep it."""
    built = "build: {context: ., dockerfile_inline: FROM redis:alpine}"
    pytester.makefile(".yml", compose=COMPOSE.replace("image: redis:alpine", built))
    result = suite("--stack-keep", "-k", "counts")
    (note,) = [line for line in result.outlines if "remove it with" in line]
    assert f"--stack-attach={project}" in note
    (container,) = ComposeStack([], project).containers("redis")
    for _ in range(2):
        suite(f"--stack-attach={project}", "-k", "counts").assert_outcomes(passed=4)
    assert run_docker("docker", "exec", container, "redis-cli", "GET", "hits").strip() == "12"
    run_docker("sh", "-c", note.split("`")[1])
    assert ComposeStack([], project).leftovers() == []


def test_attach_to_unknown_project_is_error(suite):
    """No new stack is started."""
    result = suite("--stack-attach=no-such-project", "-k", "counts")
    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(["*no stack of the project 'no-such-project' exists*"])


def test_fixtures_of_pytest_docker_use_same_project(suite, project, pytester):
    """They use the same project name, and STACK_PROXY is set."""
    proxied = (
        f"{COMPOSE}    volumes: ['${{STACK_PROXY}}:/proxy.py:ro']\n    ports: ['127.0.0.1::6379']\n"
    )
    pytester.makefile(".yml", compose=proxied)
    pytester.makepyfile(test_it=BOTH)
    suite().assert_outcomes(passed=2)
    assert ComposeStack([], project).leftovers() == []


def test_one_shot_service_is_ready_when_it_exited_with_0(suite, pytester):
    """A one-shot service is, for example, a migration; another service that ended is not ready."""
    job = "  migrate:\n    image: redis:alpine\n    command: [echo, migrated]\n"
    waits = "{migrate: {condition: service_completed_successfully}}"
    web = f"  web:\n    image: redis:alpine\n    depends_on: {waits}\n    stop_grace_period: 1s\n"
    pytester.makefile(".yml", compose=COMPOSE + job + web)
    pytester.makepyfile(test_it=ONE_SHOT)
    suite().assert_outcomes(passed=3)


def test_only_first_test_waits_for_stack_that_is_not_ready(suite, pytester):
    """Later tests fail immediately until the stack is ready again."""
    pytester.makeconftest(CONFTEST + SHORT_TIMEOUT)
    pytester.makepyfile(test_it=STOPS_REDIS)
    result = suite("--durations=0", "--durations-min=4")
    result.assert_outcomes(passed=3, errors=2)
    output = result.stdout.str()
    late = re.findall(r"s setup +\S+::test_that_(\w+)", output)
    assert "waits_for_it" in late
    assert "does_not_wait_again" not in late
    assert re.search(r"still not ready, see the error of \S+::test_that_waits_for_it: ", output)
    assert re.search(r"test_that_waits_for_it: \S+-redis-1 exited with 0$", output, re.MULTILINE)


def test_docker_ip_is_host_of_addresses(suite, pytester):
    """The Docker Engine may be on another machine."""
    pytester.makefile(".yml", compose=f"{COMPOSE}    ports: ['127.0.0.1::6379']\n")
    pytester.makeconftest(CONFTEST + DOCKER_IP)
    check = 'assert stack.address("redis", 6379)[0] == "localhost"'
    pytester.makepyfile(test_it=f"def test_it(stack):\n    {check}\n")
    suite().assert_outcomes(passed=1)


def test_workers_share_stack(suite, project):
    """All workers of pytest-xdist use the same containers, and print one note."""
    result = suite("-n2", "-k", "counts", "--stack-keep")
    result.assert_outcomes(passed=4)
    (container,) = ComposeStack([], project).containers("redis")
    assert run_docker("docker", "exec", container, "redis-cli", "GET", "hits").strip() == "4"
    assert result.stdout.str().count(f"--stack-attach={project}") == 1


def test_last_worker_removes_stack(suite, project):
    """Nothing is left when all workers have ended."""
    suite("-n2", "-k", "counts").assert_outcomes(passed=4)
    assert ComposeStack([], project).leftovers() == []


@pytest.mark.parametrize("options", [(), ("--stack-per-worker",)])
def test_stack_of_crashed_worker_is_removed(suite, project, pytester, options):
    """The main process removes it, and prints a note."""
    pytester.makepyfile(test_it="import os\n\ndef test_it(stack):\n    os._exit(1)\n")
    result = suite("-n1", *options)
    result.stdout.fnmatch_lines([f"*did not remove the stack {project}: it was removed now*"])
    assert ComposeStack([], project).leftovers() == []


def test_stack_of_interrupted_workers_is_removed(suite, project, pytester):
    """pytest-xdist kills the workers while they remove the stack."""
    slow = f"{COMPOSE}    command: [sh, -c, sleep 99]\n"
    pytester.makefile(".yml", compose=slow.replace("period: 1s", "period: 8s"))
    pytester.makeconftest(CONFTEST + HANDLES_SIGINT)
    pytester.makepyfile(test_it=INTERRUPTS)
    suite("-n1").stdout.fnmatch_lines(["*KeyboardInterrupt*"])
    assert ComposeStack([], project).leftovers() == []


def test_built_images_are_removed(suite, project, pytester):
    """Images named after the project are removed; an image with its own name stays."""
    built = "build: {context: ., dockerfile_inline: FROM redis:alpine}"
    named = f"  named:\n    image: {project}:kept\n    {built}\n"
    pytester.makefile(".yml", compose=f"services:\n  redis:\n    {built}\n{named}")
    try:
        suite("-k", "counts").assert_outcomes(passed=4)
        listing = ("docker", "image", "ls", "--format={{.Repository}}")
        assert [one for one in run_docker(*listing).split() if project in one] == [project]
        assert ComposeStack([], project).leftovers() == []
    finally:
        run_docker("docker", "image", "rm", f"{project}:kept")


def test_stack_that_does_not_come_up_is_removed(suite, project, pytester):
    """The error has the state and the end of the log."""
    pytester.makefile(".yml", compose=f"{COMPOSE}    command: [redis-server, --no-such-option]\n")
    result = suite("-k", "counts")
    result.assert_outcomes(errors=4)
    assert re.search(r"redis-1 exited with 1", result.stdout.str())
    assert "no-such-option" in result.stdout.str()
    assert ComposeStack([], project).leftovers() == []


def test_error_has_output_of_health_check(suite, pytester):
    """The last line of the check's output is in the error."""
    check = "[CMD-SHELL, 'echo the disk is on fire; exit 1']"
    health = f"    healthcheck: {{test: {check}, interval: 1s, retries: 2}}\n"
    pytester.makefile(".yml", compose=COMPOSE + health)
    result = suite("-k", "counts")
    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(["*redis-1 running, unhealthy: the disk is on fire"])


def test_invalid_compose_file_is_error(suite, pytester):
    """The error has Compose's output; nothing was started, so nothing is removed."""
    pytester.makefile(".yml", compose="services: [")
    result = suite("-k", "counts")
    result.assert_outcomes(errors=4)
    output = result.stdout.str()
    assert re.search(r"StackError: docker compose .* config ended with \d+", output)
    assert not re.search(r"StackError: docker compose .* down ", output)
