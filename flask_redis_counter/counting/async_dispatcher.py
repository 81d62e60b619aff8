"""Sends batches in an event loop, from one task that runs while there are hits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from ..errors import CounterError, StoreError
from ..store.async_cluster_pool import AsyncClusterPool
from ..store.async_pool import AsyncConnectionPool
from ..store.confirmation import Confirmation
from ..validation import Durability
from .batch import Batch
from .batcher import Batcher
from .hit import PendingHit
from .journal import Journal
from .metrics import HitMetrics


class AsyncDispatcher:
    """Sends hits of one event loop in batches over one connection pool.

    :param timeout: seconds for one hit.
    :param durability: where a hit must be stored before it is acknowledged.
    :param metrics: records round trips and outcomes.
    :param journal: keeps the acknowledged calls until the store cannot lose them; None: none.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool | AsyncClusterPool,
        *,
        timeout: float,
        durability: Durability,
        metrics: HitMetrics,
        journal: Journal | None = None,
    ) -> None:
        self._pool = pool
        self._timeout = timeout
        self._metrics = metrics
        self._batcher = Batcher(
            Confirmation(durability, pool.attempt_timeout), journal, is_listed=not pool.is_cluster
        )
        self._sender_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def count(self, hit: PendingHit) -> None:
        """Send a hit and set its outcome, within the timeout."""
        future = asyncio.get_running_loop().create_future()

        def release(_: PendingHit) -> None:
            if not future.done():  # cancelled
                future.set_result(None)

        self.submit(hit, release)
        try:
            await future
        finally:
            if hit.is_pending:  # cancelled
                hit.waiter = None
                self._batcher.expire(hit)

    def submit(self, hit: PendingHit, done: Callable[[PendingHit], None]) -> None:
        """Send a hit and set its outcome, within the timeout, without a task for it.

        :param done: called once in the loop when the hit has its outcome, perhaps before this
            method returns.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        hit.started_at = now
        hit.deadline = now + self._timeout
        hit.waiter = done
        try:
            batch = self._batcher.add(hit, now)
        except CounterError as error:
            hit.error = error
            _wake([hit])
            return
        if batch is None and (self._sender_task is None or self._sender_task.done()):
            batch = self._batcher.in_flight  # the sender task was cancelled
        if batch is not None:
            self._sender_task = loop.create_task(self._send_all(batch))
        if self._timer is None:
            self._timer = loop.call_at(hit.deadline, self._expire_overdue)

    async def _send_all(self, batch: Batch | None) -> None:
        is_first = True
        while batch is not None:
            following: Batch | None = None
            try:
                if not is_first:
                    # Hits that have arrived meanwhile join it: under load, it grows by a third.
                    await asyncio.sleep(0)
                await self._send_until_answered(batch)
            except BaseException:  # e.g. cancelled at the end of the loop
                if batch.is_sent:
                    batch.mark_unknown()
                raise
            finally:
                batch.expire(math.inf)
                # False if another task took over after the loop was blocked for long.
                still_sender = self._batcher.in_flight is batch
                self._batcher.finish(batch)
                # Before the callers wake: one of them may start the next batch.
                following = self._batcher.in_flight if still_sender else None
                _wake(batch.hits)
            batch, is_first = following, False

    async def _send_until_answered(self, batch: Batch) -> None:
        """Send a batch until it is answered or there is no time for another attempt."""
        loop = asyncio.get_running_loop()
        # While the store is down, hits that join later fail together with the last of these hits.
        deadline = batch.hits[-1].deadline
        while True:
            try:
                replies = await self._pool.round_trip(batch.commands, deadline, batch.near)
            except StoreError as error:
                self._metrics.record_failed_round_trip()
                batch.record_failure(error)
            else:
                self._metrics.record_batch(batch.apply_replies(replies), loop.time())
            if batch.done:
                return
            delay = batch.next_delay()
            if loop.time() + delay + self._pool.attempt_timeout > deadline:
                return
            await asyncio.sleep(delay)

    def _expire_overdue(self) -> None:
        """Expire the hits whose deadline is over. All hits share one timer; few need it."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting = self._batcher.pending()
        late = [hit for hit in waiting if hit.deadline <= now]
        for hit in late:
            self._batcher.expire(hit)
        _wake(late)
        deadline = min((hit.deadline for hit in waiting if hit.is_pending), default=None)
        self._timer = None if deadline is None else loop.call_at(deadline, self._expire_overdue)


def _wake(hits: list[PendingHit]) -> None:
    for hit in hits:
        done, hit.waiter = hit.waiter, None
        if done is None:
            continue  # woken before
        try:
            done(hit)
        except Exception as error:  # the other callers are waiting, too
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the callback of a hit failed", "exception": error}
            )
