"""Accepts the connections of listening sockets."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...log_throttle import LogThrottle
from ..http.connection import FIRST_BYTE_TIMEOUT
from ..http.connection_table import ConnectionTable

#: Maximum connections that are accepted before the event loop handles other events.
ACCEPTS_AT_ONCE = 64

#: Seconds after which a TLS handshake may be given up to make room for another connection, ahead of
#: connections that are idle.
HANDSHAKE_TIME = 1.0

#: Seconds until connections are accepted again after the process has run out of files or memory.
RETRY_DELAY = 1.0

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_log = logging.getLogger(__name__)


class Acceptor:
    """Accepts connections in the running event loop.

    uvloop's own servers accept one connection per iteration of the loop. While requests compute in
    threads, an iteration takes milliseconds, because the loop waits for the interpreter's lock: a
    client that comes after hundreds of others would wait for seconds.

    :param listeners: listening sockets; closed by :meth:`close`.
    :param make_protocol: returns the protocol of a new connection.
    :param table: the connections, which a connection joins after its TLS handshake. If there is no
        room for another one, idle ones are closed, or the handshake that has lasted longest is
        given up.
    :param tls: encrypts the connections; None: none is encrypted.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        make_protocol: Callable[[], asyncio.BaseProtocol],
        table: ConnectionTable,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners = listeners
        self._make_protocol = make_protocol
        self._table = table
        self._options: dict[str, Any] = {}
        if tls is not None:
            self._options = {"ssl": tls, "ssl_handshake_timeout": FIRST_BYTE_TIMEOUT}
        # Connections in preparation, the oldest first, and the times at which they were accepted.
        self._tasks: dict[asyncio.Task[None], float] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._log_throttle = LogThrottle(_log, "connections are accepted again")
        for listener in listeners:
            listener.setblocking(False)
        self._start()

    def close(self) -> None:
        """Accept no more connections, and close the listening sockets."""
        if self._retry is not None:
            self._retry.cancel()
        self._stop()
        for listener in self._listeners:
            listener.close()

    def _start(self) -> None:
        self._retry = None
        for listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    def _stop(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # the client has already disconnected
                self._log_throttle.log(logging.ERROR, "cannot accept connections: %s", error)
                if self._retry is None:  # another listener may have failed in the same moment
                    self._stop()
                    self._retry = self._loop.call_later(RETRY_DELAY, self._start)
                return
            if self._log_throttle.lasts:
                self._log_throttle.recovered()
            connection.setblocking(False)
            if self._options:
                self._make_room()
            task = self._loop.create_task(self._connect(connection))
            self._tasks[task] = self._loop.time()
            task.add_done_callback(partial(self._forget, connection))

    def _forget(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            connection.close()

    def _make_room(self) -> None:
        if self._table.has_room(len(self._tasks)):
            return
        oldest = next(iter(self._tasks), None)
        is_slow = oldest and self._loop.time() - self._tasks[oldest] > HANDSHAKE_TIME
        if oldest is not None and (is_slow or not self._table.evict(len(self._tasks))):
            del self._tasks[oldest]
            oldest.cancel()

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make_protocol, connection, **self._options
            )
        except OSError:  # a TLS handshake failed, or timed out
            connection.close()
