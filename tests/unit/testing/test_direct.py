"""Whatever the harness asks over HTTP, it asks the stack itself."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flask_redis_counter.testing import Endpoint, StackTimeoutError, direct, run_load, send_hit
from flask_redis_counter.testing.workload.chaos import _read_value, _sum_days
from flask_redis_counter.testing.workload.load import LoadGenerator

from .recording import RecordingStack


class Server(ThreadingHTTPServer):
    """A server that has one answer to everything, and remembers what it was asked.

    :ivar got: the first line and the password of each request.
    """

    def __init__(self, status, document):
        self.got = []
        self.answer = status, json.dumps(document).encode()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    """Answers as its server says."""

    def do_GET(self):
        """Answer."""
        self.server.got.append((self.requestline, self.headers.get("Authorization")))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def proxy():
    """A proxy that has an answer in the place of each server."""
    with Server(200, {"value": 1000, "series": [{"hits": 1000}]}) as made:
        yield made
        made.shutdown()


@pytest.fixture
def service():
    """The service that is meant."""
    with Server(200, {"value": 1, "series": [{"hits": 1}]}) as made:
        yield made
        made.shutdown()


@pytest.fixture(autouse=True)
def environment(proxy, monkeypatch, tmp_path):
    """An environment with a proxy, and passwords for all servers."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    (tmp_path / "netrc").write_text("default login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def tally_of_a_crowd(url):
    """Count with a crowd of one until it has been told something."""
    crowd = LoadGenerator(url, "name", [0], with_idempotency_key=())
    client = threading.Thread(target=crowd.run_client, args=(0, 7))
    client.start()
    while not crowd.acknowledged_attempts:
        pass
    crowd.finish()
    client.join()
    return max(one.value for one in crowd.history)


ASKS = {
    "get": lambda url: direct.get(url).json()["value"],
    "head": lambda url: direct.head(url).status_code // 200,
    "post": lambda url: direct.post(url, "body").json()["value"],
    "put": lambda url: direct.put(url, json={}).json()["value"],
    "delete": lambda url: direct.delete(url).json()["value"],
    "count": lambda url: send_hit(url).values[0],
    "count by name": lambda url: send_hit(url, counter="name").values[0],
    "hammer": lambda url: run_load(
        lambda: url, clients=1, should_continue=lambda tally: not tally.values
    ).values[0],
    "chaos": lambda url: _read_value(url, "name"),
    "chaos by days": lambda url: _sum_days(url, "name"),
    "crowd": tally_of_a_crowd,
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_the_service_is_asked_without_proxy_and_password(ask, service, proxy):
    """Neither `HTTP_PROXY` nor `~/.netrc` is for it."""
    assert ask(service.url) == 1
    assert proxy.got == []
    assert {password for _, password in service.got} == {None}


def test_a_proxy_cannot_make_a_stack_ready(service, proxy, monkeypatch):
    """It is the stack that has to answer 200."""
    service.answer = 503, b"not yet"
    stack = RecordingStack()
    stack.endpoint = Endpoint("redis", 80, ready_path="/readyz")
    monkeypatch.setattr(stack, "address", lambda *_: service.server_address)
    with pytest.raises(StackTimeoutError, match="503 Server Error"):
        stack.wait_ready(timeout=0)
    assert service.got == [("GET /readyz HTTP/1.1", None)]
    assert proxy.got == []


def test_a_server_that_is_silent_is_not_waited_for_without_end(monkeypatch):
    """Requests would, unless told otherwise."""
    seen = []
    monkeypatch.setattr(
        "requests.Session.request", lambda self, *_, **options: seen.append(options["timeout"])
    )
    direct.get("http://127.0.0.1:9")
    direct.get("http://127.0.0.1:9", timeout=5)
    assert seen == [30, 5]
