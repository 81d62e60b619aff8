"""The way to the store: one round trip, within a deadline, never twice.

Nothing is sent again in here, and what went wrong is told apart by *when* it went wrong: before
sending (not counted) or after (unknown).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import redis
from redis.exceptions import RedisError, ResponseError

from ..errors import (
    DurabilityUnsupportedError,
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from ..forking import ForkSafe
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

#: How many attempts to connect may be under way at the most, all but one of them hanging.
MAX_CONNECTORS = 16


class ConnectionPool(ForkSafe):
    """Connections to one Redis-compatible server, shared by the threads of a process.

    :param target: a URL or a ready :class:`redis.Redis`.
    :param timeout: seconds that one call may take.
    :param durability: what the server must be able to do.
    :ivar attempt_timeout: seconds of them that the store may take to answer, and as many to be
        connected to.
    :raises ConfigurationError: the URL is malformed, or the client is none of redis-py's.
    """

    def __init__(
        self, target: str | redis.Redis, *, timeout: float, durability: Durability = "memory"
    ) -> None:
        self._timeout = timeout
        self._durability = durability
        self.attempt_timeout = timeout * ATTEMPT_SHARE
        self._factory = ConnectionFactory(target, redis, self.attempt_timeout)
        super().__init__()
        self.enter()

    def read(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands that change nothing; no answer is the same as no connection to them.

        :raises StoreUnavailableError: no answer in time.
        :raises StoreRejectedError: the server serves nothing at all.
        """
        try:
            return self._call(commands, any)
        except OutcomeUnknownError as error:
            raise StoreUnavailableError(str(error)) from error.__cause__

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one round trip; an error answer stands in its place in the list.

        :raises what :meth:`round_trip` does.
        """
        return self._call(commands, all)

    def _call(
        self, commands: Sequence[Command], enough: Callable[[Iterable[bool]], bool]
    ) -> list[Any]:
        """Send commands, and once more on a new connection where enough of them need that."""
        deadline = time.monotonic() + self._timeout
        try:
            answers = self.round_trip(lambda: commands, deadline)
        except StoreRejectedError as error:
            if not is_reconnect_reply(error):
                raise
        else:
            if not enough(map(is_reconnect_reply, answers)):
                return answers
        return self.round_trip(lambda: commands, deadline)

    def round_trip(self, prepare: Callable[[], Sequence[Command]], deadline: float) -> list[Any]:
        """Get a connection, send on it what ``prepare`` returns then, and return the answers.

        :param deadline: when both must be over, by :func:`time.monotonic`.
        :raises StoreUnavailableError: nothing was sent.
        :raises StoreRejectedError: the server serves nothing at all (loading, no
            authentication).
        :raises OutcomeUnknownError: it was sent and not every answer came.
        """
        self.enter()
        connection = self._acquire(deadline - self.attempt_timeout)
        answers: list[Any] = []
        usable = stale = False
        try:
            commands = prepare()
            connection.send_packed_command(pack_commands(connection, commands))
            for _ in commands:
                try:
                    answers.append(connection.read_response())
                except ResponseError as error:
                    answers.append(make_rejection(error))
                    stale = stale or must_reconnect(error)
            usable = not stale
        except Exception as error:  # an answer that cannot be parsed is none
            if isinstance(error, REJECTIONS) and not answers:
                stale = must_reconnect(error)
                raise make_rejection(error) from error
            self._invalidate_idle()
            milliseconds = self.attempt_timeout * 1000
            raise OutcomeUnknownError(
                f"the store was asked, and did not answer within {milliseconds:.0f} ms, "
                f"or the connection broke: {error}"
            ) from error
        finally:
            # Also after an interrupt: an answer left unread must not meet the next command.
            if usable:
                self._release(connection)
            else:
                connection.disconnect()
                if stale:
                    self.close()  # the idle ones lead to the same server
        return answers

    def close(self) -> None:
        """Close the idle connections; the store stays usable and dials anew."""
        self.enter()
        with self._lock:
            closing = list(self._idle)
            self._idle.clear()
        for connection in closing:
            connection.disconnect()

    def _invalidate_idle(self) -> None:
        # What broke one connection has probably broken the idle ones as well.
        self._down = True
        self.close()

    def _reset(self) -> None:
        # A parent's sockets are closed here, and not shut down: redis-py compares process ids.
        # Reentrant, for a hit in a signal handler.
        self._lock = threading.RLock()
        self._idle: deque[Any] = deque()
        self._waiters: deque[Future[Any]] = deque()
        self._connector: threading.Thread | None = None
        self._connecting_since = 0.0
        self._connectors = 0
        self._down = False
        self._last_error: BaseException | None = None  # why the last attempt to connect did

    def _acquire(self, deadline: float) -> Any:
        deadline = min(deadline, time.monotonic() + self.attempt_timeout)
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
                if connection is None:
                    if self._down and self._waiters:
                        # In an outage one request at a time finds out whether it is over; were
                        # they all to wait, a server's threads would be used up.
                        known = self._last_error or TimeoutError()
                        away = self._factory.unavailable(known, self.attempt_timeout)
                        raise StoreUnavailableError(f"still away: {away}") from known
                    waiter = self._enqueue_waiter()
            if connection is None:
                if self._connector is threading.current_thread():
                    self._connect_loop()
                return self._wait_for_connection(waiter, deadline)
            if _is_fresh(connection):
                return connection
            connection.disconnect()

    def _release(self, connection: Any) -> None:
        """Hand a connection to who waits longest for one, so that nobody starves."""
        with self._lock:
            if self._waiters:
                self._waiters.popleft().set_result(connection)
            else:
                self._idle.append(connection)

    def _enqueue_waiter(self) -> Future[Any]:
        waiter: Future[Any] = Future()
        self._waiters.append(waiter)
        # In a thread of its own because resolving a host name knows no time-out. One is enough,
        # but for one that hangs: the store may be back before the resolver gives up.
        hangs = time.monotonic() - self._connecting_since > self.attempt_timeout / 2
        if self._connector is None or (hangs and self._connectors < MAX_CONNECTORS):
            connector = threading.Thread(target=self._connect_loop, daemon=True)
            try:
                connector.start()
            except RuntimeError as error:  # the system has no thread to spare
                if threading.main_thread().is_alive():
                    self._waiters.remove(waiter)
                    raise StoreUnavailableError(f"no connection to the store: {error}") from error
                # Since Python 3.12 no thread starts while the interpreter ends: this one connects.
                connector = threading.current_thread()
            self._connector = connector
            self._connecting_since = time.monotonic()
            self._connectors += 1
        return waiter

    def _wait_for_connection(self, waiter: Future[Any], deadline: float) -> Any:
        connection = None
        try:
            connection = waiter.result(max(0.0, deadline - time.monotonic()))
            return connection
        except DurabilityUnsupportedError as error:
            raise DurabilityUnsupportedError(str(error)) from error
        except REJECTIONS as error:
            raise make_rejection(error) from error
        except Exception as error:  # a host name, for one, can fail with a UnicodeError
            self._invalidate_idle()
            # An attempt that hangs says less than the last one that failed.
            known = self._last_error if isinstance(error, TimeoutError) else None
            raise self._factory.unavailable(known or error, self.attempt_timeout) from error
        finally:
            if connection is None:
                self._cancel_wait(waiter)

    def _cancel_wait(self, waiter: Future[Any]) -> None:
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.done() and waiter.exception() is None:  # served in the last moment
                self._idle.append(waiter.result())

    def _connect_loop(self) -> None:
        """Make connections for as long as somebody waits for one."""
        while True:
            with self._lock:
                current = self._connector is threading.current_thread()
                if not (current and self._waiters):
                    self._connector = None if current else self._connector
                    self._connectors -= 1
                    return
                self._connecting_since = time.monotonic()
                present = list(self._waiters)
            try:
                connection = self._factory()
                connection.connect()
                if self._durability == "fsync":
                    _check_fsync(connection)
            except BaseException as error:
                # Who came later has a right to an attempt of its own: the store may be back.
                with self._lock:
                    self._last_error = error
                    for waiter in present:
                        if waiter in self._waiters:
                            self._waiters.remove(waiter)
                            waiter.set_exception(error)
            else:
                self._down = False
                self._last_error = None
                self._release(connection)


def _check_fsync(connection: Any) -> None:
    connection.send_packed_command(pack_commands(connection, WAITAOF_PROBE))
    answers: list[Any] = []
    for _ in WAITAOF_PROBE:
        try:
            answers.append(connection.read_response())
        except ResponseError as error:
            answers.append(error)
    check_fsync(answers)


def _is_fresh(connection: Any) -> bool:
    # A connection that the server closed reads as ready (end of file), or raises.
    try:
        return not connection.can_read(timeout=0)
    except (RedisError, OSError):
        return False
