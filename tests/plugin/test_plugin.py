"""The plugin's own promises, on a stack as small as can be."""

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

JOB = """
import pytest
from flask_redis_counter.testing import StackError, StackTimeoutError

def test_a_fault_runs_no_job_again(stack, faults):
    stack.pause("redis")
    with faults.killed("web"):
        pass
    stack.unpause("redis")
    assert stack.logs()["migrate"].count("migrated") == 1

def test_a_job_that_is_done_cannot_be_stopped(stack, faults):
    with pytest.raises(StackError, match="migrate-1 exited with 0"), faults.stopped("migrate"):
        pass

def test_it(stack):
    stack.stop("redis")
    assert stack.state("redis")[0].exit_code == 0
    with pytest.raises(StackTimeoutError, match="redis ready"):
        stack.wait_ready(timeout=0)
"""

BREAKS = """
def test_that_stops_the_store(stack):
    stack.stop("redis")

def test_that_waits_for_it(stack):
    pass

def test_that_does_not_wait_again(stack):
    pass

def test_that_mends_it(shared_stack):
    shared_stack.start("redis")

def test_that_has_it_again(stack):
    assert stack.run_redis_command("redis", "PING") == "PONG"
"""

IMPATIENT = """
from flask_redis_counter.testing import plugin

plugin.READY_TIMEOUT = 5
"""

WRONG = """
def test_a_fault(stack, faults):
    with faults.killed("rediss"):
        pass

def test_a_port(stack):
    stack.url("redis", 80)
"""

ELSEWHERE = """
@pytest.fixture(scope="session")
def docker_ip():
    return "localhost"
"""

HEEDS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
"""

INTERRUPTS = """
import os, signal, time

def test_it(stack):
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(60)
"""


def test_a_failure_has_the_logs_since_the_test_began(suite, project):
    """And what the nemesis did, with its seed; nothing of the stack stays."""
    result = suite("--nemesis-seed=77")
    result.assert_outcomes(passed=4, failed=1)
    said = result.stdout.str()
    assert re.search(r"-+ nemesis -+\nnemesis with seed 77, \d+ faults", said)
    assert re.search(r"-+ faults -+\n[0-9:.]+ redis killed: injecting", said)
    started = said.partition("log of redis")[2].count("Ready to accept connections")
    assert started == said.count("redis killed: cleared"), "the log from before is of no interest"
    assert ComposeStack([], project).leftovers() == []


def test_an_error_is_at_the_line_of_the_test(suite, pytester):
    """It is the test's, and not the plugin's."""
    pytester.makepyfile(test_it=WRONG)
    result = suite()
    result.assert_outcomes(failed=2)
    said = result.stdout.str()
    assert re.findall(r"^(\S+):(\d+): StackError$", said, re.M) == [
        ("test_it.py", "2"),
        ("test_it.py", "6"),
    ]
    assert "rediss killed: the stack has no such service; it has redis" in said
    assert "redis does not publish its port 80; it publishes none" in said


def test_the_logs_of_tests_that_pass(suite, pytester):
    """On demand, where something was logged."""
    restarts = 'def test_restarts(stack):\n    stack.restart("redis")\n'
    pytester.makepyfile(test_it=f"{restarts}\ndef test_does_nothing(stack):\n    pass\n")
    result = suite("--stack-logs")
    result.assert_outcomes(passed=2)
    assert result.stdout.str().count("log of redis") == 1


def test_a_stack_that_is_kept_can_be_used_again(suite, project, pytester):
    """The run says how, and how to remove all of it; the run that attaches leaves it alone."""
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


def test_attaching_to_nothing_is_an_error(suite):
    """Not a stack of one's own, which nobody would stop."""
    result = suite("--stack-attach=no-such-project", "-k", "counts")
    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(["*no stack of the project 'no-such-project' exists*"])


def test_fixtures_of_pytest_docker_go_along(suite, project, pytester):
    """They start the same project, and find the script of the proxy."""
    proxied = (
        f"{COMPOSE}    volumes: ['${{STACK_PROXY}}:/proxy.py:ro']\n    ports: ['127.0.0.1::6379']\n"
    )
    pytester.makefile(".yml", compose=proxied)
    pytester.makepyfile(test_it=BOTH)
    suite().assert_outcomes(passed=2)
    assert ComposeStack([], project).leftovers() == []


def test_a_job_is_ready_when_it_is_done(suite, pytester):
    """As a migration, which others wait for; a service that has ended is not ready."""
    job = "  migrate:\n    image: redis:alpine\n    command: [echo, migrated]\n"
    waits = "{migrate: {condition: service_completed_successfully}}"
    web = f"  web:\n    image: redis:alpine\n    depends_on: {waits}\n    stop_grace_period: 1s\n"
    pytester.makefile(".yml", compose=COMPOSE + job + web)
    pytester.makepyfile(test_it=JOB)
    suite().assert_outcomes(passed=3)


def test_a_broken_stack_is_waited_for_once(suite, pytester):
    """The tests that need it fail at once, until it is whole again."""
    pytester.makeconftest(CONFTEST + IMPATIENT)
    pytester.makepyfile(test_it=BREAKS)
    result = suite("--durations=0", "--durations-min=4")
    result.assert_outcomes(passed=3, errors=2)
    said = result.stdout.str()
    late = re.findall(r"s setup +\S+::test_that_(\w+)", said)
    assert "waits_for_it" in late
    assert "does_not_wait_again" not in late
    assert re.search(r"still not ready, see the error of \S+::test_that_waits_for_it: ", said)
    assert re.search(r"test_that_waits_for_it: \S+-redis-1 exited with 0$", said, re.MULTILINE)


def test_an_engine_elsewhere(suite, pytester):
    """Where pytest-docker says that it is."""
    pytester.makefile(".yml", compose=f"{COMPOSE}    ports: ['127.0.0.1::6379']\n")
    pytester.makeconftest(CONFTEST + ELSEWHERE)
    check = 'assert stack.address("redis", 6379)[0] == "localhost"'
    pytester.makepyfile(test_it=f"def test_it(stack):\n    {check}\n")
    suite().assert_outcomes(passed=1)


def test_workers_share_a_stack(suite, project):
    """One for all of them, removed by the last."""
    result = suite("-n2", "-k", "counts", "--stack-keep")
    result.assert_outcomes(passed=4)
    (container,) = ComposeStack([], project).containers("redis")
    assert run_docker("docker", "exec", container, "redis-cli", "GET", "hits").strip() == "4"
    assert result.stdout.str().count(f"--stack-attach={project}") == 1


def test_the_last_worker_removes_the_stack(suite, project):
    """However many there were."""
    suite("-n2", "-k", "counts").assert_outcomes(passed=4)
    assert ComposeStack([], project).leftovers() == []


@pytest.mark.parametrize("options", [(), ("--stack-per-worker",)])
def test_a_worker_that_crashes_leaves_nothing(suite, project, pytester, options):
    """The others cannot know; the run removes what it has left, and says so."""
    pytester.makepyfile(test_it="import os\n\ndef test_it(stack):\n    os._exit(1)\n")
    result = suite("-n1", *options)
    result.stdout.fnmatch_lines([f"*did not remove the stack {project}: it was removed now*"])
    assert ComposeStack([], project).leftovers() == []


def test_workers_that_are_interrupted_leave_nothing(suite, project, pytester):
    """pytest-xdist kills them in the midst of it."""
    slow = f"{COMPOSE}    command: [sh, -c, sleep 99]\n"
    pytester.makefile(".yml", compose=slow.replace("period: 1s", "period: 8s"))
    pytester.makeconftest(CONFTEST + HEEDS)
    pytester.makepyfile(test_it=INTERRUPTS)
    suite("-n1").stdout.fnmatch_lines(["*KeyboardInterrupt*"])
    assert ComposeStack([], project).leftovers() == []


def test_no_image_stays_that_a_run_has_built(suite, project, pytester):
    """Its name has the project's, and so nobody would use it again; one with a name stays."""
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


def test_a_stack_that_does_not_come_up_leaves_nothing(suite, project, pytester):
    """The error has its state and the end of its log."""
    pytester.makefile(".yml", compose=f"{COMPOSE}    command: [redis-server, --no-such-option]\n")
    result = suite("-k", "counts")
    result.assert_outcomes(errors=4)
    assert re.search(r"redis-1 exited with 1", result.stdout.str())
    assert "no-such-option" in result.stdout.str()
    assert ComposeStack([], project).leftovers() == []


def test_a_stack_that_is_not_healthy_says_why(suite, pytester):
    """In the words of the check."""
    check = "[CMD-SHELL, 'echo the disk is on fire; exit 1']"
    health = f"    healthcheck: {{test: {check}, interval: 1s, retries: 2}}\n"
    pytester.makefile(".yml", compose=COMPOSE + health)
    result = suite("-k", "counts")
    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(["*redis-1 running, unhealthy: the disk is on fire"])


def test_a_compose_file_that_is_none(suite, pytester):
    """The error is what Compose says of it; nothing was started, and nothing is to be removed."""
    pytester.makefile(".yml", compose="services: [")
    result = suite("-k", "counts")
    result.assert_outcomes(errors=4)
    said = result.stdout.str()
    assert re.search(r"StackError: docker compose .* config ended with \d+", said)
    assert not re.search(r"StackError: docker compose .* down ", said)
