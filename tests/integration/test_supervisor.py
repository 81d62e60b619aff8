"""Workers of `serve` that are killed while clients count."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from flask_redis_counter.testing import check, wait_until
from flask_redis_counter.testing.workload.load import LoadGenerator

from .serving import lines

CLIENTS = range(8)


def test_workers_killed_under_load(serve, server, client):
    """Each acknowledged hit is in the store, and none counted twice, while workers are killed."""
    run = serve(REDIS_URL=server.url, COUNTER_TIMEOUT="5").ready()
    load = LoadGenerator(run.url, "load", CLIENTS, with_idempotency_key=CLIENTS[::2])
    killed = set()
    with ThreadPoolExecutor(len(CLIENTS)) as pool:
        clients = [pool.submit(load.run_client, number, 0) for number in CLIENTS]
        for _ in range(6):
            acknowledged = load.acknowledged_attempts
            wait_until(
                lambda before=acknowledged: load.acknowledged_attempts > before + 200, what="hits"
            )
            wait_until(lambda: len(set(run.children()) - killed) == 2, what="two workers")
            (worker, _) = set(run.children()) - killed
            os.kill(worker, signal.SIGKILL)
            killed.add(worker)
        wait_until(lambda: len(set(run.children()) - killed) == 2, what="two workers")
        load.finish()
        for one in clients:
            one.result()
    assert run.stop() == 0
    result = check(load.history, before=0, after=int(client.get("counter:{load}")))
    assert result.acknowledged > 1200
    assert (result.lost, result.duplicated) == (0, 0)
    logged = [line for line in lines(run) if "ended unexpectedly (signal 9)" in line]
    assert len(logged) == 6


def test_hits_in_the_queue_of_a_killed_worker(serve, server, client):
    """Requests on connections that a killed worker did not accept are answered, each once."""
    run = serve(REDIS_URL=server.url, COUNTER_TIMEOUT="5").ready()
    killed = run.children()[0]
    os.kill(killed, signal.SIGSTOP)
    with ExitStack() as stack:
        connections = []
        for _ in range(100):
            connection = socket.create_connection(("127.0.0.1", run.port), timeout=10)
            connections.append(stack.enter_context(connection))
            connection.sendall(b"POST /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        os.kill(killed, signal.SIGKILL)
        statuses = []
        for connection in connections:
            with connection.makefile("rb") as response:
                statuses.append(response.readline())
    assert statuses == [b"HTTP/1.1 200 OK\r\n"] * 100
    assert client.get("counter:{visits}") == b"100"


def test_repeated_interrupts(serve, tmp_path):
    """Ctrl-C, again and again until the end, loses no hit and prints no traceback."""
    folder = tmp_path / "data"
    run = serve(f"--data-dir={folder}").ready()
    assert run.get().json()["value"] == 1

    def interrupt():
        run.signal(signal.SIGINT)
        return not run.is_running()

    wait_until(interrupt, what="the end", timeout=10, pause=0.005)
    assert run.exit_code == 0
    assert "Traceback" not in run.log()
    assert serve(f"--data-dir={folder}").ready().get().json()["value"] == 2
