"""Subscriber (Redis pub/sub) to changes of counters: one connection in one event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import redis.asyncio

from ..log_throttle import LogThrottle
from .backoff import Backoff
from .connections import ConnectionFactory
from .keys import CounterKeys, name_from_channel
from .replies import REJECTIONS, make_rejection

#: Seconds between two notifications for a counter. Without a throttle, a busy counter would notify
#: every subscribed process of each batch.
THROTTLE = 0.25

#: Seconds without a message after which a PING is sent, and the timeout of its reply.
KEEPALIVE_INTERVAL = 15.0

#: The same, if Sentinels may name another master: the old one may keep its connections open.
SWITCH_CHECK_INTERVAL = 1.0

#: Delays between attempts to connect: up to 0.25 s after the first failure, later up to 4 s.
BACKOFF = Backoff(0.25, 4.0)

#: Seconds that connecting may take.
CONNECT_TIMEOUT = 2.0

_log = logging.getLogger(__name__)


class CounterSubscriber:
    """Calls back when the value of a counter may have changed.

    Never raises. After an outage of the store, it calls back for each counter, because messages may
    have been missed.

    :param store: a URL.
    :param on_change: called with the name of a counter, in the event loop.
    """

    def __init__(self, store: str, on_change: Callable[[str], None]) -> None:
        self._factory = ConnectionFactory(store, redis.asyncio, None)
        self._on_change = on_change
        self._channels: set[str] = set()
        self._throttled: set[str] = set()
        self._connection: Any = None
        self._listener: asyncio.Task[None] | None = None
        self._log_throttle = LogThrottle(_log, "notifications of hits arrive again")

    def subscribe(self, key: str) -> None:
        """Call back for the counter with this key, first when the subscription is confirmed."""
        channel = CounterKeys(key).live
        self._channels.add(channel)
        self._send("SUBSCRIBE", channel)
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen())

    def unsubscribe(self, key: str) -> None:
        """Stop calling back for the counter with this key; close the connection after the last."""
        channel = CounterKeys(key).live
        self._channels.discard(channel)
        self._send("UNSUBSCRIBE", channel)
        if not self._channels:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._listener is not None:
            self._listener.cancel()
            self._listener = None

    async def _listen(self) -> None:
        failures = 0
        while True:
            connection = None
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    connection = await self._factory.connect_async(CONNECT_TIMEOUT)
                self._connection = connection
                self._send("SUBSCRIBE", *self._channels)
                failures = 0
                self._log_throttle.recovered()
                await self._read_messages(connection)
            except Exception as error:  # a host name may raise a UnicodeError, for instance
                shown = make_rejection(error) if isinstance(error, REJECTIONS) else error
                message = "no notifications of hits: %s"
                self._log_throttle.log(logging.INFO, message, str(shown) or type(error).__name__)
            finally:
                if connection is not None:
                    if self._connection is connection:
                        self._connection = None
                    await connection.disconnect(nowait=True)
                self._throttled.clear()
            failures += 1
            await asyncio.sleep(BACKOFF.delay(failures))

    async def _read_messages(self, connection: Any) -> None:
        pinged = False
        interval = SWITCH_CHECK_INTERVAL if self._factory.may_switch else KEEPALIVE_INTERVAL
        while self._factory.is_current(connection):
            reply = await connection.read_response(timeout=interval)
            if reply is None:
                if pinged:
                    raise TimeoutError("no reply to PING")
                self._send("PING")
            pinged = reply is None
            if isinstance(reply, list) and reply[0] in (b"message", b"subscribe"):
                self._notify(reply[1].decode(), reply[0] == b"message")

    def _notify(self, channel: str, message: bool) -> None:
        if channel not in self._channels or channel in self._throttled:
            return
        if message:
            self._throttled.add(channel)
            self._send("UNSUBSCRIBE", channel)
            asyncio.get_running_loop().call_later(
                THROTTLE, self._resubscribe, self._connection, channel
            )
        self._on_change(name_from_channel(channel))

    def _resubscribe(self, connection: Any, channel: str) -> None:
        if connection is self._connection and channel in self._throttled:
            self._throttled.discard(channel)
            if channel in self._channels:
                # The confirmation calls back, for messages that were missed.
                self._send("SUBSCRIBE", channel)

    def _send(self, *command: str) -> None:
        if self._connection is not None and self._connection._writer is not None:
            self._connection._writer.writelines(self._connection.pack_command(*command))
