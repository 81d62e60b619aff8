"""uWSGI, which forks its workers in C: with its usual flags each hit counts and gets a value."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter.testing import RedisServerProcess, wait_until

from .conftest import SERVERS, Server

# uWSGI 2.0.30 itself, with an app of one line.
HANGS = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="uWSGI answers nothing with this flag on Python 3.13"
)
FLAGS = [
    pytest.param("", id="default"),
    pytest.param("--lazy-apps", id="lazy"),
    pytest.param("--threads=4", id="threads"),
    pytest.param("--enable-threads --py-call-osafterfork", id="osafterfork", marks=HANGS),
]


@pytest.fixture
def own_store(tmp_path):
    """A store that a test may kill."""
    folder = tmp_path / "store"
    folder.mkdir()
    store = RedisServerProcess(folder)
    store.start()
    yield store
    store.kill()


@pytest.fixture(params=FLAGS)
def start(request, own_store, tmp_path):
    """Start uWSGI with each set of flags."""
    servers = []

    def start(**settings):
        arguments = f"{SERVERS['uwsgi']} {request.param}"
        servers.append(Server(arguments, tmp_path, own_store.url, **settings))
        return servers[0]

    yield start
    for server in servers:
        server.stop()


def hits(server, number):
    """Send a number of hits from several clients, and return the responses."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: server.request("POST", "/count"), range(number)))


def values(answers):
    """Return the values in the responses."""
    return [answer.json()["value"] for answer in answers]


def test_forked_workers(start):
    """Each forked worker is a writer of its own: all hits count, with distinct values."""
    server = start(COUNTER_TIMEOUT="10")
    assert sorted(values(hits(server, 400))) == list(range(1, 401))
    assert server.value() == 400
    lines = server.request("GET", "/metrics").text.splitlines()
    assert "counter_added_total 400.0" in lines


def test_forked_workers_spool(start, own_store, tmp_path):
    """Hits that were spooled during an outage count once, in any worker."""
    spool = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": str(tmp_path / "spool")}
    server = start(COUNTER_TIMEOUT="4", **spool)
    told = values(hits(server, 50))
    own_store.kill()
    answers = hits(server, 50)
    assert [answer.status_code for answer in answers] == [202] * 50
    own_store.start()
    wait_until(lambda: server.value() == 100, what="the hits that waited")
    # A worker may spool until one of its threads finds that the store is back.
    told += values(answer for answer in hits(server, 50) if answer.status_code != 202)
    assert len(set(told)) == len(told)
    wait_until(lambda: server.value() == 150, what="the last hits that waited")
