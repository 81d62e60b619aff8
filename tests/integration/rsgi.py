"""The front as a WSGI application, so that one client speaks to both ways to the answer."""

import asyncio
import io
import threading
from functools import cache
from types import SimpleNamespace
from urllib.parse import unquote

from flask_redis_counter.web.rsgi.app import RSGIApp


class Headers:
    """Headers as Granian gives them: names in lower case, one name several times.

    What is not ASCII has a name and no value.
    """

    def __init__(self, pairs):
        self._pairs = pairs

    def __contains__(self, name):
        return any(key == name for key, _ in self._pairs)

    def keys(self):
        """All names."""
        return list(dict(self._pairs))

    def items(self):
        """All of them."""
        return [(key, value) for key, value in self._pairs if value.isascii()]

    def get_all(self, name):
        """Return all that a header was given."""
        return [value for key, value in self.items() if key == name]

    def get(self, name, default=None):
        """Return the first that a header was given."""
        return next(iter(self.get_all(name)), default)


class Protocol:
    """What the front reads and answers."""

    def __init__(self, body):
        self._body = body

    async def __aiter__(self):
        """Return the request's body, in one chunk."""
        yield await asyncio.to_thread(self._body.read)

    def response_bytes(self, status, headers, body):
        """Take an answer."""
        self.status, self.headers, self.body = status, headers, body

    def response_empty(self, status, headers):
        """Take an answer without a body."""
        self.response_bytes(status, headers, b"")


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine):
        """Run a coroutine and return what it does."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)


@cache
def loop():
    """Return the loop of this process, which only tests that ask a front start."""
    return Loop()


FRONTS = []


def close_fronts():
    """Close what the fronts of a test have open."""
    if FRONTS:
        while FRONTS:
            loop().run(FRONTS.pop().aclose())
        loop().run(asyncio.sleep(0))


def as_wsgi(app):
    """Return a WSGI application that asks the front of a Flask app."""
    front = RSGIApp(app)
    FRONTS.append(front)

    def wsgi(environ, start_response):
        protocol = Protocol(environ["wsgi.input"])
        loop().run(front.__rsgi__(_scope(environ), protocol))
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
