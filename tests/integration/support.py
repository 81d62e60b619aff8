"""Helpers that several integration tests share."""

import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from flask_redis_counter import CounterError
from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.process import free_port

KEY = "counter:{visits}"
MAX = 2**63 - 1
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
#: Seconds by which a hit may exceed its deadline on a busy machine.
SLACK = 0.8


def nowhere():
    """Return the URL of a port on which no store listens."""
    return f"redis://127.0.0.1:{free_port()}/0"


@contextmanager
def within(seconds):
    """Check that the block takes less than some seconds."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


def outcome(hit):
    """Return the value of a hit, or the outcome of its error."""
    try:
        return hit().value
    except CounterError as error:
        return error.outcome


async def awaited_outcome(hit):
    """Return the value of an awaited hit, or the outcome of its error."""
    try:
        return (await hit).value
    except CounterError as error:
        return error.outcome


def check(outcomes, stored):
    """Check the outcomes of many hits of 1 against the stored value."""
    values = [value for value in outcomes if value not in ("not_counted", "unknown")]
    assert len(set(values)) == len(values), "a value was returned twice"
    assert len(values) <= stored <= len(values) + outcomes.count("unknown")
    assert not values or max(values) <= stored


def stored(group, name="visits"):
    """Return the value of a counter on the master that the Sentinels name, once it answers."""

    def read():
        return (int(group.client(group.named_master()).get(f"counter:{{{name}}}") or 0),)

    return wait_until(read, what="a master that answers")[0]


def wait_for_replicas(client, number=2):
    """Wait until so many replicas have all writes of a server.

    WAIT waits only for the writes of its connection, so this writes first. It writes twice: a
    replica may have the first write from its synchronisation, and get the next up to a second
    after that.
    """
    for write in (1, 2):
        client.set("in step", write)
        wait_until(lambda: client.wait(number, 500) >= number, what=f"{number} replicas in step")


def sleeps(server, seconds):
    """Make the server hang for some seconds, as during a long command."""
    sleeper = redis.Redis.from_url(server.url, socket_timeout=0.05)
    with sleeper, pytest.raises(redis.TimeoutError):
        sleeper.execute_command("DEBUG", "SLEEP", seconds)


def at_once(counter, server, hits):
    """Send hits while the server hangs, so that they share a batch; return their outcomes."""
    counter.ping()
    sleeps(server, 0.3)
    with ThreadPoolExecutor(len(hits)) as pool:
        return list(pool.map(lambda hit: outcome(lambda: counter.hit(*hit)), hits))


def knows_waitaof(client):
    """Return whether the server has the command WAITAOF."""
    with pytest.raises(redis.ResponseError) as caught:
        client.execute_command("WAITAOF")
    return "unknown command" not in str(caught.value)


def contents(client):
    """Return all keys of a store, except the one that says for 0.1 s whether it is full."""
    return {key: client.dump(key) for key in client.scan_iter() if key != b"counter:{}:room"}


def readiness(document):
    """Return a document of `/readyz` without the state of the journal."""
    return {name: member for name, member in document.items() if name != "journal"}


def problem(response, status):
    """Check that a response is a problem document, and return it."""
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    document = json.loads(response.text)
    assert document["status"] == status
    assert {"type", "title", "detail"} <= document.keys()
    assert "Traceback" not in response.text
    return document


def heed():
    """Restore the handler of Ctrl-C, which is ignored if the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def resident_bytes(pid):
    """Return the memory that a process occupies."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024
