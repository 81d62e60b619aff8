"""Adapter from RSGI to WSGI: the environ of a request, and the collected response."""

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

# Value of a header that Granian cannot decode. Every parser of a header rejects it.
_UNREADABLE = "\xff"


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

    def send(self, proto: HTTPProtocol) -> None:
        """Send the response to the client."""
        if self.body:
            proto.response_bytes(self.status, self.headers, self.body)
        else:
            proto.response_empty(self.status, self.headers)


@lru_cache(maxsize=1024)
def client_address(client: str) -> str:
    """Return the address of a client without the port."""
    return client.rpartition(":")[0].strip("[]")


def get_header(headers: Any, name: str) -> str | None:
    """Return the values of a header, joined with commas; None if it is absent."""
    if values := headers.get_all(name):
        return ",".join(values)
    # Granian omits a value that is not ASCII. A malformed Idempotency-Key must not be treated as
    # absent: the hit would count again with each retry.
    return _UNREADABLE if name in headers else None


def request_host(scope: Scope) -> str | None:
    """Return the requested host: HTTP/2's ``:authority`` or an absolute URL, else ``Host``."""
    return get_header(scope.headers, "host") if scope.authority is None else scope.authority


class IncompleteBody(io.RawIOBase):
    """Body that is incomplete, or did not arrive in time."""

    def readinto(self, buffer: object, /) -> int:
        """Raise OSError, which Werkzeug treats as a disconnected client."""
        raise OSError("the body is incomplete")


async def body_stream(
    proto: HTTPProtocol, length: str | None, limit: int, timeout: float
) -> io.IOBase:
    """Read a body; stop after the first chunk beyond the limit.

    :param length: the Content-Length; None: the body's framing marks its end.
    :param limit: maximum bytes.
    :param timeout: seconds within which the body has to arrive.
    """
    if length is not None and not (length.isdigit() and int(length) <= limit):
        return io.BytesIO()  # rejected later because of its length
    body = io.BytesIO()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in proto:
                body.write(chunk)
                if body.tell() > limit:
                    break
    except (
        TimeoutError,
        OSError,
        RuntimeError,
    ):  # Granian raises RuntimeError for malformed chunks
        return IncompleteBody()
    if length is not None and body.tell() != int(length):
        return IncompleteBody()
    body.seek(0)
    return body


def build_environ(scope: Scope, body: io.IOBase | None = None) -> WSGIEnvironment:
    """Return a WSGI environ (PEP 3333)."""
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
    for name in scope.headers.keys():  # noqa: SIM118, because only Granian's keys() has no duplicates
        if "_" in name:
            continue  # ambiguous in WSGI: it could spoof the header with hyphens
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = get_header(scope.headers, name)
    if scope.authority is not None:
        environ["HTTP_HOST"] = scope.authority
    return environ
