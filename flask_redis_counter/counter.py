"""Named counters in a Redis-compatible store. No Flask in here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeVar, Unpack, overload

import redis

from .base_counter import BaseCounter, CounterOptions, load_options
from .counting.batcher import SYNC_SHARE
from .counting.dispatcher import Dispatcher
from .counting.hit import Hit, make_pending_hit
from .counting.metrics import HitMetrics
from .counting.visitors import VisitorCache
from .errors import StoreError, StoreUnavailableError
from .limits import NO_LIMITS, Limits
from .series import SeriesPoint, Unit
from .spool.replayer import stop_replayer
from .spool.spool import Spool
from .store import info, overview, queries
from .store.info import StoreInfo
from .store.keys import counter_key
from .store.operation import Operation, run
from .store.overview import Overview
from .store.pool import ConnectionPool
from .store.queries import RAISE
from .validation import (
    DEFAULT_PREFIX,
    DEFAULT_TIMEOUT,
    MIN_VALUE,
    Durability,
    check_integer,
)

_T = TypeVar("_T")


class RedisCounter(BaseCounter):
    """Counters that count each hit once and never hide that one was lost.

    A hit that gets no answer is sent again under the same number, which the store counts once,
    until the deadline is over. Hits that arrive together share a round trip.

    Thread-safe, also with gevent; a forked child may go on using it, also of a fork in C (uWSGI).
    Opens no connection until it is used.

    :param store: a URL (``redis://``, ``rediss://``, ``unix://``) or a ready
        :class:`redis.Redis`, whose address and credentials are taken over. redis-py's
        own retries are off either way, because each may count once more.
    :param prefix: what the keys begin with, 0 to 64 of ``A-Z a-z 0-9 . _ : / -``.
    :param timeout: seconds that a call may take at the most, 0.01 to 60.
    :param durability: what a hit waits for: ``memory``, the server's answer; ``fsync``, its
        disk (Redis 7.2 or Valkey, with ``appendonly``); ``replica``, one replica.
    :param spool: where a hit is written down that the store did not take, to be counted once
        when it does; None: the hit fails.
    :param metrics: what takes note of what becomes of the hits; None: one of its own.
    :param visitors: cache of the visitors that the store was told of, to be shared by the
        counters of a process; None: one of its own.
    :ivar metrics: the same; its ``reading()`` are numbers for a monitor.
    :raises ConfigurationError: an argument is malformed or out of bounds.
    """

    def __init__(
        self,
        store: str | redis.Redis,
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout: float = DEFAULT_TIMEOUT,
        durability: Durability = "memory",
        spool: Spool | None = None,
        metrics: HitMetrics | None = None,
        visitors: VisitorCache | None = None,
    ) -> None:
        super().__init__(
            prefix=prefix,
            timeout=timeout,
            durability=durability,
            spool=spool,
            metrics=metrics,
            visitors=visitors,
        )
        self._pool = ConnectionPool(store, timeout=self.timeout, durability=self.durability)
        self._replay_pool = self._pool

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **options: Unpack[CounterOptions]
    ) -> Self:
        """Return a counter with the settings in the environment.

        Reads all ``REDIS_…`` settings, ``COUNTER_PREFIX``, ``COUNTER_TIMEOUT``,
        ``COUNTER_DURABILITY``, ``COUNTER_ON_OUTAGE``, ``COUNTER_SPOOL_DIR`` and
        ``COUNTER_SPOOL_MAX_MB``, and ignores all others.

        :param environ: the settings by name; None: ``os.environ``.
        :param options: arguments of the class, which take precedence over the settings.
        :raises ConfigurationError: a setting or an argument is malformed, out of bounds or
            contradictory.
        """
        url, arguments = load_options(environ, options)
        return cls(url, **arguments)

    def hit(
        self,
        name: str,
        amount: int = 1,
        *,
        idempotency_key: str | None = None,
        visitor: str | None = None,
        client: str | None = None,
        limits: Limits = NO_LIMITS,
        ask: bool = True,
    ) -> Hit:
        """Count.

        :param name: the counter, created where it does not exist.
        :param amount: how many at once, 1 to 2**63 - 1.
        :param idempotency_key: key of this hit, 1 to 255 printable ASCII characters. Hits of a
            counter with the same key count once and get the same value, in whatever process,
            until a day after the last of them.
        :param visitor: what tells who it is from others, such as an address, for
            :meth:`series`. Only a hash of it is kept, salted anew each day; a hit that waited
            in a spool has none.
        :param client: what tells who sends it from others, such as an address, for a rate.
        :param limits: what it is counted under. A hit that waited in a spool always counts.
        :param ask: False: do not ask the store, because it is known to be away: the hit goes to
            the spool, or fails as one that did not reach the store.
        :raises InvalidNameError: the name is outside the rules.
        :raises InvalidAmountError: the amount is outside its bounds.
        :raises InvalidIdempotencyKeyError: the token is outside the rules.
        :raises CounterNotFoundError: not counted: the terms let a hit make no counter.
        :raises TooManyCountersError: not counted: there are as many as the terms allow.
        :raises RateLimitExceededError: not counted: the client exceeds the rate limit.
        :raises IdempotencyMemoryError: not counted: the store has no memory for another token.
        :raises IdempotencyKeyReusedError: not counted: the token was used with another amount.
        :raises StoreUnavailableError: not counted: the store was not reached in time.
        :raises StoreRejectedError: not counted: the store is full, read-only, loading …
        :raises OutcomeUnknownError: perhaps counted: the store was asked and did not answer.
            With a token, also where this call did not reach the store, because one before it
            may have; the same call again finds out.
        :raises HitSpooledError: not yet counted: it waits in the spool. With a spool, one of the
            three above says that the spool is full, or that its disk refuses.
        :raises NotAnIntegerError: not counted: the key holds something else.
        :raises CounterOverflowError: not counted: the value would pass 2**63 - 1.
        """
        key = counter_key(self.prefix, name)
        self.enter()
        pending = make_pending_hit(
            key, amount, idempotency_key, visitor, client, limits, self.visitors
        )
        if ask:
            self._dispatcher.count(pending)
        else:
            pending.started_at = time.monotonic()
            pending.error = StoreUnavailableError("the store was away a moment ago: not asked")
        if pending.error is not None:
            if self.spool is not None and isinstance(pending.error, StoreError):
                self._add_to_spool(self.spool, pending)
            self.metrics.record_failure(pending, time.monotonic())
        return Hit(name, pending.result(), pending.replayed, pending.counted)

    @overload
    def value(self, name: str) -> int: ...
    @overload
    def value(self, name: str, default: _T) -> int | _T: ...
    def value(self, name: str, default: Any = 0) -> Any:
        """Read a counter.

        :param default: what to return for a counter that does not exist.
        :raises InvalidNameError: the name is outside the rules.
        :raises NotAnIntegerError: the key holds something else.
        :raises StoreError: the store did not answer in time, or refused.
        """
        return self._ask(queries.read(counter_key(self.prefix, name), default))

    @overload
    def values(self, names: Iterable[str]) -> dict[str, int]: ...
    @overload
    def values(
        self, names: Iterable[str], default: _T, invalid: _T = RAISE
    ) -> dict[str, int | _T]: ...
    def values(
        self, names: Iterable[str], default: Any = 0, invalid: Any = RAISE
    ) -> dict[str, Any]:
        """Read many counters in one round trip.

        :param default: what to return for one that does not exist.
        :param invalid: what to return for one whose key holds something else, if anything.
        :raises InvalidNameError: a name is outside the rules.
        :raises NotAnIntegerError: one of the keys does, and nothing is to stand for it.
        :raises StoreError: the store did not answer in time, or refused.
        """
        keys = {name: counter_key(self.prefix, name) for name in names}
        return self._ask(queries.read_many(keys, default, invalid))

    def series(self, name: str, *, unit: Unit = "day", days: int = 30) -> list[SeriesPoint]:
        """Return the hits of the last days, today's last, or of each hour of them.

        In UTC, by the clock of the process that took the hit; a day without hits is a zero.
        :meth:`set` and :meth:`reset` leave them alone.

        :param unit: ``day`` or ``hour``.
        :param days: how far to go back, today included: 1 to 3660 days, 1 to 7 by hour.
        :raises InvalidNameError: the name is outside the rules.
        :raises InvalidPeriodError: the unit or the days are outside the rules.
        :raises StoreError: the store did not answer in time, or refused.
        """
        return self._ask(queries.series(counter_key(self.prefix, name), unit, days))

    def set(
        self, name: str, value: int, *, max_counters: int | None = None, if_absent: bool = False
    ) -> int | None:
        """Set a counter and return the value that it had, None where it did not exist.

        :param value: -2**63 to 2**63 - 1.
        :param max_counters: make the counter only while there are fewer than so many; None:
            always.
        :param if_absent: set it only where it does not exist.
        :raises CounterExistsError: it does.
        :raises InvalidNameError: the name is outside the rules.
        :raises InvalidAmountError: the value is outside its bounds.
        :raises TooManyCountersError: there is none of that name, and there are too many.
        :raises NotAnIntegerError: the key holds something else, and was left as it is.
        :raises StoreError: the store did not answer in time, or refused; ``counted``
            says whether the counter may have been set.
        """
        operation = queries.set_value(
            counter_key(self.prefix, name),
            check_integer(value, MIN_VALUE),
            Limits(max_counters).counter_limit,
            if_absent,
        )
        return run(operation, self._pool.execute)

    def reset(self, name: str) -> int | None:
        """Set a counter to 0 and return the value that it had; raises what :meth:`set` does."""
        return self.set(name, 0)

    def delete(self, name: str) -> int | None:
        """Delete a counter and what describes it; return its value, None where there was none.

        A repeat of a hit that had counted still does not count.

        :raises InvalidNameError: the name is outside the rules.
        :raises NotAnIntegerError: the key holds something else, and was left as it is.
        :raises StoreError: the store did not answer in time, or refused; ``counted``
            says whether the counter may have been deleted.
        """
        operation = queries.delete(counter_key(self.prefix, name))
        return run(operation, self._pool.execute)

    def names(self, *, after: str = "", limit: int | None = None) -> list[str]:
        """Return the names of all counters, sorted.

        A counter whose key another client has made is among them once it was hit or set here.

        :param after: only those that come after this name.
        :param limit: not more than so many; None: all, in steps that keep to the deadline each.
        :raises StoreError: the store did not answer in time, or refused.
        """
        return self._ask(queries.names(self.prefix, after, limit))

    def ping(self) -> None:
        """Ask the store for a sign of life.

        :raises StoreError: it did not answer in time, or refused.
        """
        self._ask(queries.ping())

    def check_ready(self) -> None:
        """Check that the store would take a hit, without counting.

        It would not where it is a read-only replica, full, without a disk or the replicas that
        it needs, or where the user may not run the commands that count.

        :raises StoreError: it did not answer in time, or would refuse.
        """
        attempt_timeout = self._pool.attempt_timeout * SYNC_SHARE
        self._ask(queries.check_ready(self.prefix, self.durability, attempt_timeout))

    def durability_warnings(self) -> list[str]:
        """Return in words how the store is set up to lose hits that it acknowledged.

        :raises StoreError: it did not answer in time.
        """
        return list(self._ask(info.durability_warnings()).values())

    def store_info(self) -> StoreInfo:
        """Return what the store says of itself.

        :raises StoreError: it did not answer in time, or refused.
        """
        return self._ask(info.store_info())

    def overview(
        self,
        names: Iterable[str] = (),
        *,
        after: str | None = None,
        limit: int = 20,
        days: int = 30,
    ) -> Overview:
        """Read many counters with their days, and about the store, in two round trips.

        :param names: counters to begin with.
        :param after: and those that come after this name; None: no others.
        :param limit: not more than so many of the latter.
        :param days: how far to go back, today included: 1 to 3660 days.
        :raises InvalidNameError: a name is outside the rules.
        :raises InvalidPeriodError: the days are outside the rules.
        :raises StoreError: the store did not answer in time, or refused.
        """
        return self._ask(overview.overview(self.prefix, names, after, limit, days))

    def start_replaying(self) -> None:
        """Begin to count what waits in the spool; otherwise this process's first request does.

        For a process that forks no others: a thread that writes to the spool must not be copied.
        """
        self.enter()

    def close(self) -> None:
        """End the replayer and close the idle connections; the counter stays usable."""
        if self.spool is not None:
            stop_replayer(self.spool)
        self._pool.close()

    def __enter__(self) -> Self:
        self.start_replaying()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reset(self) -> None:
        # Another process is another writer, and carries nothing of its parent's.
        self._dispatcher = Dispatcher(
            self._pool, timeout=self.timeout, durability=self.durability, metrics=self.metrics
        )
        super()._reset()

    def _ask(self, operation: Operation[_T]) -> _T:
        self.enter()
        return run(operation, self._pool.read)
