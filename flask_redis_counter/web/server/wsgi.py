"""The service's Flask app in threads: requests become WSGI environs, and results become bytes."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from flask import Flask

from ..http.rejection import Rejection
from ..http.request import Request
from ..http.response import render_response
from ..request_log import STARTED_AT_KEY

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: Threads for Flask. Waiting for the store releases the interpreter's lock; while they compute, the
#: event loop waits for it, the longer the more threads there are.
THREADS = 8

#: Additional threads for :data:`MONITORING`, so that an overloaded worker is not taken for dead.
MONITORING_THREADS = 2

#: Paths that orchestrators and monitoring ask for.
MONITORING = frozenset({b"/healthz", b"/readyz", b"/metrics"})

#: Maximum number of requests in threads, or waiting for one; separately for monitoring.
MAX_QUEUED = 512

_OVERLOADED = Rejection(
    HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests are waiting; try again later."
)

_log = logging.getLogger(__name__)


class WSGIResponse:
    """Response of a WSGI application; also its ``start_response`` callable.

    :ivar status: the status code.
    :ivar headers: names and values.
    :ivar body: the body.
    """

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[str, str]] = []
        self.body = b""

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """Set status and headers."""
        self.status = int(status.split(" ", 1)[0])
        self.headers = headers
        return lambda chunk: self.collect([chunk])

    def collect(self, chunks: Iterable[bytes]) -> None:
        """Append to the body."""
        try:
            self.body += b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()

    def send(self, request: Request) -> None:
        """Respond to a request."""
        response = render_response(self.status, self.headers, self.body, request)
        request.connection.respond(request, response)


class _Pool:
    # size: number of requests in its threads, or waiting for one.
    def __init__(self, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="flask")
        self.size = 0


class FlaskThreads:
    """Calls a Flask app in threads, for one event loop.

    :param app: the app.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._pool = _Pool(THREADS)
        self._monitoring = _Pool(MONITORING_THREADS)

    def call(
        self,
        request: Request,
        done: Callable[[WSGIResponse], None],
        variables: dict[str, Any] | None = None,
    ) -> Rejection | None:
        """Call the app.

        :param done: called in the loop with the response.
        :param variables: additional members of the WSGI environ.
        :returns: a rejection if too many requests are waiting for a thread, else None.
        """
        path = request.target.partition(b"?")[0]
        pool = self._monitoring if path in MONITORING else self._pool
        if pool.size >= MAX_QUEUED:
            return _OVERLOADED
        pool.size += 1
        future = asyncio.get_running_loop().run_in_executor(
            pool.executor, self._call, request, variables or {}
        )

        def finish(future: asyncio.Future[WSGIResponse]) -> None:
            pool.size -= 1
            if not future.cancelled():
                done(future.result())

        future.add_done_callback(finish)
        return None

    def render_error(self, request: Request, error: Exception) -> WSGIResponse:
        """Return the app's response to an error, without calling a view."""
        environ = build_environ(request)
        with self._app.request_context(environ):
            response = self._app.make_response(self._app.handle_user_exception(error))
            response = self._app.process_response(response)
        result = WSGIResponse()
        result.collect(response(environ, result))
        return result

    def close(self) -> None:
        """End each thread after its current response."""
        for pool in (self._pool, self._monitoring):
            pool.executor.shutdown(wait=False)

    def _call(self, request: Request, variables: dict[str, Any]) -> WSGIResponse:
        response = WSGIResponse()
        try:
            response.collect(self._app(build_environ(request) | variables, response))
        except BaseException:  # in a hook of the app or in its WSGI middleware, or SystemExit
            _log.exception("a request failed outside of Flask's error handling")
            response = WSGIResponse()
        return response


def build_environ(request: Request) -> WSGIEnvironment:
    """Return a WSGI environ (PEP 3333)."""
    path, _, query = request.target.partition(b"?")
    connection = request.connection
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": connection.server[0],
        "SERVER_PORT": str(connection.server[1]),
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "REMOTE_ADDR": connection.client,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": connection.scheme,
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        STARTED_AT_KEY: request.started_at,
    }
    for name, value in request.headers.items():
        if "_" in name:
            continue  # ambiguous in WSGI: it could spoof the header with hyphens
        if name == "upgrade":
            continue  # ignored: the app must not take the connection for a WebSocket
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    return environ
