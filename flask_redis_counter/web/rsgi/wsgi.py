"""Between RSGI and WSGI: a request on its way to Flask, and the answer on its way back."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope

# Stands for a header's value that cannot be read; it is malformed wherever we look at it.
_UNREADABLE = "\xff"


class WSGIResponse:
    """What a WSGI application answered; called as its ``start_response``.

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
        """Take status and headers."""
        self.status = int(status.split(" ", 1)[0])
        self.headers = headers
        return lambda chunk: self.collect([chunk])

    def collect(self, chunks: Iterable[bytes]) -> None:
        """Take the body."""
        try:
            self.body += b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()

    def send(self, proto: HTTPProtocol) -> None:
        """Answer the client."""
        if self.body:
            proto.response_bytes(self.status, self.headers, self.body)
        else:
            proto.response_empty(self.status, self.headers)


@lru_cache(maxsize=1024)
def client_address(client: str) -> str:
    """Return the address of a client, without the port."""
    return client.rpartition(":")[0].strip("[]")


def get_header(headers: Any, name: str) -> str | None:
    """Return all that a header was given, with commas between, and None where it is absent."""
    if values := headers.get_all(name):
        return ",".join(values)
    # Granian leaves out a value that is not ASCII. A key that is malformed is none that is absent:
    # the hit would count again with each repeat.
    return _UNREADABLE if name in headers else None


def request_host(scope: Scope) -> str | None:
    """Return the requested host: HTTP/2's ``:authority`` or an absolute URL win over ``Host``."""
    return get_header(scope.headers, "host") if scope.authority is None else scope.authority


class IncompleteBody(io.RawIOBase):
    """A body that the client did not send whole, or not in time."""

    def readinto(self, buffer: object, /) -> int:
        """Fail, which Werkzeug takes for a client that is gone."""
        raise OSError("the body is incomplete")


async def body_stream(
    proto: HTTPProtocol, length: str | None, limit: int, timeout: float
) -> io.IOBase:
    """Read a body; one that is too large is read to the first chunk beyond the limit.

    :param length: the announced length; None: the body's framing tells where it ends.
    :param timeout: seconds that the body may take to arrive.
    """
    if length is not None and not (length.isdigit() and int(length) <= limit):
        return io.BytesIO()  # refused unread, for its length
    body = io.BytesIO()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in proto:
                body.write(chunk)
                if body.tell() > limit:
                    break
    except (TimeoutError, OSError, RuntimeError):  # malformed chunks are Granian's RuntimeError
        return IncompleteBody()
    if length is not None and body.tell() != int(length):
        return IncompleteBody()
    body.seek(0)
    return body


def build_environ(scope: Scope, body: io.IOBase | None = None) -> WSGIEnvironment:
    """Return a WSGI environment (PEP 3333)."""
    host, _, port = scope.server.rpartition(":")
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string.encode().decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client_address(scope.client),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": body or io.BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name in scope.headers.keys():  # noqa: SIM118, because only Granian's own names repeat none
        if "_" in name:
            continue  # WSGI could not tell it from the header with hyphens, which others guard
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = get_header(scope.headers, name)
    if scope.authority is not None:
        environ["HTTP_HOST"] = scope.authority
    return environ
