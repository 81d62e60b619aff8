"""Named counters in a Redis-compatible store, for threads. Does not need Flask."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Self, TypeVar, Unpack, overload

import redis

from .base_counter import BaseCounter, CounterOptions, load_options
from .counting.dispatcher import Dispatcher
from .counting.hit import Hit, make_pending_hit
from .counting.journal import Journal
from .counting.lanes import Lanes
from .counting.metrics import HitMetrics
from .counting.visitors import VisitorCache
from .errors import StoreError, StoreUnavailableError
from .limits import NO_LIMITS, Limits
from .series import SeriesPoint, Unit
from .spool.replayer import stop_replayer
from .spool.spool import Spool
from .store import info, overview, queries
from .store.cluster_pool import open_pool
from .store.confirmation import confirm
from .store.info import StoreInfo
from .store.keys import counter_key
from .store.operation import Operation, run
from .store.overview import Overview
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
    """Counters that count each hit once, and report each hit whose outcome is unknown.

    A hit without a reply is sent again, until the timeout is over, under the same sequence number,
    which the store counts once. Concurrent hits share a round trip.

    .. code-block:: python

        with RedisCounter("redis://localhost:6379/0") as counter:
            hit = counter.hit("visits")
            print(f"visit number {hit.value} of {counter.value('visits')}")

    Thread-safe, with gevent too. Forked processes can use it, even after a fork in C (uWSGI).
    Opens connections when it is first used.

    :param store: a URL (``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://``,
        ``redis+cluster://``), or a ready :class:`redis.Redis`, also from ``Sentinel.master_for()``,
        or :class:`redis.RedisCluster`, from which the address and credentials are taken. The
        retries of redis-py are disabled, because a retried hit could count twice.
    :param prefix: prefix of the keys, 0 to 64 characters of ``A-Z a-z 0-9 . _ : / -``.
    :param timeout: maximum seconds for a call, 0.01 to 60.
    :param durability: where a hit must be stored before it is acknowledged: ``memory`` (that of the
        server), ``fsync`` (its disk; Redis 7.2 or Valkey, with ``appendonly``) or ``replica`` (one
        replica; ``replica:2`` to ``replica:5``: that number of replicas).
    :param spool: file for hits that the store does not accept, which are counted later; None:
        such a hit fails.
    :param metrics: records the outcomes of hits; None: create one.
    :param visitors: cache of reported visitors, which the counters of a process can share; None:
        create one.
    :param journal: acknowledged hits that the store may still lose, which the counters of a process
        can share; None: create one.
    :ivar metrics: metrics of the hits; see :meth:`HitMetrics.snapshot`.
    :raises ConfigurationError: an argument is malformed or out of bounds.
    """

    def __init__(
        self,
        store: str | redis.Redis | redis.RedisCluster,
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout: float = DEFAULT_TIMEOUT,
        durability: Durability = "memory",
        spool: Spool | None = None,
        metrics: HitMetrics | None = None,
        visitors: VisitorCache | None = None,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(
            prefix=prefix,
            timeout=timeout,
            durability=durability,
            spool=spool,
            metrics=metrics,
            visitors=visitors,
            journal=journal,
        )
        self._pool = open_pool(store, timeout=self.timeout, durability=self.durability)
        self._replay_pool = self._pool
        self._is_cluster = self._pool.is_cluster
        self._keep_journal(store)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **options: Unpack[CounterOptions]
    ) -> Self:
        """Return a counter with the settings in the environment.

        Reads all ``REDIS_…`` settings, ``COUNTER_PREFIX``, ``COUNTER_TIMEOUT``,
        ``COUNTER_DURABILITY``, ``COUNTER_JOURNAL_MAX``, ``COUNTER_JOURNAL_FULL``,
        ``COUNTER_ON_OUTAGE``, ``COUNTER_SPOOL_DIR`` and ``COUNTER_SPOOL_MAX_MB``, and ignores all
        others.

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
        """Count a hit.

        .. code-block:: python

            try:
                value = counter.hit("visits", idempotency_key=key).value
            except CounterError as error:
                value = None
                print(f"{error.outcome}: {error}")

        :param name: name of the counter, which is created if it does not exist.
        :param amount: number to add, 1 to 2**63 - 1.
        :param idempotency_key: key of this hit, 1 to 255 printable ASCII characters. Hits of a
            counter with the same key count once and get the same value, in all processes,
            until a day after the last of them.
        :param visitor: identifies the visitor, e.g. by an address, for :meth:`series`. Only a hash
            is sent, and salted each day; a spooled hit has no visitor.
        :param client: identifies the client, e.g. by an address, for a rate limit.
        :param limits: limits for the hit. A spooled hit always counts.
        :param ask: False if the store is known to be down: the hit is spooled, or fails as if the
            store was not reached.
        :raises InvalidNameError: the name is invalid.
        :raises InvalidAmountError: the amount is out of bounds.
        :raises InvalidIdempotencyKeyError: the idempotency key is invalid.
        :raises CounterNotFoundError: not counted: the limits do not allow creating a counter.
        :raises TooManyCountersError: not counted: there are as many counters as the limits allow.
        :raises RateLimitExceededError: not counted: the client exceeds the rate limit.
        :raises IdempotencyMemoryError: not counted: the store has no memory for another
            idempotency key.
        :raises IdempotencyKeyReusedError: not counted: the idempotency key was used with another
            amount.
        :raises StoreUnavailableError: not counted: the store was not reached in time.
        :raises StoreRejectedError: not counted: the store is full, read-only, loading, etc.
        :raises OutcomeUnknownError: perhaps counted: the store did not answer. With an idempotency
            key even if this call did not reach the store, because an earlier call may have; repeat
            the call to find out.
        :raises HitSpooledError: not counted yet: the hit is in the spool. With a spool, a
            :class:`StoreError` means that the spool is full or busy, or that its disk fails.
        :raises NotAnIntegerError: not counted: the key holds another type.
        :raises CounterOverflowError: not counted: the value would exceed 2**63 - 1.
        """
        key = counter_key(self.prefix, name)
        self.enter()
        pending = make_pending_hit(
            key, amount, idempotency_key, visitor, client, limits, self.visitors
        )
        if ask:
            self._lanes.get(key).count(pending)
        else:
            pending.started_at = time.monotonic()
            pending.error = StoreUnavailableError(
                "the store was down a moment ago; this hit was not sent"
            )
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

        :param default: returned if the counter does not exist.
        :raises InvalidNameError: the name is invalid.
        :raises NotAnIntegerError: the key holds another type.
        :raises StoreError: the store did not answer in time, or rejected the command.
        """
        return self._read(queries.read(counter_key(self.prefix, name), default))

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

        :param default: value of a counter that does not exist.
        :param invalid: value of a counter whose key holds another type; by default an error.
        :raises InvalidNameError: a name is invalid.
        :raises NotAnIntegerError: a key holds another type, and ``invalid`` is not given.
        :raises StoreError: the store did not answer in time, or rejected the command.
        """
        keys = {name: counter_key(self.prefix, name) for name in names}
        return self._read(queries.read_many(keys, default, invalid))

    def series(self, name: str, *, unit: Unit = "day", days: int = 30) -> list[SeriesPoint]:
        """Return the hits of each of the last days, or of each hour of them; today is last.

        In UTC, by the clock of the process that counted the hit; a day without hits is a zero.
        :meth:`set` and :meth:`reset` do not change it.

        :param unit: ``day`` or ``hour``.
        :param days: number of days including today: 1 to 3660, or 1 to 7 by hour.
        :raises InvalidNameError: the name is invalid.
        :raises InvalidPeriodError: the unit or the days are out of bounds.
        :raises StoreError: the store did not answer in time, or rejected the command.
        """
        return self._read(queries.series(counter_key(self.prefix, name), unit, days))

    def set(
        self, name: str, value: int, *, max_counters: int | None = None, if_absent: bool = False
    ) -> int | None:
        """Set a counter; return its previous value, or None if it did not exist.

        Waits until all connected replicas of the store have it.

        :param value: -2**63 to 2**63 - 1.
        :param max_counters: create the counter only if there are fewer than this; None: always.
        :param if_absent: set the counter only if it does not exist.
        :raises CounterExistsError: the counter exists, with ``if_absent``.
        :raises InvalidNameError: the name is invalid.
        :raises InvalidAmountError: the value is out of bounds.
        :raises TooManyCountersError: the counter does not exist, and there are ``max_counters``.
        :raises NotAnIntegerError: the key holds another type, and was not changed.
        :raises OutcomeUnknownError: perhaps set: the store or its replicas did not confirm it in
            time.
        :raises StoreError: not set: the store was not reached in time, or rejected the command.
        """
        key, value = counter_key(self.prefix, name), check_integer(value, MIN_VALUE)
        limit = Limits(max_counters).counter_limit
        return self._change(key, queries.set_value(key, value, limit, if_absent, self._is_cluster))

    def reset(self, name: str) -> int | None:
        """Set a counter to 0 and return its previous value; see :meth:`set` for the errors."""
        return self.set(name, 0)

    def delete(self, name: str) -> int | None:
        """Delete a counter with its records; return its value, or None if it did not exist.

        Idempotency keys stay: a repeated hit does not count again. Waits until all connected
        replicas of the store have deleted it, too.

        :raises InvalidNameError: the name is invalid.
        :raises NotAnIntegerError: the key holds another type, and was not changed.
        :raises OutcomeUnknownError: perhaps deleted: the store or its replicas did not confirm it
            in time.
        :raises StoreError: not deleted: the store was not reached in time, or rejected the command.
        """
        key = counter_key(self.prefix, name)
        return self._change(key, queries.delete(key, self._is_cluster))

    def names(self, *, after: str = "", limit: int | None = None) -> list[str]:
        """Return the names of all counters, sorted.

        If another client created the key of a counter, its name is listed after the first
        :meth:`hit` or :meth:`set`.

        :param after: only names after this one.
        :param limit: maximum number of names; None: all, in pages; the timeout is for each page.
        :raises StoreError: the store did not answer in time, or rejected the command.
        """
        return self._read(queries.names(self.prefix, after, limit))

    def ping(self) -> None:
        """Check that the store answers.

        :raises StoreError: the store did not answer in time, or rejected the command.
        """
        self._read(queries.ping())

    def check_ready(self) -> None:
        """Check that the store would accept a hit, without counting.

        It would not if it is a read-only replica, is full, lacks the disk or the replica that
        the durability needs, or does not let the user run the commands of a hit.

        :raises StoreError: the store did not answer in time, or would reject a hit.
        """
        keys, timeout = self._pool.ready_keys(self.prefix), self._pool.attempt_timeout
        self._read(
            queries.check_ready(self.prefix, self.durability, timeout, keys, self._is_cluster)
        )

    def durability_warnings(self) -> list[str]:
        """Return warnings about settings of the store that may lose acknowledged hits.

        :raises StoreError: the store did not answer in time.
        """
        return list(self._read(info.durability_warnings()).values())

    def store_info(self) -> StoreInfo:
        """Return server, version, memory and persistence of the store.

        :raises StoreError: the store did not answer in time, or rejected the command.
        """
        return self._read(info.store_info())

    def overview(
        self,
        names: Iterable[str] = (),
        *,
        after: str | None = None,
        limit: int = 20,
        days: int = 30,
    ) -> Overview:
        """Read many counters with their days, and the store's info, in two round trips.

        :param names: first counters of the result.
        :param after: add the counters after this name; None: add none.
        :param limit: maximum number of counters to add.
        :param days: number of days including today: 1 to 3660.
        :raises InvalidNameError: a name is invalid.
        :raises InvalidPeriodError: the days are out of bounds.
        :raises StoreError: the store did not answer in time, or rejected the command.
        """
        return self._read(overview.overview(self.prefix, names, after, limit, days))

    def start_replaying(self) -> None:
        """Start to replay the spool now, rather than with the first call in this process.

        Only for a process that does not fork: a thread that writes to the spool must not be copied.
        """
        self.enter()

    def close(self) -> None:
        """Stop the replayer and close idle connections. The counter can still be used."""
        if self.spool is not None:
            stop_replayer(self.spool)
        self.journal.close()
        self._pool.close()

    def __enter__(self) -> Self:
        self.start_replaying()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reset(self) -> None:
        # A forked process is another writer, and must not send hits of its parent.
        self._lanes = Lanes(
            self._pool.lane,
            partial(
                Dispatcher,
                self._pool,
                timeout=self.timeout,
                durability=self.durability,
                metrics=self.metrics,
                journal=self.journal,
            ),
        )
        super()._reset()

    def _change(self, key: str, operation: Operation[_T]) -> _T:
        probed = key if self._is_cluster else None
        confirmed = confirm(operation, self.durability, self._pool.attempt_timeout, probed)
        deadline = time.monotonic() + self.timeout
        return run(confirmed, partial(self._pool.execute, deadline=deadline, near=key))

    def _read(self, operation: Operation[_T]) -> _T:
        self.enter()
        return run(operation, self._pool.read)
