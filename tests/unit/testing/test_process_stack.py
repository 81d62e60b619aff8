"""A ProcessStack starts, breaks and stops real processes."""

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
    """Return the HTTP status of a service."""
    return requests.get(stack.url(service, 80), timeout=5).status_code


def test_stack_accepts_connections_until_down(stack):
    """Every replica accepts connections when the stack is up, and none after down()."""
    assert stack.services() == ("files", "pages")
    assert [len(stack.state(name)) for name in stack.services()] == [1, 2]
    assert all(one.is_ready for name in stack.services() for one in stack.state(name))
    assert status(stack) == 200
    url = stack.url()
    stack.down(volumes=True)
    assert all(one.status == "exited" for one in stack.state("pages"))
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_service_gets_ports_of_others(stack):
    """exec() runs with the service's environment, in its data folder."""
    done = stack.exec("files", "sh", "-c", "echo $OTHER; pwd; touch here")
    other, folder = done.output.split()
    assert requests.get(other, timeout=5).status_code == 200
    assert "here" in requests.get(stack.url(), timeout=5).text
    assert folder.endswith(stack.state("files")[0].name.rpartition(":")[2])


def test_exec_of_failing_command(stack):
    """It raises an error with the output, unless check is false."""
    with pytest.raises(StackError, match=r"ended with 3:\noh no"):
        stack.exec("files", "sh", "-c", "echo oh no; exit 3")
    assert stack.exec("files", "sh", "-c", "exit 3", check=False).exit_code == 3
    with pytest.raises(StackError, match="No such file"):
        stack.exec("files", "no-such-program")


def test_state_of_killed_replica(stack):
    """The exit code is negative for a signal; the other replica still serves."""
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


def test_scale_up_and_down(stack):
    """The proxy uses all new replicas, and none of the removed ones."""
    for number in (3, 1):
        stack.scale("pages", number)
        assert len(stack.state("pages")) == number
        for _ in range(2 * number):
            assert status(stack, "pages") == 200


@pytest.mark.parametrize("fault", ["stopped", "killed", "paused", "partitioned"])
def test_fault_breaks_service_and_is_cleared(stack, faults, fault):
    """Requests fail inside the block, and succeed afterwards."""
    with getattr(faults, fault)("files"), pytest.raises(requests.RequestException):
        requests.get(stack.url(), timeout=0.3)
    assert status(stack) == 200


@pytest.fixture
def faults(stack):
    """Faults of the stack."""
    return Faults(stack)


def test_logs_since_mark(stack):
    """The logs have only the output after mark()."""
    assert status(stack) == 200
    wait_until(lambda: "GET /" in stack.logs()["files-0"], what="a line")
    mark = stack.mark()
    assert set(stack.logs(since=mark).values()) == {""}
    requests.get(f"{stack.url()}/nothing", timeout=5)
    wait_until(lambda: "/nothing" in stack.logs(since=mark)["files-0"], what="a line")


def test_wait_for_program_that_does_not_start():
    """The error has the state and the end of the log."""
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]
    stack = ProcessStack({"files": Program(command)})
    stack.up("files")
    wait_until(lambda: stack.state("files")[0].status == "exited", what="its end")
    with pytest.raises(StackTimeoutError, match=r"(?s)exited with 1.*no such option"):
        stack.wait_for("files", lambda one: one.is_ready, what="ready", timeout=0)
    stack.down(volumes=True)


def test_unknown_services_and_ports(stack):
    """The error names the mistake."""
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


def test_isolation_with_clients_needs_compose(stack):
    """A proxy does not know which service's data it forwards."""
    fault = Faults(stack).isolated("files", with_clients=["pages"])
    with pytest.raises(StackError, match="isolated with clients: that needs a ComposeStack"), fault:
        pytest.fail("not reached")
    assert status(stack) == 200
