"""Named counters for asyncio, with the methods of :class:`RedisCounter` as coroutines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self, TypeVar, Unpack, overload

import redis.asyncio

from .base_counter import BaseCounter, CounterOptions, load_options
from .counting.async_dispatcher import AsyncDispatcher
from .counting.hit import Hit, PendingHit, make_pending_hit
from .counting.journal import Journal
from .counting.lanes import Lanes
from .counting.metrics import HitMetrics
from .counting.per_loop import PerLoop
from .counting.visitors import VisitorCache
from .errors import ConfigurationError, StoreError
from .limits import NO_LIMITS, Limits
from .series import SeriesPoint, Unit
from .spool.replayer import stop_replayer
from .spool.spool import Spool
from .store import cluster_pool, info, overview, queries
from .store.async_cluster_pool import AsyncClusterPool
from .store.async_pool import AsyncConnectionPool
from .store.confirmation import confirm
from .store.connections import ConnectionFactory
from .store.info import StoreInfo
from .store.keys import counter_key
from .store.operation import Operation, run_async
from .store.overview import Overview
from .store.queries import RAISE
from .store.target import parse_target
from .validation import (
    DEFAULT_PREFIX,
    DEFAULT_TIMEOUT,
    MIN_VALUE,
    Durability,
    check_integer,
)

_T = TypeVar("_T")


class _Loop:
    """State of a counter in one event loop: connections, and dispatchers."""

    __slots__ = ("lanes", "pool")

    def __init__(
        self,
        open_pool: Callable[[], AsyncConnectionPool | AsyncClusterPool],
        timeout: float,
        durability: Durability,
        metrics: HitMetrics,
        journal: Journal,
    ) -> None:
        self.pool = pool = open_pool()
        self.lanes = Lanes(
            pool.lane,
            lambda: AsyncDispatcher(
                pool, timeout=timeout, durability=durability, metrics=metrics, journal=journal
            ),
        )

    async def close(self) -> None:
        await self.pool.close()
        await asyncio.sleep(0)  # asyncio closes the sockets in the next iteration


class AsyncRedisCounter(BaseCounter):
    """Counters that count each hit once, for asyncio.

    Arguments, guarantees and errors are those of :class:`RedisCounter`. Concurrent hits of one
    event loop share a round trip. A hit whose task is cancelled may have counted.

    .. code-block:: python

        async with AsyncRedisCounter("redis://localhost:6379/0") as counter:
            hit = await counter.hit("visits")
            print(f"visit number {hit.value}")

    Thread-safe. Each event loop has its own connections and writer id, even if several loops run at
    once or one after the other, as with Flask's async views. The connections are closed when the
    loop ends.

    :param store: a URL, or a ready :class:`redis.asyncio.Redis` or
        :class:`redis.asyncio.RedisCluster`, from which the address and credentials are taken. With
        a spool it must be a URL, because a thread replays the spool.
    """

    def __init__(
        self,
        store: str | redis.asyncio.Redis | redis.asyncio.RedisCluster,
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
        target = parse_target(store, redis.asyncio)
        self._is_cluster = target.cluster is not None
        open_pool: Callable[[], AsyncConnectionPool | AsyncClusterPool]
        if target.cluster is None:
            factory = ConnectionFactory(target, redis.asyncio, None)
            open_pool = partial(AsyncConnectionPool, factory)
        else:
            open_pool = partial(AsyncClusterPool, target)
        open_pool = partial(open_pool, timeout=self.timeout, durability=self.durability)
        self._keep_journal(store)
        self._loops = PerLoop(
            partial(_Loop, open_pool, self.timeout, self.durability, self.metrics, self.journal),
            _Loop.close,
        )
        if spool is not None:
            if not isinstance(store, str):
                raise ConfigurationError("store", "must be a URL if there is a spool")
            self._replay_pool = cluster_pool.open_pool(
                store, timeout=self.timeout, durability=self.durability
            )

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **options: Unpack[CounterOptions]
    ) -> Self:
        """Return a counter with the settings in the environment.

        Settings, arguments and errors are those of :meth:`RedisCounter.from_env`.
        """
        url, arguments = load_options(environ, options)
        return cls(url, **arguments)

    async def hit(
        self,
        name: str,
        amount: int = 1,
        *,
        idempotency_key: str | None = None,
        visitor: str | None = None,
        client: str | None = None,
        limits: Limits = NO_LIMITS,
    ) -> Hit:
        """Count a hit; see :meth:`RedisCounter.hit`.

        .. code-block:: python

            hits = await asyncio.gather(*(counter.hit(name) for name in names))
            values = {hit.name: hit.value for hit in hits}
        """
        key = counter_key(self.prefix, name)
        if self._pid != os.getpid():  # self.enter(), on the hot path
            self.enter()
        pending = make_pending_hit(
            key, amount, idempotency_key, visitor, client, limits, self.visitors
        )
        await self._loops.get().lanes.get(key).count(pending)
        await self.settle(pending)
        return Hit(name, pending.result(), pending.replayed, pending.counted)

    def submit(
        self,
        name: str,
        amount: int,
        idempotency_key: str | None,
        visitor: str | None,
        client: str | None,
        limits: Limits,
        done: Callable[[PendingHit], None],
    ) -> None:
        """Count a hit without a task for it, for servers; arguments as those of :meth:`hit`.

        :param done: called once in the running loop when the hit has its outcome, perhaps before
            this method returns. Then await :meth:`settle` if the hit has an error.
        :raises CounterError: an argument is invalid; ``done`` is not called.
        """
        key = counter_key(self.prefix, name)
        if self._pid != os.getpid():  # self.enter(), on the hot path
            self.enter()
        pending = make_pending_hit(
            key, amount, idempotency_key, visitor, client, limits, self.visitors
        )
        self._loops.get().lanes.get(key).submit(pending, done)

    async def settle(self, pending: PendingHit) -> None:
        """Add a hit that the store did not accept to the spool, and record an error."""
        if pending.error is not None:
            if self.spool is not None and isinstance(pending.error, StoreError):
                await asyncio.to_thread(self._add_to_spool, self.spool, pending)
            self.metrics.record_failure(pending, asyncio.get_running_loop().time())

    @overload
    async def value(self, name: str) -> int: ...
    @overload
    async def value(self, name: str, default: _T) -> int | _T: ...
    async def value(self, name: str, default: Any = 0) -> Any:
        """Read a counter; see :meth:`RedisCounter.value`."""
        return await self._read(queries.read(counter_key(self.prefix, name), default))

    @overload
    async def values(self, names: Iterable[str]) -> dict[str, int]: ...
    @overload
    async def values(
        self, names: Iterable[str], default: _T, invalid: _T = RAISE
    ) -> dict[str, int | _T]: ...
    async def values(
        self, names: Iterable[str], default: Any = 0, invalid: Any = RAISE
    ) -> dict[str, Any]:
        """Read many counters in one round trip; see :meth:`RedisCounter.values`."""
        keys = {name: counter_key(self.prefix, name) for name in names}
        return await self._read(queries.read_many(keys, default, invalid))

    async def series(self, name: str, *, unit: Unit = "day", days: int = 30) -> list[SeriesPoint]:
        """Return the hits of the last days; see :meth:`RedisCounter.series`."""
        return await self._read(queries.series(counter_key(self.prefix, name), unit, days))

    async def set(
        self, name: str, value: int, *, max_counters: int | None = None, if_absent: bool = False
    ) -> int | None:
        """Set a counter and return its previous value; see :meth:`RedisCounter.set`."""
        key, value = counter_key(self.prefix, name), check_integer(value, MIN_VALUE)
        limit = Limits(max_counters).counter_limit
        operation = queries.set_value(key, value, limit, if_absent, self._is_cluster)
        return await self._change(key, operation)

    async def reset(self, name: str) -> int | None:
        """Set a counter to 0 and return its previous value; raises the errors of :meth:`set`."""
        return await self.set(name, 0)

    async def delete(self, name: str) -> int | None:
        """Delete a counter and return its value; see :meth:`RedisCounter.delete`."""
        key = counter_key(self.prefix, name)
        return await self._change(key, queries.delete(key, self._is_cluster))

    async def names(self, *, after: str = "", limit: int | None = None) -> list[str]:
        """Return the names of all counters, sorted; see :meth:`RedisCounter.names`."""
        return await self._read(queries.names(self.prefix, after, limit))

    async def ping(self) -> None:
        """Ask the store for a sign of life; see :meth:`RedisCounter.ping`."""
        await self._read(queries.ping())

    async def check_ready(self) -> None:
        """Check that the store would accept a hit; see :meth:`RedisCounter.check_ready`."""
        pool = self._here().pool
        keys, timeout = await pool.ready_keys(self.prefix), pool.attempt_timeout
        await self._read(
            queries.check_ready(self.prefix, self.durability, timeout, keys, self._is_cluster)
        )

    async def durability_warnings(self) -> list[str]:
        """Return warnings; see :meth:`RedisCounter.durability_warnings`."""
        return list((await self._read(info.durability_warnings())).values())

    async def store_info(self) -> StoreInfo:
        """Return facts about the store; see :meth:`RedisCounter.store_info`."""
        return await self._read(info.store_info())

    async def overview(
        self,
        names: Iterable[str] = (),
        *,
        after: str | None = None,
        limit: int = 20,
        days: int = 30,
    ) -> Overview:
        """Read counters and the store's info; see :meth:`RedisCounter.overview`."""
        return await self._read(overview.overview(self.prefix, names, after, limit, days))

    async def aclose(self) -> None:
        """Stop the replayer and close idle connections; see :meth:`RedisCounter.close`."""
        if self.spool is not None:
            await asyncio.to_thread(stop_replayer, self.spool)
        self.journal.close()
        await self._here().pool.close()

    async def __aenter__(self) -> Self:
        self.enter()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _here(self) -> _Loop:
        """Return the state of the running loop, in this process."""
        self.enter()
        return self._loops.get()

    def _reset(self) -> None:
        self._loops.enter()
        super()._reset()

    async def _change(self, key: str, operation: Operation[_T]) -> _T:
        pool = self._here().pool
        probed = key if self._is_cluster else None
        confirmed = confirm(operation, self.durability, pool.attempt_timeout, probed)
        deadline = asyncio.get_running_loop().time() + self.timeout
        return await run_async(confirmed, partial(pool.execute, deadline=deadline, near=key))

    async def _read(self, operation: Operation[_T]) -> _T:
        return await run_async(operation, self._here().pool.read)
