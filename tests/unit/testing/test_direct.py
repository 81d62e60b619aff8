"""HTTP requests of the harness ignore proxies and passwords of the environment."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flask_redis_counter.testing import Endpoint, StackTimeoutError, direct, run_load, send_hit
from flask_redis_counter.testing.workload.chaos import _read_value, _sum_days
from flask_redis_counter.testing.workload.load import LoadGenerator

from .recording import RecordingStack


class Server(ThreadingHTTPServer):
    """A server with one response for all requests, which it records.

    :ivar requests: the request line and the Authorization header of each request.
    """

    def __init__(self, status, document):
        self.requests = []
        self.response = status, json.dumps(document).encode()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    """Sends the response of its server."""

    def do_GET(self):
        """Send the response."""
        self.server.requests.append((self.requestline, self.headers.get("Authorization")))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self.server.response
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def proxy():
    """A proxy that responds in place of every server."""
    with Server(200, {"value": 1000, "series": [{"hits": 1000}]}) as made:
        yield made
        made.shutdown()


@pytest.fixture
def service():
    """The service that the requests are for."""
    with Server(200, {"value": 1, "series": [{"hits": 1}]}) as made:
        yield made
        made.shutdown()


@pytest.fixture(autouse=True)
def environment(proxy, monkeypatch, tmp_path):
    """An environment with a proxy, and with a password for all servers."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    (tmp_path / "netrc").write_text("default login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def value_of_load_generator(url):
    """Run a load generator with one client until a hit is acknowledged."""
    generator = LoadGenerator(url, "name", [0], with_idempotency_key=())
    client = threading.Thread(target=generator.run_client, args=(0, 7))
    client.start()
    while not generator.acknowledged_attempts:
        pass
    generator.finish()
    client.join()
    return max(one.value for one in generator.history)


REQUESTS = {
    "get": lambda url: direct.get(url).json()["value"],
    "head": lambda url: direct.head(url).status_code // 200,
    "post": lambda url: direct.post(url, "body").json()["value"],
    "put": lambda url: direct.put(url, json={}).json()["value"],
    "delete": lambda url: direct.delete(url).json()["value"],
    "send_hit": lambda url: send_hit(url).values[0],
    "send_hit by name": lambda url: send_hit(url, counter="name").values[0],
    "run_load": lambda url: run_load(
        lambda: url, clients=1, should_continue=lambda tally: not tally.values
    ).values[0],
    "chaos": lambda url: _read_value(url, "name"),
    "chaos by days": lambda url: _sum_days(url, "name"),
    "load generator": value_of_load_generator,
}


@pytest.mark.parametrize("send", REQUESTS.values(), ids=REQUESTS)
def test_requests_ignore_proxy_and_netrc(send, service, proxy):
    """Neither `HTTP_PROXY` nor `~/.netrc` is used."""
    assert send(service.url) == 1
    assert proxy.requests == []
    assert {password for _, password in service.requests} == {None}


def test_wait_ready_ignores_proxy(service, proxy, monkeypatch):
    """The stack itself must return 200."""
    service.response = 503, b"not yet"
    stack = RecordingStack()
    stack.endpoint = Endpoint("redis", 80, ready_path="/readyz")
    monkeypatch.setattr(stack, "address", lambda *_: service.server_address)
    with pytest.raises(StackTimeoutError, match="503 Server Error"):
        stack.wait_ready(timeout=0)
    assert service.requests == [("GET /readyz HTTP/1.1", None)]
    assert proxy.requests == []


def test_requests_have_default_timeout(monkeypatch):
    """The default of requests is to wait forever."""
    seen = []
    monkeypatch.setattr(
        "requests.Session.request", lambda self, *_, **options: seen.append(options["timeout"])
    )
    direct.get("http://127.0.0.1:9")
    direct.get("http://127.0.0.1:9", timeout=5)
    assert seen == [30, 5]
