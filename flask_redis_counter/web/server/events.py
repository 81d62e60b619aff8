"""Server-sent events: live values of counters, for pages that are open in a browser.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterable

from ...async_counter import AsyncRedisCounter
from ...errors import CounterError
from ...log_throttle import LogThrottle
from ...store.keys import counter_key
from ...store.subscriber import CounterSubscriber
from ..http.request import Request
from ..http.stream import ResponseStream
from ..routes.live import ListenerSlot

#: Minimum seconds between two events to one listener.
MIN_EVENT_INTERVAL = 0.25

#: Seconds without an event after which a comment is sent: proxies close silent connections. With
#: the connection's time-out for unacknowledged data, it also finds clients whose network is gone.
HEARTBEAT = 10.0

#: Seconds until values are read again after an error.
READ_RETRY_DELAY = 1.0

#: Number of listeners that are sent something at once. The loop answers hits before the next ones.
BURST = 100

#: Milliseconds after which a browser reconnects, at least and at most (the field ``retry`` of an
#: event stream). Each is told its own time: after a restart, all would come back at once.
RECONNECT_MS = (1000, 4000)

_log = logging.getLogger(__name__)


class _Listener:
    # latest: the newest value of each counter; pending: those that were not sent yet.
    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        self.stream: ResponseStream | None = None
        self.latest: dict[str, int] = {}
        self.pending: dict[str, int] = {}
        self.sent_at = 0.0

    @property
    def reads(self) -> bool:
        return self.stream is not None and self.stream.is_writable

    def send(self, data: bytes) -> None:
        self.sent_at = asyncio.get_running_loop().time()
        if self.stream is not None:
            self.stream.send(data)


class EventBroadcaster:
    """Sends the changes of counters to all listeners of a worker process.

    It uses the worker's one event loop, and the connections of one subscriber. All listeners share
    two tasks: one for events, one for heartbeats.

    :param store: the store's URL.
    :param max_listeners: the maximum number of listeners.
    """

    def __init__(self, store: str, counter: AsyncRedisCounter, max_listeners: int) -> None:
        self._counter = counter
        self._free_slots = max_listeners
        self._is_open = True
        self._subscriber = CounterSubscriber(store, self._on_change)
        self._listeners: dict[str, set[_Listener]] = {}
        self._open: set[_Listener] = set()
        # Counters that may have changed, and listeners that were not sent a change.
        self._stale: set[str] = set()
        self._changed: set[_Listener] = set()
        self._updated_at = 0.0
        self._updates: asyncio.Task[None] | None = None
        self._heartbeats: asyncio.Task[None] | None = None
        self._read_log = LogThrottle(_log, "counters can be read again")

    def reserve(self) -> ListenerSlot:
        """Reserve a slot for a listener before its stream is opened, if one is free."""
        is_free = self._is_open and self._free_slots > 0
        self._free_slots -= is_free
        return ListenerSlot(is_free)

    def release(self, slot: ListenerSlot) -> None:
        """Free a reserved slot."""
        self._free_slots += slot.is_free
        slot.is_free = False

    def open(self, request: Request, headers: list[tuple[str, str]], slot: ListenerSlot) -> None:
        """Send events until the client disconnects, or until :meth:`close`; then free the slot."""
        listener = _Listener(slot.names)
        self._subscribe(listener)

        def closed() -> None:
            self._unsubscribe(listener)
            self.release(slot)

        listener.stream = ResponseStream(request, headers, closed)
        delay = random.randint(*RECONNECT_MS)  # noqa: S311  # no secret
        listener.send(f"retry: {delay}\n\n".encode())
        if not self._is_open:
            listener.stream.end()

    def close(self) -> None:
        """End all streams, and accept no more listeners."""
        self._is_open = False
        for task in (self._updates, self._heartbeats):
            if task is not None:
                task.cancel()
        for listener in list(self._open):
            if listener.stream is not None:
                listener.stream.end()
        self._subscriber.close()

    def _subscribe(self, listener: _Listener) -> None:
        self._open.add(listener)
        if self._heartbeats is None or self._heartbeats.done():
            self._heartbeats = asyncio.get_running_loop().create_task(self._send_heartbeats())
        for name in listener.names:
            listeners = self._listeners.setdefault(name, set())
            if not listeners:
                self._subscriber.subscribe(counter_key(self._counter.prefix, name))
            listeners.add(listener)
            self._on_change(name)  # sends the current value

    def _unsubscribe(self, listener: _Listener) -> None:
        self._open.discard(listener)
        self._changed.discard(listener)
        for name in listener.names:
            listeners = self._listeners[name]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[name]
                self._subscriber.unsubscribe(counter_key(self._counter.prefix, name))

    def _on_change(self, name: str) -> None:
        self._stale.add(name)
        if self._updates is None or self._updates.done():
            self._updates = asyncio.get_running_loop().create_task(self._update())

    async def _update(self) -> None:
        """Read and send values until all are sent, with an interval between two rounds."""
        loop = asyncio.get_running_loop()
        while self._stale or self._changed:
            await asyncio.sleep(self._updated_at + MIN_EVENT_INTERVAL - loop.time())
            self._updated_at = loop.time()
            await self._read()
            await self._send_events()

    async def _read(self) -> None:
        """Read the counters that changed, all in one round trip.

        Published values are not used: all databases of a server share its channels.
        """
        names = self._stale & self._listeners.keys()
        self._stale.clear()
        if not names:
            return
        try:
            values = await self._counter.values(names, default=None, invalid=None)
        except CounterError as error:
            self._read_log.log(logging.INFO, "cannot read counters for live listeners: %s", error)
            self._stale |= names
            await asyncio.sleep(READ_RETRY_DELAY)
            return
        self._read_log.recovered()
        for name, value in values.items():
            for listener in self._listeners.get(name, ()):
                if value is not None and listener.latest.get(name) != value:
                    listener.latest[name] = listener.pending[name] = value
                    self._changed.add(listener)

    async def _send_events(self) -> None:
        """Send the newest values to the listeners that read; the others get newer ones later."""
        encoded: dict[tuple[tuple[str, int], ...], bytes] = {}  # most listeners get the same
        async for listener in _in_bursts([one for one in self._changed if one.reads]):
            self._changed.discard(listener)
            pending = tuple(listener.pending.items())
            listener.pending.clear()
            if pending not in encoded:
                encoded[pending] = "".join(
                    f'data: {{"name": "{name}", "value": {value}}}\n\n' for name, value in pending
                ).encode()
            listener.send(encoded[pending])

    async def _send_heartbeats(self) -> None:
        """Send a comment to each listener that was sent nothing for a while."""
        loop = asyncio.get_running_loop()
        while self._open:
            await asyncio.sleep(HEARTBEAT / 2)
            before = loop.time() - HEARTBEAT / 2
            silent = [one for one in self._open if one.sent_at <= before and one.reads]
            async for listener in _in_bursts(silent):
                listener.send(b":\n\n")


async def _in_bursts(listeners: list[_Listener]) -> AsyncIterator[_Listener]:
    """Iterate over listeners; let the event loop do other work after each :data:`BURST`."""
    for start in range(0, len(listeners), BURST):
        for listener in listeners[start : start + BURST]:
            yield listener
        await asyncio.sleep(0)
