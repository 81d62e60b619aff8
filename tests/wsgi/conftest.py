"""WSGI servers for Flask, each as a process."""

import socket
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from flask_redis_counter.testing import RedisServerProcess, wait_until
from flask_redis_counter.testing.stacks.process import Process, free_port

ADMIN_KEY = "correct-horse-battery-staple"
APP = "flask_redis_counter:create_app()"

SERVERS = {
    "serve": "flask_redis_counter serve --port={port}",
    "flask run": "flask --app flask_redis_counter run --port={port}",
    "gunicorn sync": f"gunicorn --workers=2 --bind=127.0.0.1:{{port}} {APP}",
    "gunicorn preload": f"gunicorn --workers=2 --preload --bind=127.0.0.1:{{port}} {APP}",
    "gunicorn gthread": f"gunicorn --workers=2 --threads=8 --bind=127.0.0.1:{{port}} {APP}",
    "gunicorn gevent": f"gunicorn --workers=2 -k gevent --bind=127.0.0.1:{{port}} {APP}",
    "waitress": "waitress --listen=127.0.0.1:{port} --call flask_redis_counter:create_app",
    "uwsgi": "uwsgi --http-socket=127.0.0.1:{port} --master --processes=4 --need-app "
    "--module=flask_redis_counter.web.app:create_app()",
}


class Server(Process):
    """The service under one server.

    :param arguments: arguments of Python, or of uWSGI.
    """

    def __init__(self, arguments, folder, redis_url, **settings):
        self.port = free_port()
        command = [sys.executable, "-m", *arguments.format(port=self.port).split()]
        if command[2] == "uwsgi":  # not a Python module
            command[:3] = [str(Path(sys.executable).with_name("uwsgi")), "--die-on-term"]
        environment = {
            "REDIS_URL": redis_url,
            "COUNTER_METRICS_DIR": str(folder / "metrics"),
            "COUNTER_ADMIN_KEY": ADMIN_KEY,
            "COUNTER_TIMEOUT": "2",  # long enough for a busy machine
            **settings,
        }
        super().__init__(command, log=folder / "log", environment=environment)
        self.start()
        wait_until(lambda: self.request("GET", "/healthz").ok, what="an answer")

    def request(self, method, path, timeout=10, **options):
        """Send a request."""
        url = f"http://127.0.0.1:{self.port}{path}"
        return requests.request(method, url, timeout=timeout, **options)

    def value(self, name="visits"):
        """Read a counter."""
        return self.request("GET", f"/counters/{name}").json()["value"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for all servers."""
    store = RedisServerProcess(tmp_path_factory.mktemp("store"))
    store.start()
    yield store
    store.stop()


@pytest.fixture(scope="module", params=SERVERS)
def server(request, store, tmp_path_factory):
    """Each server, with a store."""
    server = Server(SERVERS[request.param], tmp_path_factory.mktemp("server"), store.url)
    yield server
    server.stop()


@pytest.fixture(scope="module", params=SERVERS)
def storeless(request, tmp_path_factory):
    """Each server, with an unreachable store."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
        server = Server(SERVERS[request.param], folder, url)
        yield server
        server.stop()


@pytest.fixture
def start(store, tmp_path):
    """Start a server with additional options."""

    @contextmanager
    def start(arguments):
        server = Server(arguments.replace("{app}", APP), tmp_path, store.url)
        try:
            yield server
        finally:
            server.stop()

    return start
