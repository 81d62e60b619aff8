"""Server-sent events: live values of counters, for pages that are open in a browser.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from ...async_counter import AsyncRedisCounter
from ...errors import CounterError
from ...log_throttle import LogThrottle
from ...store.keys import counter_key
from ...store.subscriber import CounterSubscriber
from ..routes.live import ListenerSlot

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian._granian import RSGIHTTPStreamTransport as Stream

#: Minimum seconds between two events to one listener.
MIN_EVENT_INTERVAL = 0.25

#: Seconds without an event after which a comment is sent: proxies close silent connections.
HEARTBEAT = 15.0

#: Seconds until values are read again after an error.
READ_RETRY_DELAY = 1.0

#: Milliseconds after which a browser reconnects (the field ``retry`` of an event stream).
RECONNECT_MS = 2000

_log = logging.getLogger(__name__)


class _Listener:
    # latest: the newest value of each counter; pending: those that were not sent yet.
    def __init__(self) -> None:
        self.latest: dict[str, int] = {}
        self.pending: dict[str, int] = {}
        self.changed = asyncio.Event()

    def push(self, name: str, value: int) -> None:
        if self.latest.get(name) != value:
            self.latest[name] = self.pending[name] = value
            self.changed.set()


class EventBroadcaster:
    """Sends the changes of counters to all listeners of a worker process.

    It uses the worker's one event loop, and one connection to the store.

    :param store: the store's URL.
    :param max_listeners: the maximum number of listeners.
    """

    def __init__(self, store: str, counter: AsyncRedisCounter, max_listeners: int) -> None:
        self._counter = counter
        self._free_slots = max_listeners
        self._is_open = True
        self._subscriber = CounterSubscriber(store, self._on_change)
        self._listeners: dict[str, set[_Listener]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._stale: set[str] = set()
        self._read_task: asyncio.Task[None] | None = None
        self._read_log = LogThrottle(_log, "counters can be read again")

    @contextmanager
    def reserve(self) -> Iterator[ListenerSlot]:
        """Reserve a slot for a listener before its stream is opened, if one is free."""
        is_free = self._is_open and self._free_slots > 0
        self._free_slots -= is_free
        try:
            yield ListenerSlot(is_free)
        finally:
            self._free_slots += is_free

    async def serve(
        self, proto: HTTPProtocol, headers: list[tuple[str, str]], names: list[str]
    ) -> None:
        """Send events until the client disconnects, or until :meth:`close`."""
        listener = _Listener()
        events = proto.response_stream(HTTPStatus.OK, headers)
        if not self._is_open:
            return
        sending = asyncio.ensure_future(_send_events(events, listener))
        disconnected = asyncio.ensure_future(proto.client_disconnect())
        self._sending.add(sending)
        self._subscribe(listener, names)
        try:
            await asyncio.wait({sending, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._unsubscribe(listener, names)
            self._sending.discard(sending)
            for task in (sending, disconnected):
                task.cancel()

    def close(self) -> None:
        """End all streams, and accept no more listeners."""
        self._is_open = False
        for sending in self._sending:
            sending.cancel()
        if self._read_task is not None:
            self._read_task.cancel()
        self._subscriber.close()

    def _subscribe(self, listener: _Listener, names: list[str]) -> None:
        for name in names:
            listeners = self._listeners.setdefault(name, set())
            if not listeners:
                self._subscriber.subscribe(counter_key(self._counter.prefix, name))
            listeners.add(listener)
            self._on_change(name)  # sends the current value

    def _unsubscribe(self, listener: _Listener, names: list[str]) -> None:
        for name in set(names):
            listeners = self._listeners[name]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[name]
                self._subscriber.unsubscribe(counter_key(self._counter.prefix, name))

    def _on_change(self, name: str) -> None:
        self._stale.add(name)
        if self._read_task is None or self._read_task.done():
            self._read_task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        """Read the counters that changed, all in one round trip.

        Published values are not used: all databases of a server share its channels.
        """
        while names := self._stale & self._listeners.keys():
            self._stale.clear()
            try:
                values = await self._counter.values(names, default=None, invalid=None)
            except CounterError as error:
                self._read_log.log(
                    logging.INFO, "cannot read counters for live listeners: %s", error
                )
                self._stale |= names
                await asyncio.sleep(READ_RETRY_DELAY)
            else:
                self._read_log.recovered()
                self._broadcast(values)

    def _broadcast(self, values: dict[str, int | None]) -> None:
        for name, value in values.items():
            for listener in self._listeners.get(name, ()):
                if value is not None:
                    listener.push(name, value)


async def _send_events(events: Stream, listener: _Listener) -> None:
    """Send the newest values to a listener, and a heartbeat if none changes."""
    await events.send_str(f"retry: {RECONNECT_MS}\n\n")
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT):
                await listener.changed.wait()
        except TimeoutError:
            await events.send_str(":\n\n")
            continue
        listener.changed.clear()
        pending, listener.pending = listener.pending, {}
        lines = [
            f'data: {{"name": "{name}", "value": {value}}}\n\n' for name, value in pending.items()
        ]
        await events.send_str("".join(lines))
        await asyncio.sleep(MIN_EVENT_INTERVAL)
