"""The same answers under every server that people run Flask with."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from flask_redis_counter.testing import StoreProcess, wait_until
from flask_redis_counter.testing.process import Process, free_port

APP = "flask_redis_counter:create_app()"

SERVERS = {
    "granian": "flask_redis_counter serve --port={port}",
    "flask run": "flask --app flask_redis_counter run --port={port}",
    "gunicorn sync": f"gunicorn --workers=2 --bind=127.0.0.1:{{port}} {APP}",
    "gunicorn preload": f"gunicorn --workers=2 --preload --bind=127.0.0.1:{{port}} {APP}",
    "gunicorn gthread": f"gunicorn --workers=2 --threads=8 --bind=127.0.0.1:{{port}} {APP}",
    "gunicorn gevent": f"gunicorn --workers=2 -k gevent --bind=127.0.0.1:{{port}} {APP}",
    "waitress": "waitress --listen=127.0.0.1:{port} --call flask_redis_counter:create_app",
}


class Server(Process):
    """The service under one of them.

    :param arguments: what Python runs.
    """

    def __init__(self, arguments, folder, redis_url):
        self.port = free_port()
        command = [sys.executable, "-m", *arguments.format(port=self.port).split()]
        environment = {"REDIS_URL": redis_url, "COUNTER_METRICS_DIR": str(folder / "metrics")}
        super().__init__(command, log=folder / "log", environment=environment)
        self.start()
        wait_until(lambda: self.ask("GET", "/healthz").ok, what="an answer")

    def ask(self, method, path, **options):
        """Send a request."""
        return requests.request(
            method, f"http://127.0.0.1:{self.port}{path}", timeout=10, **options
        )

    def value(self, name="visits"):
        """Read a counter."""
        return self.ask("GET", f"/counters/{name}").json()["value"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store for all of them."""
    store = StoreProcess(tmp_path_factory.mktemp("store"))
    store.start()
    yield store
    store.stop()


@pytest.fixture(scope="module", params=SERVERS)
def server(request, store, tmp_path_factory):
    """Each of them, with a store."""
    server = Server(SERVERS[request.param], tmp_path_factory.mktemp("server"), store.url)
    yield server
    server.stop()


@pytest.fixture(scope="module", params=SERVERS)
def lonely(request, tmp_path_factory):
    """Each of them, with no store anywhere."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
        server = Server(SERVERS[request.param], folder, url)
        yield server
        server.stop()


def test_forms(server):
    """JSON by default, a page for a browser, bare text; HEAD reads."""
    document = server.ask("GET", "/count").json()
    value = document["value"]
    assert document == {"name": "visits", "value": value, "counted": True}
    text = server.ask("POST", "/count", headers={"Accept": "text/plain"})
    assert text.text == f"{value + 1}\n"
    assert text.headers["Cache-Control"] == "no-store"
    page = server.ask("GET", "/count", headers={"Accept": "text/html"})
    assert page.headers["Content-Type"].startswith("text/html")
    assert f"{value + 2:,}" in page.text
    head = server.ask("HEAD", "/count")
    assert (head.status_code, head.content) == (200, b"")
    assert server.value() == value + 2


def test_a_key_counts_once(server):
    """And is told so; with another amount it is refused."""
    name = f"keyed-{server.port}"
    headers = {"Idempotency-Key": '"k"'}
    first, again = (
        server.ask("POST", f"/counters/{name}/hits?amount=3", headers=headers) for _ in range(2)
    )
    assert first.json() == again.json() == {"name": name, "value": 3, "counted": True}
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = server.ask("POST", f"/counters/{name}/hits", headers=headers)
    assert other.status_code == 422
    assert server.value(name) == 3


def test_metrics_of_all_workers_add_up(server):
    """Whichever of them answers the scrape."""

    def added():
        lines = server.ask("GET", "/metrics").text.splitlines()
        (line,) = (line for line in lines if line.startswith("counter_added_total "))
        return float(line.split()[1])

    before = added()
    with ThreadPoolExecutor(8) as pool:
        path = f"/counters/added-{server.port}/hits?amount=2"
        assert all(answer.ok for answer in pool.map(lambda _: server.ask("POST", path), range(60)))
    assert {added() - before for _ in range(10)} == {120.0}


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nope", {}, 404),
        ("DELETE", "/count", {}, 405),
        ("POST", "/counters/a%20b/hits", {}, 400),
        ("POST", "/counters/bad/hits?amount=0", {}, 400),
        ("POST", "/counters/bad/hits?amount=%D9%A3", {}, 400),
        ("POST", "/counters/bad/hits", {"data": b"amount=2"}, 400),
        ("POST", "/counters/bad/hits", {"headers": {"Idempotency-Key": "a b"}}, 400),
        ("POST", "/counters/bad/hits", {"headers": {"Idempotency-Key": "ü".encode()}}, 400),
        ("GET", "/count", {"headers": {"Accept": "image/png"}}, 406),
        ("GET", "/counters/bad", {}, 404),
    ],
)
def test_a_mistake_is_a_problem(server, method, path, options, status):
    """A document that says which, and nothing counted."""
    answer = server.ask(method, path, **options)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_hits_at_once(server):
    """Each value once, over many connections."""
    before = server.value() if server.ask("GET", "/counters/visits").ok else 0
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.ask("POST", "/count").json(), range(200)))
    values = [answer["value"] for answer in answers]
    assert sorted(values) == list(range(before + 1, before + 201))


def test_no_store(lonely):
    """The welcome page, and an answer that says that nothing was counted."""
    assert lonely.ask("GET", "/").status_code == 200
    assert lonely.ask("GET", "/readyz").status_code == 503
    answer = lonely.ask("POST", "/count")
    assert answer.status_code == 503
    assert answer.json()["counted"] is False
    assert answer.headers["Retry-After"] == "1"
