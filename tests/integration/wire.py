"""The service behind an HTTP connection without a network, as a WSGI application.

So one client can test the fast path and Flask. The connection, its parser and its limits are those
of the production server; the transport is in memory.
"""

import asyncio
import io
import threading
from functools import cache

from flask_redis_counter.web.http.connection import HTTPConnection
from flask_redis_counter.web.http.connection_table import ConnectionTable
from flask_redis_counter.web.server.application import ServiceApplication


class Wire:
    """A transport in memory; also the client's end of it.

    :ivar sent: bytes that the server has sent.
    :ivar is_closed: whether the server has closed the connection.
    """

    def __init__(self, peer="127.0.0.1"):
        self.sent = b""
        self.is_closed = False
        self._info = {"peername": (peer, 4000), "sockname": ("127.0.0.1", 5000)}
        self._protocol = None

    def connect(self, table, application):
        """Connect to the server."""
        self._protocol = HTTPConnection(table, application)
        self._protocol.connection_made(self)
        return self

    def receive(self, data):
        """Let the server receive bytes."""
        self._protocol.data_received(data)

    def end(self):
        """Send no more bytes."""
        if not (self.is_closed or self._protocol.eof_received()):
            self.close()

    def pause(self):
        """Let the client read nothing more."""
        self._protocol.pause_writing()

    def resume(self):
        """Let the client read again."""
        self._protocol.resume_writing()

    def disconnect(self):
        """Close the client's end."""
        self._lose()

    # The interface of a transport that the connection uses

    def get_extra_info(self, name):
        """Return a property of the socket."""
        return self._info.get(name)

    def set_write_buffer_limits(self, _high):
        """Ignore the limit: :meth:`pause` decides."""

    def get_write_buffer_size(self):
        """Return 0: everything is sent."""
        return 0

    def pause_reading(self):
        """Ignore it: the tests send no more than they should."""

    def resume_reading(self):
        """Ignore it, as well."""

    def can_write_eof(self):
        """Return True, as TCP does."""
        return True

    def write_eof(self):
        """Close the server's direction."""
        self.is_closed = True

    def write(self, data):
        """Send bytes."""
        self.sent += data

    def close(self):
        """Close the connection."""
        self._lose()

    abort = close

    def _lose(self):
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


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


APPLICATIONS = []


def close_applications():
    """Close the applications that a test has created."""
    if APPLICATIONS:
        while APPLICATIONS:
            loop().run(APPLICATIONS.pop().aclose())
        loop().run(asyncio.sleep(0))


def as_wsgi(app):
    """Return a WSGI application that sends requests through a connection to a Flask app."""

    async def create():
        return ServiceApplication(app), ConnectionTable(asyncio.get_running_loop(), 100)

    application, table = loop().run(create())
    APPLICATIONS.append(application)

    def wsgi(environ, start_response):
        wire = Wire(environ.get("REMOTE_ADDR", "127.0.0.1"))
        loop().run(_exchange(wire, table, application, _request(environ)))
        head, _, body = wire.sent.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = [tuple(line.split(": ", 1)) for line in lines]
        own = ("Date", "Connection")  # of the server, not of the app
        start_response(status.partition(" ")[2], [one for one in headers if one[0] not in own])
        return io.BytesIO(body)

    wsgi.extensions = app.extensions
    return wsgi


async def _exchange(wire, table, application, request):
    wire.connect(table, application)
    wire.receive(request)
    wire.end()
    async with asyncio.timeout(30):
        while not wire.is_closed:
            await asyncio.sleep(0.001)


def _request(environ):
    """Return the bytes of a request."""
    target = "".join(
        # A byte that a client would have to encode.
        chr(byte) if 0x20 < byte < 0x7F and byte not in b"%?#" else f"%{byte:02X}"
        for byte in environ["PATH_INFO"].encode("latin-1")
    )
    query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
    lines = [f"{environ['REQUEST_METHOD']} {target or '/'}{query} HTTP/1.1", "Connection: close"]
    lines += [
        f"{key[5:].replace('_', '-').title()}: {value}"
        for key, value in environ.items()
        if key.startswith("HTTP_")
    ]
    body = b""
    if environ.get("CONTENT_TYPE"):
        lines.append(f"Content-Type: {environ['CONTENT_TYPE']}")
    if environ.get("CONTENT_LENGTH"):
        lines.append(f"Content-Length: {environ['CONTENT_LENGTH']}")
    if "wsgi.input" in environ:
        body = environ["wsgi.input"].read()
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "") and body:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif "chunked" in environ.get("HTTP_TRANSFER_ENCODING", ""):
        body = b"0\r\n\r\n"
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
