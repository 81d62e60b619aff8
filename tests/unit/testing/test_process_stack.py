"""A stack of real processes does what it is told."""

import signal
import sys

import pytest
import requests

from flask_redis_counter.testing import (
    Endpoint,
    Faults,
    ProcessStack,
    Program,
    StackError,
    StackTimeoutError,
    wait_until,
)

SERVER = [sys.executable, "-m", "http.server", "{port}", "--bind=127.0.0.1", "--directory={data}"]


@pytest.fixture
def stack():
    """Two services, one with two replicas."""
    programs = {
        "files": Program(SERVER, {"OTHER": "http://127.0.0.1:{pages}/"}),
        "pages": Program(SERVER, replicas=2),
    }
    with ProcessStack(programs, endpoint=Endpoint("files", 80, ready_path="/")) as stack:
        yield stack


def status(stack, service="files"):
    """Ask a service."""
    return requests.get(stack.url(service, 80), timeout=5).status_code


def test_it_is_up_and_gone(stack):
    """Every replica takes connections, and afterwards none."""
    assert stack.services() == ("files", "pages")
    assert [len(stack.state(name)) for name in stack.services()] == [1, 2]
    assert all(one.is_ready for name in stack.services() for one in stack.state(name))
    assert status(stack) == 200
    url = stack.url()
    stack.down(volumes=True)
    assert all(one.status == "exited" for one in stack.state("pages"))
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_a_service_knows_where_the_others_are(stack):
    """In its arguments, its environment, and in what is run beside it."""
    done = stack.exec("files", "sh", "-c", "echo $OTHER; pwd; touch here")
    other, folder = done.output.split()
    assert requests.get(other, timeout=5).status_code == 200
    assert "here" in requests.get(stack.url(), timeout=5).text
    assert folder.endswith(stack.state("files")[0].name.rpartition(":")[2])


def test_a_command_that_fails(stack):
    """An error with its output, unless that is wanted."""
    with pytest.raises(StackError, match=r"ended with 3:\noh no"):
        stack.exec("files", "sh", "-c", "echo oh no; exit 3")
    assert stack.exec("files", "sh", "-c", "exit 3", check=False).exit_code == 3
    with pytest.raises(StackError, match="No such file"):
        stack.exec("files", "no-such-program")


def test_how_it_ended(stack):
    """The exit code, below 0 for a signal; a killed replica leaves the other."""
    stack.kill("pages", replica=1)
    one, other = stack.state("pages")
    assert one.is_ready
    assert (other.status, other.exit_code) == ("exited", -signal.SIGKILL)
    assert str(other) == f"{other.name} exited with -9"
    for _ in range(4):
        assert status(stack, "pages") == 200
    stack.start("pages")
    assert all(one.is_ready for one in stack.state("pages"))
    stack.restart("files")
    assert status(stack) == 200


def test_more_and_fewer(stack):
    """Replicas come and go, and none of those that are gone is asked."""
    for number in (3, 1):
        stack.scale("pages", number)
        assert len(stack.state("pages")) == number
        for _ in range(2 * number):
            assert status(stack, "pages") == 200


@pytest.mark.parametrize("fault", ["stopped", "killed", "paused", "partitioned"])
def test_faults(stack, faults, fault):
    """They can be felt, and are healed."""
    with getattr(faults, fault)("files"), pytest.raises(requests.RequestException):
        requests.get(stack.url(), timeout=0.3)
    assert status(stack) == 200


@pytest.fixture
def faults(stack):
    """What may befall it."""
    return Faults(stack)


def test_logs_since_a_moment(stack):
    """Only what was printed from then on."""
    assert status(stack) == 200
    wait_until(lambda: "GET /" in stack.logs()["files-0"], what="a line")
    moment = stack.mark()
    assert set(stack.logs(since=moment).values()) == {""}
    requests.get(f"{stack.url()}/nothing", timeout=5)
    wait_until(lambda: "/nothing" in stack.logs(since=moment)["files-0"], what="a line")


def test_a_program_that_does_not_start():
    """The error has its state and the end of its log."""
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]
    stack = ProcessStack({"files": Program(command)})
    stack.up("files")
    wait_until(lambda: stack.state("files")[0].status == "exited", what="its end")
    with pytest.raises(StackTimeoutError, match=r"(?s)exited with 1.*no such option"):
        stack.wait_for("files", lambda one: one.is_ready, what="ready", timeout=0)
    stack.down(volumes=True)


def test_what_is_not_there(stack):
    """A clear error."""
    with pytest.raises(StackError, match="no service 'redis'"):
        stack.kill("redis")
    with pytest.raises(StackError, match="not a reply of a Redis-compatible server"):
        stack.run_redis_command("files", "PING")
    with pytest.raises(StackError, match="a service and its port"):
        stack.url("pages")  # it is not the endpoint
    with pytest.raises(StackError, match="a service and its port"):
        stack.url(port=80)
    with pytest.raises(StackError, match="has no endpoint"):
        ProcessStack({}).url()
