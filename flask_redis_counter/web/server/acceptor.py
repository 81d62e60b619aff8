"""Accepts the connections of one listening socket."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from ...log_throttle import LogThrottle
from ..http.connection import FIRST_BYTE_TIMEOUT

#: Maximum connections that are accepted before the event loop handles other events.
ACCEPTS_AT_ONCE = 64

#: Seconds until connections are accepted again after the process has run out of files or memory.
RETRY_DELAY = 1.0

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_log = logging.getLogger(__name__)


class Acceptor:
    """Accepts connections in the running event loop.

    uvloop's own servers accept one connection per iteration of the loop. While requests compute in
    threads, an iteration takes milliseconds, because the loop waits for the interpreter's lock: a
    client that comes after hundreds of others would wait for seconds.

    :param listener: a listening socket; closed by :meth:`close`.
    :param make_protocol: returns the protocol of a new connection.
    :param tls: encrypts the connections; None: none is encrypted.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._options: dict[str, Any] = {}
        if tls is not None:
            self._options = {"ssl": tls, "ssl_handshake_timeout": FIRST_BYTE_TIMEOUT}
        # Connections in preparation; the loop has only weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._log_throttle = LogThrottle(_log, "connections are accepted again")
        listener.setblocking(False)
        self._start()

    def close(self) -> None:
        """Accept no more connections, and close the listening socket."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _start(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # the client has already disconnected
                self._log_throttle.log(logging.ERROR, "cannot accept connections: %s", error)
                self._loop.remove_reader(self._listener)
                self._retry = self._loop.call_later(RETRY_DELAY, self._start)
                return
            if self._log_throttle.lasts:
                self._log_throttle.recovered()
            connection.setblocking(False)
            task = self._loop.create_task(self._connect(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make_protocol, connection, **self._options
            )
        except OSError:  # a TLS handshake failed, or timed out
            connection.close()
