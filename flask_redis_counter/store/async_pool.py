"""The way to the store for asyncio: what :mod:`.store` promises, in one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from redis.exceptions import ResponseError

from ..errors import OutcomeUnknownError, StoreError, StoreRejectedError, StoreUnavailableError
from ..validation import Durability
from .connections import (
    ATTEMPT_SHARE,
    WAITAOF_PROBE,
    Command,
    ConnectionFactory,
    check_fsync,
    pack_commands,
)
from .replies import REJECTIONS, is_reconnect_reply, make_rejection, must_reconnect

#: How many connections may be open at the same time.
MAX_CONNECTIONS = 16


class AsyncConnectionPool:
    """Connections to one Redis-compatible server, shared by the tasks of one event loop.

    Made in that loop, and used there alone.

    :param connect: makes a connection, not yet connected, without time-outs of its own: they
        would make a task of each command; here they are around it all.
    :param timeout: seconds that one call may take.
    :param durability: what the server must be able to do.
    :ivar attempt_timeout: seconds of them that the store may take to answer, and as many to be
        connected to.
    """

    def __init__(
        self, connect: ConnectionFactory, *, timeout: float, durability: Durability
    ) -> None:
        self._timeout = timeout
        self._durability = durability
        self.attempt_timeout = timeout * ATTEMPT_SHARE
        self._factory = connect
        self._last_error: Exception | None = None  # why the last attempt to connect did
        self._idle: deque[Any] = deque()
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def read(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands that change nothing; raises what :meth:`ConnectionPool.read` does."""
        try:
            return await self._call(commands, any)
        except OutcomeUnknownError as error:
            raise StoreUnavailableError(str(error)) from error.__cause__

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip; raises what :meth:`ConnectionPool.execute` does."""
        return await self._call(commands, all)

    async def _call(
        self, commands: Sequence[Command], enough: Callable[[Iterable[bool]], bool]
    ) -> list[Any]:
        """Send commands, and once more on a new connection where enough of them need that."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            answers = await self.round_trip(lambda: commands, deadline)
        except StoreRejectedError as error:
            if not is_reconnect_reply(error):
                raise
        else:
            if not enough(map(is_reconnect_reply, answers)):
                return answers
        return await self.round_trip(lambda: commands, deadline)

    async def round_trip(
        self, prepare: Callable[[], Sequence[Command]], deadline: float
    ) -> list[Any]:
        """Get a connection, send on it what ``prepare`` returns then, and return the answers.

        :param deadline: when both must be over, by the loop's clock.
        :raises: what :meth:`ConnectionPool.round_trip` does.
        """
        loop = asyncio.get_running_loop()
        timeout = min(deadline - self.attempt_timeout, loop.time() + self.attempt_timeout)
        try:
            async with asyncio.timeout_at(timeout) if self._slots.locked() else nullcontext():
                await self._slots.acquire()
        except TimeoutError as error:
            raise StoreUnavailableError("no connection to the store is free") from error
        try:
            return await self._send(prepare, deadline)
        finally:
            self._slots.release()

    async def _send(self, prepare: Callable[[], Sequence[Command]], deadline: float) -> list[Any]:
        connection = await self._acquire(deadline - self.attempt_timeout)
        answers: list[Any] = []
        usable = stale = False
        # asyncio.timeout would be a tenth of the time that this process spends on a batch.
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self.attempt_timeout, connection._writer.transport.abort)
        try:
            commands = prepare()
            await connection.send_packed_command(
                pack_commands(connection, commands), check_health=False
            )
            for _ in commands:
                try:
                    answers.append(await connection.read_response())
                except ResponseError as error:
                    answers.append(make_rejection(error))
                    stale = stale or must_reconnect(error)
            usable = not stale
        except Exception as error:  # an answer that cannot be parsed is none
            if isinstance(error, REJECTIONS) and not answers:
                stale = must_reconnect(error)
                raise make_rejection(error) from error
            await self.close()  # what broke one connection has probably broken all
            milliseconds = self.attempt_timeout * 1000
            raise OutcomeUnknownError(
                f"the store was asked, and did not answer within {milliseconds:.0f} ms, "
                f"or the connection broke: {str(error) or type(error).__name__}"
            ) from error
        finally:
            timer.cancel()
            # Also after a cancellation: an answer left unread must not meet the next command.
            if usable:
                self._idle.append(connection)
            else:
                await connection.disconnect(nowait=True)
                if stale:
                    await self.close()  # the idle ones lead to the same server
        return answers

    async def close(self) -> None:
        """Close the idle connections; the store stays usable and dials anew."""
        while self._idle:
            connection = self._idle.pop()
            # Not by way of TLS's farewell, which a loop that ends has no time for.
            if connection._writer is not None:
                connection._writer.transport.abort()
            await connection.disconnect(nowait=True)

    async def _acquire(self, deadline: float) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection._reader.at_eof():
                return connection
            await connection.disconnect(nowait=True)
        connection = self._factory()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self.attempt_timeout)):
                await connection.connect()
                if self._durability == "fsync":
                    await _check_fsync(connection)
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if not isinstance(error, Exception) or isinstance(error, StoreError):
                raise
            if isinstance(error, REJECTIONS):
                raise make_rejection(error) from error
            # An attempt that hangs says less than the last one that failed.
            known = self._last_error if isinstance(error, TimeoutError) else None
            self._last_error = known or error
            raise self._factory.unavailable(self._last_error, self.attempt_timeout) from error
        self._last_error = None
        return connection


async def _check_fsync(connection: Any) -> None:
    await connection.send_packed_command(
        pack_commands(connection, WAITAOF_PROBE), check_health=False
    )
    answers: list[Any] = []
    for _ in WAITAOF_PROBE:
        try:
            answers.append(await connection.read_response())
        except ResponseError as error:
            answers.append(error)
    check_fsync(answers)
