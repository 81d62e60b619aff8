"""The parent process: starting, replacing and stopping workers, which are real processes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.process import Process, free_port

PROGRAM = Path(__file__).with_name("supervised.py")


class Supervised(Process):
    """A run of the program `supervised.py`."""

    def __init__(self, folder, kind, workers, *arguments):
        self.port = free_port()
        self.workers = workers
        command = [sys.executable, str(PROGRAM), str(self.port), str(workers), kind, *arguments]
        super().__init__(command, log=folder / f"log{self.port}")
        self.start()

    def connect(self):
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self):
        """Return the process ID of the worker that answers a new connection."""
        with self.connect() as connection:
            return read(connection)

    def children(self):
        """Return the process IDs of the workers."""
        return children(self.pid)

    def ready(self):
        """Wait until each worker has answered, and return their process IDs."""
        found = set()
        wait_until(lambda: found.add(self.ask()) or len(found) == self.workers, what="all workers")
        return found


def read(connection):
    """Return the process ID that a worker sends."""
    with connection.makefile() as stream:
        return int(stream.readline())


def children(pid):
    """Return the process IDs of the children of a process."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return {int(word) for word in found.stdout.split()}


def exists(pid):
    """Return whether a process runs; a zombie does not."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ignores(pid, number):
    """Return whether a process ignores a signal."""
    [mask] = re.findall(r"^SigIgn:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) & 1 << number - 1)


@pytest.fixture
def start(tmp_path):
    """Start the program; kill it after the test."""
    with ExitStack() as stack:

        def start(kind="good", workers=2, *arguments):
            run = Supervised(tmp_path, kind, workers, *arguments)
            stack.callback(run.kill)
            return run

        yield start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("workers", [1, 3])
def test_signals_stop_all_workers(start, number, workers):
    """Each of the signals ends parent and workers, with exit code 0."""
    run = start("good", workers)
    found = run.ready()
    assert found == run.children()
    os.kill(run.pid, number)
    assert run.wait() == 0
    assert run.log() == "started\nstopped\n"
    assert not any(map(exists, found))


def test_many_workers(start):
    """64 workers start and stop."""
    run = start("good", 64)
    wait_until(lambda: len(run.children()) == 64, what="64 workers")
    wait_until(lambda: "started" in run.log(), what="an answer")
    assert run.stop() == 0
    assert run.log() == "started\nstopped\n"


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2])
def test_stop_during_the_start(start, delay):
    """SIGTERM is not lost while workers are being forked and have no handler yet."""
    run = start("good", 8)
    wait_until(run.children, what="the first worker", pause=0.001)
    time.sleep(delay)  # the moment of the signal, not a wait for a condition
    begun = time.monotonic()
    assert run.stop() == 0
    assert time.monotonic() - begun < 1.5
    assert re.fullmatch("(started\n)?stopped\n", run.log())


def test_killed_worker_is_replaced(start):
    """A killed worker is replaced at once, and the log says so."""
    run = start()
    first, second = sorted(run.ready())
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(run.children() - {first}) == 2, what="the new worker", timeout=5)
    assert second in run.ready()
    assert run.stop() == 0
    assert f"worker {first} ended unexpectedly (signal 9); replaced\n" in run.log()


def test_connections_of_a_killed_worker_are_answered(start):
    """Connections that a killed worker did not accept are answered by its replacement."""
    run = start()
    killed, other = run.ready()
    os.kill(killed, signal.SIGSTOP)
    with ExitStack() as stack:
        waiting = [stack.enter_context(run.connect()) for _ in range(64)]
        os.kill(killed, signal.SIGKILL)
        answered = [read(connection) for connection in waiting]
    (replacement,) = run.children() - {other}
    assert set(answered) == {other, replacement}


def test_workers_that_end_early_are_replaced_with_delays(start):
    """A worker that ends soon after each start is replaced less and less often."""
    run = start("short_lived", 1)
    wait_until(lambda: run.log().count("replaced in") >= 2, what="a delay")
    assert run.stop() == 0
    lines = run.log().splitlines()
    assert lines[0] == "started"
    assert re.fullmatch(r"worker \d+ ended unexpectedly \(exit code 3\); replaced", lines[1])
    assert all(re.fullmatch(r"worker .*; replaced in \d\.\d s", line) for line in lines[2:-1])
    assert lines[-1] == "stopped"


@pytest.mark.parametrize(
    ("kind", "reason"), [("broken", "RuntimeError: no such app"), ("misconfigured", "no such sett")]
)
def test_no_worker_can_start(start, kind, reason):
    """If no worker ever serves, the server ends with an error and does not start others."""
    run = start(kind, 3)
    assert run.wait() == 1
    log = run.log()
    assert log.count(reason) == 3
    assert log.count("ended unexpectedly (exit code 1); not replaced") == 3
    assert log.endswith("error: the server cannot start: each worker ended, see above\n")
    assert ("Traceback" in log) == (kind == "broken")


def test_worker_that_fails_at_the_start_is_replaced(start, tmp_path):
    """A worker that fails at the start is replaced once another one serves."""
    run = start("half_broken", 2, str(tmp_path / "flag"))
    assert len(run.ready()) == 2
    assert run.stop() == 0
    assert run.log().count("RuntimeError: no such app") == 1


@pytest.mark.parametrize("kind", ["good", "deaf"])
def test_killed_parent_leaves_no_worker(start, kind):
    """Workers end when their parent is killed, even if they do not react to SIGTERM."""
    run = start(kind, 3)
    wait_until(lambda: "started" in run.log() and len(run.children()) == 3, what="the workers")
    found = run.children()
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    wait_until(lambda: not any(map(exists, found)), what="the end of the workers", timeout=5)


def test_deaf_worker_is_killed(start):
    """A worker that ignores SIGTERM is killed after the time-out."""
    run = start("deaf", 2)
    wait_until(
        lambda: [ignores(it, signal.SIGTERM) for it in run.children()] == [True, True],
        what="workers that ignore SIGTERM",
    )
    found = run.children()
    assert run.stop() == 0
    assert not any(map(exists, found))
    assert run.log().count("did not end in time; killed") == 2


def test_second_interrupt(start):
    """A second and a third Ctrl-C change nothing: requests in flight are finished."""
    run = start("slow_to_stop", 2)
    run.ready()
    for _ in range(3):
        run.signal(signal.SIGINT)  # to the whole process group, as from a terminal
        time.sleep(0.1)  # the moment of the signal, not a wait for a condition
    assert run.wait() == 0
    assert run.log() == "started\nstopped\n"


def test_nohup(start):
    """SIGHUP has no effect if it was ignored at the start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = start()
    finally:
        signal.signal(signal.SIGHUP, before)
    found = run.ready()
    run.signal(signal.SIGHUP)
    assert run.ready() == found
    assert run.stop() == 0


def test_worker_that_an_administrator_stops_is_replaced(start):
    """SIGTERM to one worker lets it finish; another one takes its place."""
    run = start("good", 1)
    (first,) = run.ready()
    os.kill(first, signal.SIGTERM)
    wait_until(lambda: run.children() not in (set(), {first}), what="the new worker")
    assert run.ready() == run.children()
    assert f"worker {first} ended unexpectedly (exit code 0); replaced\n" in run.log()
