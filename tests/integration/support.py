"""What several of the integration tests need."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis

from flask_redis_counter import CounterError
from flask_redis_counter.testing.stacks.process import free_port

KEY = "counter:{visits}"
MAX = 2**63 - 1
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
#: Seconds within which a hit that has this deadline is back, on a machine that is busy.
SLACK = 0.8


def nowhere():
    """Return the URL of a store that is not there."""
    return f"redis://127.0.0.1:{free_port()}/0"


@contextmanager
def within(seconds):
    """Check that something takes no longer."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


def outcome(hit):
    """Return the value that a hit brings, or the outcome of its error."""
    try:
        return hit().value
    except CounterError as error:
        return error.outcome


async def awaited_outcome(hit):
    """The same, awaited."""
    try:
        return (await hit).value
    except CounterError as error:
        return error.outcome


def check(outcomes, stored):
    """Compare what many hits of 1 were told with what is stored."""
    values = [told for told in outcomes if told not in ("not_counted", "unknown")]
    assert len(set(values)) == len(values), "a value was handed out twice"
    assert len(values) <= stored <= len(values) + outcomes.count("unknown")
    assert not values or max(values) <= stored


def sleeps(server, seconds):
    """Let a server hang as it does in a long command."""
    sleeper = redis.Redis.from_url(server.url, socket_timeout=0.05)
    with sleeper, pytest.raises(redis.TimeoutError):
        sleeper.execute_command("DEBUG", "SLEEP", seconds)


def at_once(counter, server, hits):
    """Let hits arrive while the server hangs, so that they leave together; return outcomes."""
    counter.ping()
    sleeps(server, 0.3)
    with ThreadPoolExecutor(len(hits)) as pool:
        return list(pool.map(lambda hit: outcome(lambda: counter.hit(*hit)), hits))


def knows_waitaof(client):
    """Whether the server is one that can be asked to wait for its disk."""
    with pytest.raises(redis.ResponseError) as caught:
        client.execute_command("WAITAOF")
    return "unknown command" not in str(caught.value)


def contents(client):
    """Return all that a store holds, but for a tenth of a second whether it is full."""
    return {key: client.dump(key) for key in client.scan_iter() if key != b"counter:{}:room"}


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
    """Let Ctrl-C be heard: who runs the tests in the background ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
