"""Server-sent events: a page's numbers rise while somebody looks at it.

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

#: Seconds between the events of a listener, at least.
MIN_EVENT_INTERVAL = 0.25

#: Seconds without an event after which a comment goes out: proxies end what is silent.
HEARTBEAT = 15.0

#: Seconds after which a value is read again that could not be read.
READ_RETRY_DELAY = 1.0

#: Milliseconds after which a browser that was cut off comes back.
RECONNECT_MS = 2000

_log = logging.getLogger(__name__)


class _Listener:
    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.news: dict[str, int] = {}
        self.changed = asyncio.Event()

    def hear(self, name: str, value: int) -> None:
        if self.known.get(name) != value:
            self.known[name] = self.news[name] = value
            self.changed.set()


class EventBroadcaster:
    """All listeners of a worker process, in its one event loop, over one connection.

    :param store: the store's URL.
    :param seats: how many may listen.
    """

    def __init__(self, store: str, counter: AsyncRedisCounter, seats: int) -> None:
        self._counter = counter
        self._seats = seats
        self._open = True
        self._bell = CounterSubscriber(store, self._rang)
        self._listeners: dict[str, set[_Listener]] = {}
        self._feeding: set[asyncio.Task[None]] = set()
        self._stale: set[str] = set()
        self._reading: asyncio.Task[None] | None = None
        self._trouble = LogThrottle(_log, "counters can be read again")

    @contextmanager
    def seat(self) -> Iterator[ListenerSlot]:
        """Keep a place, if there is one, before anything is opened."""
        free = self._open and self._seats > 0
        self._seats -= free
        try:
            yield ListenerSlot(free)
        finally:
            self._seats += free

    async def serve(
        self, proto: HTTPProtocol, headers: list[tuple[str, str]], names: list[str]
    ) -> None:
        """Send events until the client is gone, or :meth:`close`."""
        listener = _Listener()
        events = proto.response_stream(HTTPStatus.OK, headers)
        if not self._open:
            return
        feeding = asyncio.ensure_future(_send_events(events, listener))
        gone = asyncio.ensure_future(proto.client_disconnect())
        self._feeding.add(feeding)
        self._join(listener, names)
        try:
            await asyncio.wait({feeding, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._leave(listener, names)
            self._feeding.discard(feeding)
            for task in (feeding, gone):
                task.cancel()

    def close(self) -> None:
        """End all streams, and take no more listeners."""
        self._open = False
        for feeding in self._feeding:
            feeding.cancel()
        if self._reading is not None:
            self._reading.cancel()
        self._bell.close()

    def _join(self, listener: _Listener, names: list[str]) -> None:
        for name in names:
            listeners = self._listeners.setdefault(name, set())
            if not listeners:
                self._bell.want(counter_key(self._counter.prefix, name))
            listeners.add(listener)
            self._rang(name)  # as it stands now

    def _leave(self, listener: _Listener, names: list[str]) -> None:
        for name in set(names):
            listeners = self._listeners[name]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[name]
                self._bell.leave(counter_key(self._counter.prefix, name))

    def _rang(self, name: str) -> None:
        self._stale.add(name)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        """Read the counters that rang, all of them in one round trip.

        The values are not taken from what was published: another database of the same server
        has the same channels.
        """
        while names := self._stale & self._listeners.keys():
            self._stale.clear()
            try:
                values = await self._counter.values(names, default=None, invalid=None)
            except CounterError as error:
                self._trouble.log(logging.INFO, "no news of hits: %s", error)
                self._stale |= names
                await asyncio.sleep(READ_RETRY_DELAY)
            else:
                self._trouble.recovered()
                self._spread(values)

    def _spread(self, values: dict[str, int | None]) -> None:
        for name, value in values.items():
            for listener in self._listeners.get(name, ()):
                if value is not None:
                    listener.hear(name, value)


async def _send_events(events: Stream, listener: _Listener) -> None:
    """Send what a listener hears of, the newest only, and a sign of life where that is nothing."""
    await events.send_str(f"retry: {RECONNECT_MS}\n\n")
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT):
                await listener.changed.wait()
        except TimeoutError:
            await events.send_str(":\n\n")
            continue
        listener.changed.clear()
        news, listener.news = listener.news, {}
        said = [f'data: {{"name": "{name}", "value": {value}}}\n\n' for name, value in news.items()]
        await events.send_str("".join(said))
        await asyncio.sleep(MIN_EVENT_INTERVAL)
