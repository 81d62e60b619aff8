"""Connection pool for asyncio, with the guarantees of :mod:`.pool`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from ..errors import OutcomeUnknownError, StoreError, StoreRejectedError, StoreUnavailableError
from ..validation import Durability
from .connections import (
    ATTEMPT_SHARE,
    WAITAOF_PROBE,
    Command,
    ConnectionFactory,
    ask_async,
    check_fsync,
    pack_commands,
)
from .keys import ready_key
from .replies import REJECTIONS, is_reconnect_reply, make_rejection, must_reconnect

#: Limit of open connections.
MAX_CONNECTIONS = 16


class AsyncConnectionPool:
    """Connections to one Redis-compatible server, shared by the tasks of one event loop.

    The pool is created in that loop, and used only there.

    :param factory: creates connections without timeouts: redis-py would start a task for each
        command. The pool has timeouts for whole round trips.
    :param timeout: seconds that one call may take.
    :param durability: checked on each new connection.
    :ivar attempt_timeout: seconds for connecting, and again for the replies.
    """

    is_cluster = False

    def __init__(
        self, factory: ConnectionFactory, *, timeout: float, durability: Durability
    ) -> None:
        self._timeout = timeout
        self._durability = durability
        self.attempt_timeout = timeout * ATTEMPT_SHARE
        self._factory = factory
        self._last_error: Exception | None = None  # of the last attempt to connect
        self._idle: deque[Any] = deque()
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def read(self, commands: Sequence[Command], near: str | None = None) -> list[Any]:
        """Send commands that change nothing; raises the errors of ``ConnectionPool.read``."""
        try:
            return await self._send_with_retry(commands, any)
        except OutcomeUnknownError as error:
            raise StoreUnavailableError(str(error)) from error.__cause__

    async def execute(
        self, commands: Sequence[Command], deadline: float | None = None, near: str | None = None
    ) -> list[Any]:
        """Send commands in one round trip, as ``ConnectionPool.execute``; raises its errors.

        :param deadline: end of the round trip, by the loop's clock.
        """
        if (
            deadline is not None
            and asyncio.get_running_loop().time() > deadline - self.attempt_timeout
        ):
            raise StoreUnavailableError("no time left to send the command")
        return await self._send_with_retry(commands, all, deadline)

    async def _send_with_retry(
        self,
        commands: Sequence[Command],
        condition: Callable[[Iterable[bool]], bool],
        deadline: float | None = None,
    ) -> list[Any]:
        """Send commands, and retry once on a new connection if the replies ask for that.

        :param condition: ``any`` or ``all``: how many of the replies must ask for it.
        """
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            replies = await self.round_trip(lambda _: commands, deadline)
        except StoreRejectedError as error:
            if not is_reconnect_reply(error):
                raise
        else:
            if not condition(map(is_reconnect_reply, replies)):
                return replies
        return await self.round_trip(lambda _: commands, deadline)

    async def round_trip(
        self, prepare: Callable[[str], Sequence[Command]], deadline: float, near: str = ""
    ) -> list[Any]:
        """Get a connection, send commands on it, and return the replies.

        Raises the errors of :meth:`ConnectionPool.round_trip`.

        :param prepare: called with the server's history when there is a connection; returns the
            commands.
        :param deadline: end of both steps, by the loop's clock.
        """
        if self._slots.locked():
            await self._wait_for_slot(deadline)
        else:
            await self._slots.acquire()
        try:
            return await self._send(prepare, deadline)
        finally:
            self._slots.release()

    async def _wait_for_slot(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        timeout = min(deadline - self.attempt_timeout, loop.time() + self.attempt_timeout)
        try:
            async with asyncio.timeout_at(timeout):
                await self._slots.acquire()
        except TimeoutError as error:
            raise StoreUnavailableError("no connection to the store is free") from error

    async def _send(
        self, prepare: Callable[[str], Sequence[Command]], deadline: float
    ) -> list[Any]:
        connection = await self._acquire(deadline - self.attempt_timeout)
        replies: list[Any] = []
        usable = is_stale = False
        # asyncio.timeout() would take a tenth of this process's time for a batch.
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self.attempt_timeout, connection._writer.transport.abort)
        try:
            commands = prepare(connection.history)
            await connection.send_packed_command(
                pack_commands(connection, commands), check_health=False
            )
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    replies.append(make_rejection(error))
                    is_stale = is_stale or must_reconnect(error)
            usable = not is_stale
        except Exception as error:  # a reply that cannot be parsed counts as missing
            if isinstance(error, REJECTIONS) and not replies:
                is_stale = must_reconnect(error)
                raise make_rejection(error) from error
            await self.close()  # the cause has probably broken all connections
            milliseconds = self.attempt_timeout * 1000
            raise OutcomeUnknownError(
                f"the command was sent, but the store did not reply within {milliseconds:.0f} ms, "
                f"or the connection broke: {str(error) or type(error).__name__}"
            ) from error
        finally:
            timer.cancel()
            # Also after a cancellation: the next command must not read an old reply.
            if usable:
                self._idle.append(connection)
            else:
                await connection.disconnect(nowait=True)
                if is_stale:
                    await self.close()  # idle connections lead to the same server
        return replies

    def lane(self, key: str) -> Hashable:
        """Return what the keys of one server have in common: here all of them."""
        return None

    async def ready_keys(self, prefix: str) -> list[str]:
        """Return for each server a key that is never set."""
        return [ready_key(prefix)]

    async def close(self) -> None:
        """Close the idle connections; the pool stays usable, and connects again."""
        while self._idle:
            connection = self._idle.pop()
            # Without TLS's closing handshake: an event loop that is ending would not finish it.
            if connection._writer is not None:
                connection._writer.transport.abort()
            await connection.disconnect(nowait=True)

    async def _acquire(self, deadline: float) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection._reader.at_eof() and self._factory.is_current(connection):
                return connection
            await connection.disconnect(nowait=True)
        connection = None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self.attempt_timeout)):
                connection = await self._factory.connect_async(self.attempt_timeout)
                if self._durability == "fsync":
                    check_fsync(await ask_async(connection, WAITAOF_PROBE))
        except BaseException as error:
            if connection is not None:
                await connection.disconnect(nowait=True)
            if not isinstance(error, Exception) or isinstance(error, StoreError):
                raise
            if isinstance(error, REJECTIONS):
                raise make_rejection(error) from error
            # The error of the last failed attempt is more specific than this timeout.
            cause = self._last_error if isinstance(error, TimeoutError) else None
            self._last_error = cause or error
            raise self._factory.make_unavailable(self._last_error, self.attempt_timeout) from error
        self._last_error = None
        return connection
