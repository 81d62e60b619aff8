"""Connection pool for threads: round trips within a deadline.

A command that may have been executed is never sent again here. The class of an error says when it
occurred: before sending (not executed), or after (outcome unknown).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

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
    ask,
    check_fsync,
    pack_commands,
)
from .keys import ready_key
from .replies import REJECTIONS, is_reconnect_reply, make_rejection, must_reconnect
from .target import Target

#: Maximum concurrent attempts to connect. Another one starts only if the others hang.
MAX_CONNECTORS = 16


class Part(NamedTuple):
    """A server of a store.

    :ivar name: distinguishes it from the others.
    :ivar pool: connections to it.
    :ivar owns: returns whether it has a key; None: it has all.
    """

    name: str
    pool: ConnectionPool
    owns: Callable[[str], bool] | None = None


class ConnectionPool(ForkSafe):
    """Connections to one Redis-compatible server, shared by the threads of a process.

    :param target: a URL, a ready :class:`redis.Redis`, or its parsed arguments.
    :param timeout: seconds that one call may take.
    :param durability: checked on each new connection.
    :ivar attempt_timeout: seconds for connecting, and again for the replies.
    :raises ConfigurationError: the URL is invalid, or the target is not a client of redis-py.
    """

    is_cluster = False

    def __init__(
        self,
        target: str | redis.Redis | Target,
        *,
        timeout: float,
        durability: Durability = "memory",
    ) -> None:
        self._timeout = timeout
        self._durability = durability
        self.attempt_timeout = timeout * ATTEMPT_SHARE
        self._factory = ConnectionFactory(target, redis, self.attempt_timeout)
        super().__init__()
        self.enter()

    def read(self, commands: Sequence[Command], near: str | None = None) -> list[Any]:
        """Send commands that change nothing, so that no outcome is unknown.

        :param near: a key, for a :class:`.ClusterPool`.
        :raises StoreUnavailableError: no connection or no reply in time.
        :raises StoreRejectedError: the server rejects all commands (loading, no authentication).
        """
        try:
            return self._send_with_retry(commands, any)
        except OutcomeUnknownError as error:
            raise StoreUnavailableError(str(error)) from error.__cause__

    def execute(
        self, commands: Sequence[Command], deadline: float | None = None, near: str | None = None
    ) -> list[Any]:
        """Send commands in one round trip; an error reply is a StoreRejectedError in the list.

        Raises the errors of :meth:`round_trip`.

        :param deadline: end of the round trip, by :func:`time.monotonic`; None: that of a call
            that begins now.
        :param near: a key, for a :class:`.ClusterPool`.
        """
        if deadline is not None and time.monotonic() > deadline - self.attempt_timeout:
            raise StoreUnavailableError("no time left to send the command")
        return self._send_with_retry(commands, all, deadline)

    def _send_with_retry(
        self,
        commands: Sequence[Command],
        condition: Callable[[Iterable[bool]], bool],
        deadline: float | None = None,
    ) -> list[Any]:
        """Send commands, and retry once on a new connection if the replies ask for that.

        :param condition: ``any`` or ``all``: how many of the replies must ask for it.
        """
        deadline = time.monotonic() + self._timeout if deadline is None else deadline
        try:
            replies = self.round_trip(lambda _: commands, deadline)
        except StoreRejectedError as error:
            if not is_reconnect_reply(error):
                raise
        else:
            if not condition(map(is_reconnect_reply, replies)):
                return replies
        return self.round_trip(lambda _: commands, deadline)

    def round_trip(
        self, prepare: Callable[[str], Sequence[Command]], deadline: float, near: str = ""
    ) -> list[Any]:
        """Get a connection, send commands on it, and return the replies.

        :param prepare: called with the server's history when there is a connection; returns the
            commands.
        :param deadline: end of both steps, by :func:`time.monotonic`.
        :param near: a key, for a :class:`.ClusterPool`.
        :raises StoreUnavailableError: nothing was sent.
        :raises StoreRejectedError: the server rejects all commands (loading, no
            authentication).
        :raises OutcomeUnknownError: the commands were sent, and a reply is missing.
        """
        self.enter()
        connection = self._acquire(deadline - self.attempt_timeout)
        replies: list[Any] = []
        usable = is_stale = False
        try:
            commands = prepare(connection.history)
            connection.send_packed_command(pack_commands(connection, commands))
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except ResponseError as error:
                    replies.append(make_rejection(error))
                    is_stale = is_stale or must_reconnect(error)
            usable = not is_stale
        except Exception as error:  # a reply that cannot be parsed counts as missing
            if isinstance(error, REJECTIONS) and not replies:
                is_stale = must_reconnect(error)
                raise make_rejection(error) from error
            self._invalidate_idle()
            milliseconds = self.attempt_timeout * 1000
            raise OutcomeUnknownError(
                f"the command was sent, but the store did not reply within {milliseconds:.0f} ms, "
                f"or the connection broke: {error}"
            ) from error
        finally:
            # Also after an interrupt: the next command must not read an old reply.
            if usable:
                self._release(connection)
            else:
                connection.disconnect()
                if is_stale:
                    self.close()  # idle connections lead to the same server
        return replies

    def lane(self, key: str) -> Hashable:
        """Return what the keys of one server have in common: here all of them."""
        return None

    def parts(self) -> list[Part]:
        """Return the servers: this one."""
        return [Part("", self)]

    def ready_keys(self, prefix: str) -> list[str]:
        """Return for each server a key that is never set."""
        return [ready_key(prefix)]

    def close(self) -> None:
        """Close the idle connections; the pool stays usable, and connects again."""
        self.enter()
        with self._lock:
            closing = list(self._idle)
            self._idle.clear()
        for connection in closing:
            connection.disconnect()

    def _invalidate_idle(self) -> None:
        # The cause that broke one connection has probably broken the idle ones, too.
        self._down = True
        self.close()

    def _reset(self) -> None:
        # redis-py compares process ids: a child closes its parent's sockets without a shutdown.
        # Reentrant, because a signal handler may count.
        self._lock = threading.RLock()
        self._idle: deque[Any] = deque()
        self._waiters: deque[Future[Any]] = deque()
        self._connector: threading.Thread | None = None
        self._connecting_since = 0.0
        self._connectors = 0
        self._down = False
        self._last_error: BaseException | None = None  # of the last attempt to connect

    def _acquire(self, deadline: float) -> Any:
        deadline = min(deadline, time.monotonic() + self.attempt_timeout)
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
                if connection is None:
                    if self._down and self._waiters:
                        # Only one caller at a time waits during an outage. If all did, they would
                        # use up the threads of a web server.
                        cause = self._last_error or TimeoutError()
                        error = self._factory.make_unavailable(cause, self.attempt_timeout)
                        raise StoreUnavailableError(f"still down: {error}") from cause
                    waiter = self._enqueue_waiter()
            if connection is None:
                if self._connector is threading.current_thread():
                    self._connect_loop()
                return self._wait_for_connection(waiter, deadline)
            if _is_fresh(connection) and self._factory.is_current(connection):
                return connection
            connection.disconnect()

    def _release(self, connection: Any) -> None:
        """Give a connection to the longest waiting caller, or keep it as idle."""
        with self._lock:
            if self._waiters:
                self._waiters.popleft().set_result(connection)
            else:
                self._idle.append(connection)

    def _enqueue_waiter(self) -> Future[Any]:
        waiter: Future[Any] = Future()
        self._waiters.append(waiter)
        # A thread connects, because resolving a host name has no timeout. Another one is started
        # only if it hangs: the store may be back before the resolver gives up.
        hangs = time.monotonic() - self._connecting_since > self.attempt_timeout / 2
        if self._connector is None or (hangs and self._connectors < MAX_CONNECTORS):
            connector = threading.Thread(target=self._connect_loop, daemon=True)
            try:
                connector.start()
            except RuntimeError as error:  # the system is out of threads
                if threading.main_thread().is_alive():
                    self._waiters.remove(waiter)
                    raise StoreUnavailableError(f"no connection to the store: {error}") from error
                # Python 3.12 starts no thread while the interpreter exits: connect in this one.
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
        except Exception as error:  # a host name may raise a UnicodeError, for instance
            self._invalidate_idle()
            # The error of the last failed attempt is more specific than this timeout.
            cause = self._last_error if isinstance(error, TimeoutError) else None
            raise self._factory.make_unavailable(cause or error, self.attempt_timeout) from error
        finally:
            if connection is None:
                self._cancel_wait(waiter)

    def _cancel_wait(self, waiter: Future[Any]) -> None:
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.done() and waiter.exception() is None:  # got one just after the timeout
                self._idle.append(waiter.result())

    def _connect_loop(self) -> None:
        """Make connections while there are waiting callers."""
        while True:
            with self._lock:
                current = self._connector is threading.current_thread()
                if not (current and self._waiters):
                    self._connector = None if current else self._connector
                    self._connectors -= 1
                    return
                self._connecting_since = time.monotonic()
                waiters = list(self._waiters)
            try:
                connection = self._factory.connect(self.attempt_timeout)
                if self._durability == "fsync":
                    check_fsync(ask(connection, WAITAOF_PROBE))
            except BaseException as error:
                # Callers that came during the attempt get another one: the store may be back.
                with self._lock:
                    self._last_error = error
                    for waiter in waiters:
                        if waiter in self._waiters:
                            self._waiters.remove(waiter)
                            waiter.set_exception(error)
            else:
                self._down = False
                self._last_error = None
                self._release(connection)


def _is_fresh(connection: Any) -> bool:
    # can_read() of a connection that the server closed is true (end of file), or raises.
    try:
        return not connection.can_read(timeout=0)
    except (RedisError, OSError):
        return False
