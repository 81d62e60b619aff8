"""One HTTP/1.1 connection: requests in, responses out in the same order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

from .application import Application
from .connection_table import ConnectionTable
from .parser import RequestParser
from .rejection import INCOMPLETE, TIMEOUT, TOO_MANY_CONNECTIONS, RejectedError, Rejection
from .request import Request
from .response import CONTINUE

#: Seconds until the first byte of a connection; it is then closed without a response.
FIRST_BYTE_TIMEOUT = 5.0

#: Seconds from the first byte of a head until its last one.
HEAD_TIMEOUT = 10.0

#: Seconds from the end of a head until the end of its body.
BODY_TIMEOUT = 10.0

#: Seconds between a response and the first byte of the next request.
KEEP_ALIVE_TIMEOUT = 75.0

#: Seconds in which a client must read some of the bytes that wait for it.
WRITE_TIMEOUT = 15.0

#: Seconds for reading, and ignoring, what a client sends after its last request. Without reading
#: it, the kernel would reset the connection, and the client might not see the response.
LINGER_TIMEOUT = 2.0

#: Seconds for the rest of a request, for lingering, and for the client to confirm the end of a TLS
#: connection, when the worker stops.
DRAIN_TIMEOUT = 1.0

#: Maximum number of requests of one connection that were received and are not answered.
MAX_PIPELINED = 32

#: Unsent bytes beyond which a connection starts no more requests.
WRITE_BUFFER_BYTES = 16 * 1024

#: Bytes that the transport of a TLS connection receives ahead while reading is paused.
TLS_READ_BUFFER_BYTES = 16 * 1024

# Bytes that a connection may hold before the table counts them.
_HELD_BYTES = 4 * 1024


class HTTPConnection(asyncio.Protocol):
    """A connection of a client.

    :ivar client: address of the client; empty for a Unix socket.
    :ivar scheme: ``http``, or ``https`` if the connection is encrypted.
    :ivar server: address and port of this end; a Unix socket has the port 0.
    :ivar idle_since: time of the last response, by the table's clock.
    :ivar held_bytes: bytes that it holds, as the table counted.
    """

    __slots__ = (
        "_active",
        "_application",
        "_is_closing",
        "_is_half_closed",
        "_is_lost",
        "_is_new",
        "_is_write_paused",
        "_lingers",
        "_lingers_since",
        "_on_lost",
        "_parser",
        "_received_since",
        "_repeatable",
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
        self._parser = RequestParser(self, application.max_body_bytes, self._accept)
        # Requests that were started, and those that wait for them; the oldest first.
        self._active: deque[Request] = deque()
        self._waiting: deque[Request] = deque()
        # Bytes of the last request, if it would mean the same if it came again.
        self._repeatable: bytes | None = None
        # Received bytes that are parsed when there is room for more requests.
        self._unparsed = b""
        # Time of the first byte of the head that is being received, or of the end of the head.
        self._received_since: float | None = None
        self._is_new = True
        # Whether bytes are read and ignored before the connection is closed.
        self._lingers = False
        self._lingers_since: float | None = None
        self._is_closing = self._is_half_closed = self._is_lost = False
        self._on_lost: Callable[[], None] | None = None
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
                self.abort()
            else:
                self.client = peer[0]
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
            # By default the transport receives up to 256 KB ahead, which the table does not count.
            transport.set_read_buffer_limits(TLS_READ_BUFFER_BYTES)
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        if self._table.add(self) or self._is_closing:
            return
        if self._table.is_flooded:
            self.abort()
        else:
            self._reject(TOO_MANY_CONNECTIONS)

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
        self._parser.close()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and start the requests in them."""
        parser = self._parser
        if parser.is_ended:
            self._lingers = True
            return
        if data == self._repeatable and self._is_answered and not self._is_write_paused:
            last = parser.request
            request = Request(self, last.method, last.target, last.headers, last.plan)
            request.started_at = perf_counter()
            self._start(request)
            return
        # The bytes are a whole request if no other one was, or is, received in part.
        is_whole = not parser.is_receiving
        self._repeatable = None
        parser.last_message_bytes = 0
        self._feed(data)
        last = parser.request
        if (
            last.plan is not None
            and last.version == "1.1"
            and parser.last_message_bytes == len(data)
            and is_whole
            and not parser.is_receiving
        ):
            self._repeatable = data

    def eof_received(self) -> bool:
        """Answer the requests so far, then close: the client may have closed one direction only.

        A stream ends at once: its client has gone, or the stream would never end.
        """
        self._is_half_closed = True
        is_stream = self._on_lost is not None
        if is_stream or not self._transport.can_write_eof():  # TLS has no directions
            self.close()
        elif self._parser.is_receiving and not self._parser.is_ended:
            self._reject(INCOMPLETE)
        elif self._is_answered:
            self.close()
        self._parser.is_ended = True
        return not self._is_closing

    def pause_writing(self) -> None:
        """Start no more requests until the client reads."""
        self._is_write_paused = True
        self._watch_progress()
        self._update_held()

    def resume_writing(self) -> None:
        """Start the requests that wait."""
        self._is_write_paused = False
        self._continue()

    # Responses

    def respond(self, request: Request, response: bytes) -> None:
        """Send a response, after those to the earlier requests of this connection."""
        if self._is_lost:
            return
        request.response = response
        active = self._active
        while active and (ready := active[0].response) is not None:
            active.popleft()
            if not self._is_closing:
                self._transport.write(ready)
        self.idle_since = self._table.now
        parser = self._parser
        if self._waiting or self._unparsed or parser.is_ended or parser.awaits_continue:
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
        elif not self._active[0].keeps_alive:
            self._ignore_rest()

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
        return self._is_answered and not self._is_closing and self._lingers_since is None

    @property
    def is_ending(self) -> bool:
        """Whether all responses were sent, and only the end of the connection is awaited."""
        return self._is_answered and (self._is_closing or self._lingers_since is not None)

    @property
    def _is_answered(self) -> bool:
        return not (self._active or self._waiting or self._unparsed)

    def count_held(self) -> int:
        """Return the number of bytes that wait for the client, or for earlier requests."""
        unsent = int(self._transport.get_write_buffer_size())
        waiting = sum([len(request.body) for request in self._waiting])
        return unsent + len(self._unparsed) + self._parser.message_bytes + waiting

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
            self._parser.is_ended = self._lingers = True

    def abort(self) -> None:
        """Close the connection at once; drop its unsent bytes."""
        self._is_closing = self._parser.is_ended = True
        self._unparsed = b""
        self._table.release(self)
        self._transport.abort()

    def check_timeout(self, now: float) -> None:
        """Close the connection if one of its time-outs is over.

        :param now: the loop's time.
        """
        is_draining = self._table.is_draining
        if self._is_write_paused or self._is_closing:
            self._check_progress(now)
        elif self._lingers_since is not None:
            if self.count_held():
                self._lingers_since = now
                self._check_progress(now)
            elif now - self._lingers_since > (DRAIN_TIMEOUT if is_draining else LINGER_TIMEOUT):
                self.abort()
        elif not self._is_answered:
            return
        elif self._received_since is not None:
            timeout = BODY_TIMEOUT if self._parser.has_head else HEAD_TIMEOUT
            if is_draining:
                timeout = DRAIN_TIMEOUT
            if now - max(self._received_since, self.idle_since) > timeout:
                self._reject(TIMEOUT)
        elif now - self.idle_since > (FIRST_BYTE_TIMEOUT if self._is_new else KEEP_ALIVE_TIMEOUT):
            self.close()

    def _watch_progress(self) -> None:
        """Start the time in which the client must read some of the bytes that wait for it."""
        self._stalled_bytes = self.count_held()
        self._stalled_since = self._table.now

    def _check_progress(self, now: float) -> None:
        held = self.count_held()
        # A connection that is closing and has sent all is a TLS connection. A client that does not
        # read its idle connections would hold up the end of the worker.
        awaits_client = self._table.is_draining and self._is_closing and not held
        if held < self._stalled_bytes:
            self._stalled_since = now
        elif now - self._stalled_since > (DRAIN_TIMEOUT if awaits_client else WRITE_TIMEOUT):
            self.abort()
        self._stalled_bytes = held

    # Steps

    def _feed(self, data: bytes) -> None:
        """Parse bytes, one message at a time, while there is room for more requests."""
        parser, start = self._parser, 0
        had_head = parser.is_receiving and parser.has_head
        try:
            while start < len(data) and not parser.is_ended:
                if (
                    self._waiting
                    or self._unparsed
                    or self._is_write_paused
                    or len(self._active) >= MAX_PIPELINED
                ):
                    self._unparsed += data[start:]
                    self._transport.pause_reading()
                    self._update_held()
                    return
                start = parser.feed(data, start)
        except RejectedError as error:
            self._reject(error.rejection)
            return
        if not parser.is_receiving or parser.is_ended:
            self._received_since = None
        elif self._received_since is None or (parser.has_head and not had_head):
            self._is_new = False
            self._received_since = self._table.loop.time()
        if parser.is_receiving or self.held_bytes:
            self._update_held()
        if parser.awaits_continue:
            self._send_continue()

    def _ignore_rest(self) -> None:
        """Start no other request: the response that is being sent ends with the connection."""
        self._parser.is_ended = True
        if self._waiting or self._unparsed:
            self._lingers = True
            self._waiting.clear()
            if self._unparsed:
                self._unparsed = b""
                self._transport.resume_reading()
            self._update_held()

    def _accept(self, request: Request) -> None:
        """Start a request that was received, or let it wait for its turn."""
        self._is_new = False
        self._received_since = None
        if self._table.is_draining and request.keeps_alive:
            self._parser.is_ended = self._lingers = True
            request.keeps_alive = False
        request.started_at = perf_counter()
        if self._waiting or not self._start(request):
            self._waiting.append(request)

    def _send_continue(self) -> None:
        """Tell the client to send the body that it announced, after the earlier responses."""
        if self._is_answered and not self._is_closing:
            self._parser.awaits_continue = False
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
        self._update_held()
        if self._parser.is_ended and self.is_idle:
            self._end()
        elif self._parser.awaits_continue:
            self._send_continue()

    def _update_held(self) -> None:
        """Let the table count the bytes that the connection holds, unless they are few."""
        if not self._is_closing and self.count_held() > _HELD_BYTES:
            self._table.hold(self)
        elif self.held_bytes:
            self._table.release(self)

    def _end(self) -> None:
        """Close after the last response."""
        if (
            (self._lingers or self._parser.has_more)
            and not self._is_half_closed
            and self._transport.can_write_eof()
        ):
            self._lingers_since = self._table.loop.time()
            self._watch_progress()
            self._transport.write_eof()
        else:
            self.close()

    def _reject(self, rejection: Rejection) -> None:
        """Respond with an error, after the earlier responses, and accept no more requests."""
        request = self._parser.abandon() or Request(self)
        if self._received_since is not None:
            waited = self._table.loop.time() - self._received_since
            request.started_at = perf_counter() - waited
        self._lingers = True
        self._received_since = None
        self._unparsed = b""
        request.keeps_alive = False
        request.response = self._application.render_rejection(rejection, request)
        self._waiting.append(request)
        self._continue()
