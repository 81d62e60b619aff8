"""One HTTP/1.1 connection: requests in, responses out in the same order.

The parser is llhttp, by httptools, in its strict mode. It parses one message at a time: a piece of
the received bytes that ends with a head. So a client that sends many requests at once occupies
little memory, and a rejected message is the last one of its connection.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from time import perf_counter
from typing import Any, Protocol

import httptools

from .connection_table import ConnectionTable
from .request import UNSUPPORTED_VERSION, Rejection, Request, body_too_large
from .response import CONTINUE

#: Seconds until the first byte of a connection; it is then closed without a response.
FIRST_BYTE_TIMEOUT = 5.0

#: Seconds from the first byte of a head until its last one.
HEAD_TIMEOUT = 10.0

#: Seconds from the end of a head until the end of its body.
BODY_TIMEOUT = 10.0

#: Seconds between a response and the first byte of the next request.
KEEP_ALIVE_TIMEOUT = 75.0

#: Seconds for the rest of a request, and for reading after the last response, when the worker
#: stops.
DRAIN_TIMEOUT = 1.0

#: Seconds in which a client must read some of the bytes that wait for it.
WRITE_TIMEOUT = 15.0

#: Seconds for reading, and ignoring, what a client sends after its request was rejected. Without
#: reading it, the kernel would reset the connection, and the client might not see the response.
LINGER_TIMEOUT = 2.0

#: Maximum bytes of a request's target: its path and query.
MAX_TARGET_BYTES = 16 * 1024

#: Maximum bytes of a head: request line and header fields.
MAX_HEAD_BYTES = 32 * 1024

#: Maximum bytes of a message with the framing of its chunks, as a multiple of the body's limit.
MAX_CHUNK_OVERHEAD = 8

#: Maximum number of requests of one connection that were received and are not answered.
MAX_PIPELINED = 32

#: Unsent bytes beyond which a connection starts no more requests.
WRITE_BUFFER_BYTES = 16 * 1024

_REQUEST_LINE = re.compile(rb"[A-Z]{1,32} [!-~]+ HTTP/1\.[01]\r\n")
_END_OF_HEAD = b"\r\n\r\n"

_MALFORMED = Rejection(HTTPStatus.BAD_REQUEST, "The request is malformed: send HTTP/1.1.")
_UNKNOWN_METHOD = Rejection(HTTPStatus.NOT_IMPLEMENTED, "The request's method is unknown.")
_INCOMPLETE = Rejection(
    HTTPStatus.BAD_REQUEST, "The request is incomplete: send the whole request again."
)
_HEAD_TOO_LARGE = Rejection(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request's head is larger than {MAX_HEAD_BYTES} bytes: send fewer or shorter headers.",
)
_TARGET_TOO_LONG = Rejection(
    HTTPStatus.REQUEST_URI_TOO_LONG,
    f"The URL is longer than {MAX_TARGET_BYTES} bytes: shorten it.",
)
_TIMEOUT = Rejection(
    HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time: send it again."
)
_TOO_MANY_CONNECTIONS = Rejection(
    HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections; try again later."
)


class Application(Protocol):
    """The application behind the connections of a worker."""

    #: Maximum bytes of a request's body.
    max_body_bytes: int

    def start(self, request: Request, is_first: bool) -> bool:
        """Start a request; call :meth:`HTTPConnection.respond` at once or later.

        Later requests of the connection start before the response, unless the application sets
        :attr:`.Request.is_exclusive`.

        :param is_first: whether all earlier requests of the connection are answered.
        :returns: False if the request must be the first one; it is then passed again.
        """
        ...

    def render_rejection(self, rejection: Rejection, request: Request) -> bytes:
        """Return the response to a request that the connection rejects."""
        ...


class HTTPConnection(asyncio.Protocol):
    """A connection of a client.

    :ivar client: address of the client; empty for a Unix socket.
    :ivar scheme: ``http``, or ``https`` if the connection is encrypted.
    :ivar server: address and port of this end; a Unix socket has the port 0.
    :ivar idle_since: time of the last response, by the table's clock.
    :ivar held_bytes: bytes that it holds because its client does not read, as the table counted.
    """

    __slots__ = (
        "_active",
        "_application",
        "_body",
        "_body_bytes",
        "_continues",
        "_has_head",
        "_is_closing",
        "_is_ended",
        "_is_half_closed",
        "_is_lost",
        "_is_muted",
        "_is_new",
        "_is_receiving",
        "_is_write_paused",
        "_lingers",
        "_lingers_since",
        "_message_bytes",
        "_on_lost",
        "_parsed_bytes",
        "_parser",
        "_received_since",
        "_repeatable",
        "_request",
        "_stalled_bytes",
        "_stalled_since",
        "_table",
        "_transport",
        "_unparsed",
        "_waiting",
        "client",
        "held_bytes",
        "idle_since",
        "scheme",
        "server",
    )

    def __init__(self, table: ConnectionTable, application: Application) -> None:
        self.client: str = ""
        self.scheme: str = "http"
        self.server: tuple[str, int] = ("", 0)
        self.idle_since: float = table.now
        self.held_bytes: int = 0
        self._table = table
        self._application = application
        self._transport: Any = None
        self._parser = httptools.HttpRequestParser(self)
        # Requests that were started, and those that wait for them; the oldest first.
        self._active: deque[Request] = deque()
        self._waiting: deque[Request] = deque()
        # The request that is being received, or was received last.
        self._request = Request(self)
        self._is_receiving = self._has_head = False
        # Bytes of the message so far, and of the last one among the bytes received last.
        self._message_bytes = self._parsed_bytes = 0
        self._body_bytes = 0
        self._body: list[bytes] = []
        self._received_since: float | None = None
        self._continues = self._is_muted = False
        # Bytes of the last request, if it would mean the same if it came again.
        self._repeatable: bytes | None = None
        # Received bytes that are parsed when there is room for more requests.
        self._unparsed = b""
        self._is_new = True
        # Whether no more requests are accepted; then the connection closes after its last response.
        self._is_ended = self._lingers = False
        self._is_closing = self._is_half_closed = self._is_lost = False
        self._on_lost: Callable[[], None] | None = None
        self._lingers_since: float | None = None
        self._is_write_paused = False
        self._stalled_bytes = 0
        self._stalled_since = 0.0

    # Events of the transport

    def connection_made(self, transport: Any) -> None:
        """Take the transport, and a place in the table."""
        self._transport = transport
        peer, server = map(transport.get_extra_info, ("peername", "sockname"))
        if isinstance(server, tuple):  # a Unix socket has a path, or no name
            self.server = (server[0], server[1])
            if peer is None:  # the client has gone; its request must not count as a proxy's
                self._is_ended = True
                self.abort()
            else:
                self.client = peer[0]
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        if not self._table.add(self) and not self._is_ended:
            self._reject(_TOO_MANY_CONNECTIONS)

    def connection_lost(self, _error: Exception | None) -> None:
        """Leave the table. Hits in flight still count."""
        self._is_closing = self._is_lost = True
        self._table.remove(self)
        self._unparsed = b""
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost()
        # They refer to the connection: it is freed now, and not by the next garbage collection.
        self._active.clear()
        self._waiting.clear()
        del self._parser, self._request

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and start the requests in them."""
        if self._is_ended:
            return
        if data == self._repeatable and self._is_idle and not self._is_write_paused:
            last = self._request
            request = Request(self, last.method, last.target, last.headers, last.plan)
            request.started_at = perf_counter()
            self._start(request)
            return
        # The bytes are a whole request if no other one was, or is, received in part.
        is_whole = not self._is_receiving
        self._repeatable = None
        self._parsed_bytes = 0
        self._feed(data)
        last = self._request
        if (
            last.plan is not None
            and last.version == "1.1"
            and self._parsed_bytes == len(data)
            and is_whole
            and not self._is_receiving
        ):
            self._repeatable = data

    def eof_received(self) -> bool:
        """Answer the requests so far, then close: the client may have closed one direction only.

        A stream ends at once: its client has gone, or the stream would never end.
        """
        self._is_half_closed = True
        if not self._transport.can_write_eof():  # TLS has no directions
            self.close()
        elif self._is_receiving and not self._is_ended:
            self._reject(_INCOMPLETE)
        elif self._is_idle or self._on_lost is not None:
            self.close()
        self._is_ended = True
        return not self._is_closing

    def pause_writing(self) -> None:
        """Start no more requests until the client reads."""
        self._is_write_paused = True
        self._watch_progress()
        self._table.hold(self)

    def resume_writing(self) -> None:
        """Start the requests that wait."""
        self._is_write_paused = False
        self._continue()

    # Events of the parser

    def on_message_begin(self) -> None:
        """Start to receive a request, with the first byte of its method."""
        if not self._is_muted:
            self._request = Request(self)
            self._is_receiving = True
            self._has_head = False

    def on_url(self, url: bytes) -> None:
        """Append to the target of the request."""
        if self._is_muted:
            return
        self._request.target = target = self._request.target + url
        if len(target) > MAX_TARGET_BYTES:
            raise _RejectedError(_TARGET_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header field to the request. Trailers are ignored."""
        if not (self._has_head or self._is_muted):
            self._request.add_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head."""
        if self._is_muted:
            return
        request = self._request
        self._has_head = True
        request.method = self._parser.get_method().decode("ascii")
        request.version = self._parser.get_http_version()
        if self._message_bytes > MAX_HEAD_BYTES:
            raise _RejectedError(_HEAD_TOO_LARGE)
        rejection = request.check_head(self._application.max_body_bytes)
        if rejection is not None:
            raise _RejectedError(rejection)
        self._continues = "expect" in request.headers and request.version == "1.1"

    def on_body(self, data: bytes) -> None:
        """Append to the body of the request."""
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > self._application.max_body_bytes:
            raise _RejectedError(body_too_large(self._application.max_body_bytes))

    def on_message_complete(self) -> None:
        """Start the request, or let it wait for its turn."""
        request = self._request
        if self._is_ended or ("upgrade" in request.headers and self._skips_body(request)):
            return  # for an upgrade the parser skips the body: see _ignore_upgrade
        self._is_receiving = self._is_new = False
        self._received_since = None
        self._parsed_bytes, self._message_bytes = self._message_bytes, 0
        if self._body:
            request.body = b"".join(self._body)
            self._body.clear()
            self._body_bytes = 0
        if not self._parser.should_keep_alive() or (
            request.version == "1.0" and request.asks_to_close
        ):
            self._is_ended = True
            request.keeps_alive = False
        elif self._table.is_draining:
            self._is_ended = self._lingers = True
            request.keeps_alive = False
        request.started_at = perf_counter()
        if self._waiting or not self._start(request):
            self._waiting.append(request)

    # Responses

    def respond(self, request: Request, response: bytes) -> None:
        """Send a response, after those to the earlier requests of this connection."""
        request.response = response
        active = self._active
        while active and (ready := active[0].response) is not None:
            active.popleft()
            if not self._is_closing:
                self._transport.write(ready)
        self.idle_since = self._table.now
        if self._waiting or self._unparsed or self._is_ended or self._continues:
            self._continue()

    def open_stream(self, head: bytes, on_lost: Callable[[], None]) -> None:
        """Send the head of the response to an exclusive request; :meth:`end_stream` ends it.

        :param on_lost: called when the connection is lost, perhaps before this method returns.
        """
        if self._is_lost:
            on_lost()
            return
        self._on_lost = on_lost
        self.write(head)
        if self._is_half_closed:
            self.close()

    def write(self, data: bytes) -> None:
        """Send a part of the response to an exclusive request."""
        if not self._is_closing:
            self._transport.write(data)

    def end_stream(self, request: Request, data: bytes) -> None:
        """Send the last part of the response to an exclusive request."""
        self._on_lost = None
        self.respond(request, data)

    @property
    def is_writable(self) -> bool:
        """Whether the connection is open, and its client reads."""
        return not (self._is_write_paused or self._is_closing)

    # The table's view

    @property
    def is_idle(self) -> bool:
        """Whether the connection is open, and no response is due."""
        return self._is_idle and not self._is_closing and self._lingers_since is None

    @property
    def _is_idle(self) -> bool:
        return not (self._active or self._waiting or self._unparsed)

    def count_held(self) -> int:
        """Return the number of bytes that wait for the client to read, or to be parsed."""
        return int(self._transport.get_write_buffer_size()) + len(self._unparsed)

    def close(self) -> None:
        """Close the connection when its unsent bytes are sent."""
        if not self._is_closing:
            self._is_closing = True
            self._watch_progress()
            self._transport.close()

    def drain(self) -> None:
        """Close an idle connection; otherwise close it after the last response.

        A request of which a part has arrived has :data:`DRAIN_TIMEOUT` for the rest.
        """
        if self.is_idle and self._received_since is None:
            self.close()
        elif requests := [*self._active, *self._waiting]:
            requests[-1].keeps_alive = False
            self._is_ended = self._lingers = True

    def abort(self) -> None:
        """Close the connection at once; drop its unsent bytes."""
        self._is_closing = True
        self._unparsed = b""
        self._table.release(self)
        self._transport.abort()

    def check_timeout(self, now: float) -> None:
        """Close the connection if one of its time-outs is over.

        :param now: the loop's time.
        """
        if self._is_write_paused or self._is_closing:
            self._check_progress(now)
        elif self._lingers_since is not None:
            timeout = DRAIN_TIMEOUT if self._table.is_draining else LINGER_TIMEOUT
            if self.count_held():
                self._lingers_since = now
                self._check_progress(now)
            elif now - self._lingers_since > timeout:
                self.abort()
        elif not self._is_idle:
            return
        elif self._received_since is not None:
            timeout = BODY_TIMEOUT if self._has_head else HEAD_TIMEOUT
            if self._table.is_draining:
                timeout = DRAIN_TIMEOUT
            if now - max(self._received_since, self.idle_since) > timeout:
                self._reject(_TIMEOUT)
        elif now - self.idle_since > (FIRST_BYTE_TIMEOUT if self._is_new else KEEP_ALIVE_TIMEOUT):
            self.close()

    def _watch_progress(self) -> None:
        """Start the time in which the client must read some of the bytes that wait for it."""
        self._stalled_bytes = self.count_held()
        self._stalled_since = self._table.now

    def _check_progress(self, now: float) -> None:
        held = self.count_held()
        if held < self._stalled_bytes:
            self._stalled_since = now
        elif now - self._stalled_since > WRITE_TIMEOUT:
            self.abort()
        self._stalled_bytes = held

    # Steps

    def _feed(self, data: bytes) -> None:
        """Parse bytes, one message at a time, while there is room for more requests."""
        start, size = 0, len(data)
        while start < size and not self._is_ended:
            if (
                self._unparsed
                or self._is_write_paused
                or len(self._active) + len(self._waiting) >= MAX_PIPELINED
            ):
                self._unparsed += data[start:]
                self._transport.pause_reading()
                self._table.hold(self)
                return
            end = data.find(_END_OF_HEAD, start)
            end = size if end < 0 else end + len(_END_OF_HEAD)
            start += self._parse(data if end - start == size else data[start:end])

    def _parse(self, data: bytes) -> int:
        """Parse a piece of a message; return the number of bytes that were used."""
        used = len(data)
        had_head = self._is_receiving and self._has_head
        self._message_bytes += used
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            used = upgrade.args[0]
            self._ignore_upgrade()
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _RejectedError):
                raise
            if not self._is_ended:
                self._reject(error.__context__.rejection)
        except httptools.HttpParserError as error:
            if not self._is_ended:  # otherwise bytes after the last request
                self._reject(_explain(error, data))
        if (self._is_receiving or self._message_bytes) and not self._is_ended:
            self._check_incomplete(had_head)
        return used

    def _skips_body(self, request: Request) -> bool:
        return self._parser.should_upgrade() and request.has_body

    def _ignore_upgrade(self) -> None:
        """Receive the body of a request that asks for an upgrade (RFC 9110, section 7.8).

        The parser would take the body for the next request: it expects that the server upgrades.
        Another one gets a head with the same framing instead.
        """
        if not self._is_receiving:
            return  # there is no body
        headers = self._request.headers
        name = "transfer-encoding" if "transfer-encoding" in headers else "content-length"
        connection = "keep-alive" if self._parser.should_keep_alive() else "close"
        self._parser = httptools.HttpRequestParser(self)
        self._is_muted = True
        head = f"POST / HTTP/1.1\r\nConnection: {connection}\r\n{name}: {headers[name]}\r\n\r\n"
        self._parser.feed_data(head.encode("latin-1"))
        self._is_muted = False

    def _check_incomplete(self, had_head: bool) -> None:
        """Check the limits of a request of which more bytes are to come."""
        if not self._is_receiving:  # only line breaks so far
            self._has_head = False
        elif self._received_since is None or (self._has_head and not had_head):
            self._is_new = False
            self._received_since = self._table.loop.time()
        if not self._has_head:
            if self._message_bytes > MAX_HEAD_BYTES:
                self._reject(_HEAD_TOO_LARGE)
        elif self._message_bytes > MAX_CHUNK_OVERHEAD * self._application.max_body_bytes:
            self._reject(body_too_large(self._application.max_body_bytes))
        elif self._continues:
            self._send_continue()

    def _send_continue(self) -> None:
        """Tell the client to send the body that it announced, after the earlier responses."""
        if self._is_idle and self._is_receiving and self._has_head:
            self._continues = False
            self._transport.write(CONTINUE)

    def _start(self, request: Request) -> bool:
        """Start a request, unless it has to wait for earlier ones, or for the client to read."""
        active = self._active
        if self._is_write_paused or (active and active[-1].is_exclusive):
            return False
        is_first = not active
        active.append(request)
        if request.response is not None:  # rejected
            self.respond(request, request.response)
        elif not self._application.start(request, is_first):
            active.pop()
            return False
        return True

    def _continue(self) -> None:
        """Start the requests that wait, parse the bytes that wait, or close."""
        while self._waiting and not self._is_closing:
            request = self._waiting.popleft()
            if not self._start(request):
                self._waiting.appendleft(request)
                return
        if self._unparsed and not (self._is_write_paused or self._is_closing):
            data, self._unparsed = self._unparsed, b""
            self._transport.resume_reading()
            self._feed(data)
        if not (self._unparsed or self._is_write_paused):
            self._table.release(self)
        if self._is_ended and self.is_idle:
            self._end()
        elif self._continues and not self._is_closing:
            self._send_continue()

    def _end(self) -> None:
        """Close after the last response."""
        if self._lingers and not self._is_half_closed and self._transport.can_write_eof():
            self._lingers_since = self._table.loop.time()
            self._watch_progress()
            self._transport.write_eof()
        else:
            self.close()

    def _reject(self, rejection: Rejection) -> None:
        """Respond with an error, after the earlier responses, and accept no more requests."""
        request = self._request if self._is_receiving else Request(self)
        self._is_receiving = False
        self._received_since = None
        self._body.clear()
        self._unparsed = b""
        request.keeps_alive = False
        request.response = self._application.render_rejection(rejection, request)
        self._is_ended = self._lingers = True
        self._waiting.append(request)
        self._continue()


class _RejectedError(Exception):
    """Stops the parser in one of its callbacks."""

    def __init__(self, rejection: Rejection) -> None:
        self.rejection = rejection


def _explain(error: httptools.HttpParserError, data: bytes) -> Rejection:
    """Return the rejection of bytes that the parser cannot read."""
    if str(error) == "Invalid HTTP version":
        return UNSUPPORTED_VERSION
    is_method = isinstance(error, httptools.HttpParserInvalidMethodError)
    return _UNKNOWN_METHOD if is_method and _REQUEST_LINE.match(data) else _MALFORMED
