"""All connections of a worker: their limits, and one timer for all of their time-outs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from heapq import nsmallest
from typing import TYPE_CHECKING

from .response import DATE

if TYPE_CHECKING:
    from .connection import HTTPConnection

#: Seconds between two checks of all connections; the precision of the time-outs.
CHECK_INTERVAL = 1.0

#: Maximum bytes that all connections of a worker hold: unsent responses, requests of which a part
#: has arrived, and those that wait for earlier ones.
MAX_HELD_BYTES = 32 * 1024 * 1024

#: Share of the connections that is closed at once when there are too many, and the maximum number.
EVICTED_SHARE = 0.02
MAX_EVICTED = 50

# Maximum connections beyond the limit, which wait until their clients have read a 503. They use the
# files that a worker reserves for itself.
_MAX_REJECTED = 50


class ConnectionTable:
    """The open connections of a worker.

    :param max_connections: number of connections beyond which those that have been idle longest
        are closed.
    :ivar now: the loop's time at the last check: a clock with a precision of
        :data:`CHECK_INTERVAL` seconds that costs nothing to read.
    :ivar checked_at: :func:`time.monotonic` of the last check.
    :ivar is_draining: whether the worker stops: each response closes its connection.
    :ivar held_bytes: bytes that the connections hold.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_connections: int) -> None:
        self.loop = loop
        self.max_connections: int = max_connections
        self.now: float = loop.time()
        self.checked_at: float = time.monotonic()
        self.is_draining: bool = False
        self.held_bytes: int = 0
        # In the order of their arrival: of those that are idle equally long, the oldest is closed.
        self._connections: dict[HTTPConnection, None] = {}
        # Connections that make room as soon as they are lost, the oldest first, and whether they
        # were aborted. The others wait until their clients have read, or confirmed the end.
        self._evicted: dict[HTTPConnection, bool] = {}
        # In the order in which they began to hold bytes.
        self._holding: dict[HTTPConnection, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event = asyncio.Event()
        self._on_check: list[Callable[[], object]] = []

    def __len__(self) -> int:
        return len(self._connections)

    def start(self) -> None:
        """Start the timer."""
        self._check()

    def call_on_check(self, function: Callable[[], object]) -> None:
        """Call a function at each check."""
        self._on_check.append(function)

    def add(self, connection: HTTPConnection) -> bool:
        """Add a new connection.

        :returns: False if there are too many connections, and none of them is idle.
        """
        has_room = self.has_room() or self.evict()
        self._connections[connection] = None
        return has_room

    def has_room(self, others: int = 0) -> bool:
        """Return whether there is room for a connection.

        :param others: number of connections that will be added before.
        """
        staying = len(self._connections) - len(self._evicted)
        return staying + others < self.max_connections

    @property
    def is_flooded(self) -> bool:
        """Whether there are too many connections even for a response that says so."""
        return len(self._connections) > self.max_connections + _MAX_REJECTED

    def remove(self, connection: HTTPConnection) -> None:
        """Remove a closed connection."""
        self._connections.pop(connection, None)
        self._evicted.pop(connection, None)
        self.release(connection)
        if not self._connections:
            self._emptied.set()

    def hold(self, connection: HTTPConnection) -> None:
        """Count the bytes that a connection holds.

        Beyond :data:`MAX_HELD_BYTES`, the connections that have held some longest are aborted.
        """
        self._holding.setdefault(connection)
        self._count(connection)
        while self.held_bytes > MAX_HELD_BYTES:
            next(iter(self._holding)).abort()

    def release(self, connection: HTTPConnection) -> None:
        """Stop counting the bytes of a connection."""
        if connection in self._holding:
            del self._holding[connection]
            self.held_bytes -= connection.held_bytes
            connection.held_bytes = 0

    async def drain(self, timeout: float) -> None:
        """Close idle connections, and the others after their responses; abort after the timeout.

        :param timeout: seconds.
        """
        self.is_draining = True
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            self._emptied.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._emptied.wait()
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self.now = now = self.loop.time()
        # Before anything can fail: without the timer there are no time-outs.
        self._timer = self.loop.call_at(now + CHECK_INTERVAL, self._check)
        self.checked_at = time.monotonic()
        DATE.update()
        for connection in self._holding:
            self._count(connection)
        for connection in list(self._connections):
            connection.check_timeout(now)
        for function in self._on_check:
            function()

    def _count(self, connection: HTTPConnection) -> None:
        held = connection.count_held()
        self.held_bytes += held - connection.held_bytes
        connection.held_bytes = held

    def evict(self, others: int = 0) -> bool:
        """Close the connections that have waited longest for a complete request.

        If they are too few, those that end and wait for their clients are aborted.

        :param others: number of connections that will be added before the one that needs room.
        :returns: whether there will be room for it; if not, none is closed.
        """
        staying = len(self._connections) - len(self._evicted)
        needed = staying + others + 1 - self.max_connections
        idle = [one for one in self._connections if one.is_idle]
        count = min(MAX_EVICTED, max(needed, int(self.max_connections * EVICTED_SHARE)))
        closed = nsmallest(count, idle, key=lambda one: one.idle_since)
        if (missing := needed - len(closed)) > 0:
            ending = [one for one in self._connections if one.is_ending]
            ending = [one for one in ending if one not in self._evicted]
            if len(ending) < missing:
                return False
            self._abort(ending[:missing])
        waiting = [one for one, is_aborted in self._evicted.items() if not is_aborted]
        self._abort(waiting[: max(0, len(waiting) + len(closed) - MAX_EVICTED)])
        for connection in closed:
            self._evicted[connection] = False
            connection.close()
        return True

    def _abort(self, connections: list[HTTPConnection]) -> None:
        for connection in connections:
            self._evicted[connection] = True
            connection.abort()
