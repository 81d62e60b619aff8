"""The RSGI app as a WSGI application, so that one client can test the fast path and Flask."""

import asyncio
import io
import threading
from functools import cache
from types import SimpleNamespace
from urllib.parse import unquote

from flask_redis_counter.web.rsgi.app import RSGIApp


class Headers:
    """Headers as Granian returns them: lower-case names, which may repeat.

    A header that is not ASCII has a name, but no value.
    """

    def __init__(self, pairs):
        self._pairs = pairs

    def __contains__(self, name):
        return any(key == name for key, _ in self._pairs)

    def keys(self):
        """Return all names."""
        return list(dict(self._pairs))

    def items(self):
        """Return all names and values."""
        return [(key, value) for key, value in self._pairs if value.isascii()]

    def get_all(self, name):
        """Return all values of a header."""
        return [value for key, value in self.items() if key == name]

    def get(self, name, default=None):
        """Return the first value of a header."""
        return next(iter(self.get_all(name)), default)


class Protocol:
    """The interface of Granian's protocol object that the RSGI app uses."""

    def __init__(self, body):
        self._body = body

    async def __aiter__(self):
        """Yield the request's body in one chunk."""
        yield await asyncio.to_thread(self._body.read)

    def response_bytes(self, status, headers, body):
        """Store a response."""
        self.status, self.headers, self.body = status, headers, body

    def response_empty(self, status, headers):
        """Store a response without a body."""
        self.response_bytes(status, headers, b"")


class Loop:
    """An event loop in a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine):
        """Run a coroutine, and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)


@cache
def loop():
    """Return the loop of this process. It is started on first use."""
    return Loop()


APPS = []


def close_apps():
    """Close the RSGI apps that a test has created."""
    if APPS:
        while APPS:
            loop().run(APPS.pop().aclose())
        loop().run(asyncio.sleep(0))


def as_wsgi(app):
    """Return a WSGI application that calls the RSGI app of a Flask app."""
    rsgi_app = RSGIApp(app)
    APPS.append(rsgi_app)

    def wsgi(environ, start_response):
        protocol = Protocol(environ["wsgi.input"])
        loop().run(rsgi_app.__rsgi__(_scope(environ), protocol))
        start_response(f"{protocol.status} -", list(protocol.headers))
        return io.BytesIO(protocol.body)

    wsgi.extensions = app.extensions
    return wsgi


def _scope(environ):
    headers = [
        (key[5:].lower().replace("_", "-"), value)
        for key, value in environ.items()
        if key.startswith("HTTP_")
    ]
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers.append((key.lower().replace("_", "-"), environ[key]))
    peer = environ.get("REMOTE_ADDR", "127.0.0.1")
    return SimpleNamespace(
        method=environ["REQUEST_METHOD"],
        path=unquote(environ["PATH_INFO"].encode("latin-1").decode()),
        query_string=environ["QUERY_STRING"],
        http_version="1.1",
        scheme="http",
        server="127.0.0.1:5000",
        client=f"[{peer}]:4000" if ":" in peer else f"{peer}:4000",
        authority=None,
        headers=Headers(headers),
    )
