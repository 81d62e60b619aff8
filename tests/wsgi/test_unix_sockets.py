"""WSGI servers behind a proxy that connects to a Unix socket."""

import sys

import pytest

from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.process import Process

from ..integration.unix_client import ask
from .conftest import APP

SERVERS = {
    "gunicorn": f"gunicorn --bind=unix:{{path}} {APP}",
    # By default waitress removes the headers itself.
    "waitress": "waitress --unix-socket={path} --no-clear-untrusted-proxy-headers "
    "--call flask_redis_counter:create_app",
}


@pytest.mark.parametrize("arguments", SERVERS.values(), ids=list(SERVERS))
@pytest.mark.parametrize("trusted", ["unix", "127.0.0.1"])
def test_client_behind_a_unix_socket(store, tmp_path, arguments, trusted):
    """`unix` in COUNTER_TRUSTED_PROXIES trusts the headers of the proxy, and nothing else does."""
    path = tmp_path / "socket"
    settings = {
        "REDIS_URL": store.url,
        "COUNTER_TIMEOUT": "2",
        "COUNTER_RATE_LIMIT": "1/3600",
        "COUNTER_PREFIX": f"{trusted}:{arguments[:8]}:",
        "COUNTER_TRUSTED_PROXIES": trusted,
    }
    command = [sys.executable, "-m", *arguments.format(path=path).split()]
    server = Process(command, log=tmp_path / "log", environment=settings)
    server.start()
    try:
        wait_until(lambda: ask(path, "GET", "/healthz").status == 200, what="an answer")
        clients = ("192.0.2.1", "192.0.2.2", "192.0.2.1")
        statuses = [ask(path, "POST", "/count", X_Forwarded_For=one).status for one in clients]
        links = ask(path, "GET", "/snippet", X_Forwarded_Prefix="/counter").text
    finally:
        server.stop()
    assert statuses == ([200, 200, 429] if trusted == "unix" else [200, 429, 429])
    assert ("/counter/counters/visits.svg" in links) == (trusted == "unix")
