"""Subscription to channels of one server: one connection in one event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from redis.exceptions import ClusterDownError, MovedError, ResponseError

from ..log_throttle import LogThrottle
from .backoff import Backoff
from .connections import ConnectionFactory
from .replies import REJECTIONS, make_rejection

#: Seconds between two notifications for a counter. Without a throttle, a busy counter would notify
#: every subscribed process of each batch.
THROTTLE = 0.25

#: Seconds without a message after which a PING is sent, and the timeout of its reply.
KEEPALIVE_INTERVAL = 15.0

#: The same, if Sentinels may name another master: the old one may keep its connections open. Also
#: the seconds between two looks at the slot map of a cluster.
SWITCH_CHECK_INTERVAL = 1.0

#: Delays between attempts to connect: up to 0.25 s after the first failure, later up to 4 s.
BACKOFF = Backoff(0.25, 4.0)

#: Seconds that connecting may take.
CONNECT_TIMEOUT = 2.0

# Kinds of replies; those with an "s" belong to a cluster's channels.
_CONFIRMATIONS = (b"subscribe", b"ssubscribe")
_MESSAGES = (b"message", b"smessage")

_log = logging.getLogger(__name__)


class Subscription:
    """Channels whose messages, and the confirmations that they are subscribed, are passed on.

    :param factory: connects to the server.
    :param on_message: called with the channel, in the event loop.
    :param is_sharded: whether the server is a node of a cluster: the channels are those of its
        hash slots, if it has sharded pub/sub (Redis 7).
    :ivar channels: the channels.
    """

    def __init__(
        self, factory: ConnectionFactory, on_message: Callable[[str], None], *, is_sharded: bool
    ) -> None:
        self.channels: set[str] = set()
        self._factory = factory
        self._on_message = on_message
        self._is_sharded = is_sharded
        # First letter of the commands: S for sharded channels, none on a node that is Redis 6.
        self._prefix = ""
        self._confirmed: set[str] = set()
        self._throttled: set[str] = set()
        self._connection: Any = None
        self._listener: asyncio.Task[None] | None = None
        self._log_throttle = LogThrottle(_log, "notifications of hits arrive again")

    def add(self, channel: str) -> None:
        """Subscribe to a channel."""
        self.channels.add(channel)
        self._send("SUBSCRIBE", channel)
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen())

    def remove(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        self.channels.discard(channel)
        self._send("UNSUBSCRIBE", channel)

    def repair(self) -> None:
        """Subscribe again to channels that the server has not confirmed, or has ended."""
        for channel in self.channels - self._confirmed - self._throttled:
            self._send("SUBSCRIBE", channel)

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
                self._prefix = "S" if self._is_sharded else ""
                self._subscribe_all()
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
                self._confirmed.clear()
                self._throttled.clear()
            failures += 1
            await asyncio.sleep(BACKOFF.delay(failures))

    async def _read_messages(self, connection: Any) -> None:
        pinged = False
        interval = SWITCH_CHECK_INTERVAL if self._factory.may_switch else KEEPALIVE_INTERVAL
        while self._factory.is_current(connection):
            try:
                reply = await connection.read_response(timeout=interval)
            except ResponseError as error:
                self._handle_error(error)
                continue
            if reply is None:
                if pinged:
                    raise TimeoutError("no reply to PING")
                self._send("PING")
            pinged = reply is None
            if isinstance(reply, list):
                self._handle_message(reply[0], reply[1].decode())

    def _handle_error(self, error: ResponseError) -> None:
        if self._is_sharded and "unknown command" in str(error):
            if self._prefix:
                self._prefix = ""  # Redis 6: each node passes messages on to all others
                self._subscribe_all()
        elif not isinstance(error, MovedError | ClusterDownError):
            raise error
        # A later repair subscribes again, where the slot map has the channel then.

    def _handle_message(self, kind: bytes, channel: str) -> None:
        if kind in _CONFIRMATIONS:
            self._confirmed.add(channel)
        elif kind not in _MESSAGES:
            self._confirmed.discard(channel)  # it was asked to, or the hash slot has left it
            return
        if channel not in self.channels or channel in self._throttled:
            return
        if kind in _MESSAGES:
            self._throttled.add(channel)
            self._send("UNSUBSCRIBE", channel)
            asyncio.get_running_loop().call_later(
                THROTTLE, self._resubscribe, self._connection, channel
            )
        self._on_message(channel)

    def _resubscribe(self, connection: Any, channel: str) -> None:
        if connection is self._connection and channel in self._throttled:
            self._throttled.discard(channel)
            if channel in self.channels:
                # The confirmation calls back, for messages that were missed.
                self._send("SUBSCRIBE", channel)

    def _subscribe_all(self) -> None:
        # One command each: those of a cluster may only have channels of one hash slot.
        for channel in self.channels:
            self._send("SUBSCRIBE", channel)

    def _send(self, command: str, *channels: str) -> None:
        writer = None if self._connection is None else self._connection._writer
        if writer is not None and not writer.transport.is_closing():
            prefix = self._prefix if channels else ""
            writer.writelines(self._connection.pack_command(prefix + command, *channels))
