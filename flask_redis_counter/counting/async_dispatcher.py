"""Carries batches in an event loop: one task while there is something to carry."""

from __future__ import annotations

import asyncio
import math

from ..errors import CounterError, StoreError
from ..store.async_pool import AsyncConnectionPool
from ..validation import Durability
from .batch import Batch
from .batcher import SYNC_SHARE, Batcher
from .hit import PendingHit
from .metrics import HitMetrics


class AsyncDispatcher:
    """Sends hits in batches over one store, in its event loop: there it is one writer.

    :param timeout: seconds that one hit may take.
    :param durability: what a hit waits for.
    :param metrics: takes note of what was sent and answered.
    """

    def __init__(
        self,
        store: AsyncConnectionPool,
        *,
        timeout: float,
        durability: Durability,
        metrics: HitMetrics,
    ) -> None:
        self._store = store
        self._timeout = timeout
        self._metrics = metrics
        self._combiner = Batcher(durability, int(store.patience * SYNC_SHARE * 1000))
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def count(self, hit: PendingHit) -> None:
        """Count, and give the hit its outcome, within the deadline."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        hit.started_at = now
        hit.deadline = now + self._timeout
        try:
            batch = self._combiner.add(hit, now)
        except CounterError as error:
            hit.error = error
            return
        hit.wake = loop.create_future()
        if batch is None and (self._pump is None or self._pump.done()):
            batch = self._combiner.flying  # who carried the last one was cancelled
        if batch is not None:
            self._pump = loop.create_task(self._carry_all(batch))
        if self._timer is None:
            self._timer = loop.call_at(hit.deadline, self._expire)
        try:
            await hit.wake
        finally:
            if hit.waits:  # cancelled
                self._combiner.leave(hit)

    async def _carry_all(self, batch: Batch | None) -> None:
        while batch is not None:
            try:
                await self._carry(batch)
            except BaseException:  # cancelled, for one where the loop comes to its end
                if batch.sent:
                    batch.unsettle()
                raise
            finally:
                batch.give_up(math.inf)
                # Where the loop was blocked for long, another has taken over.
                ours = self._combiner.flying is batch
                self._combiner.finish(batch)
                _wake(batch.hits)
            batch = self._combiner.flying if ours else None

    async def _carry(self, batch: Batch) -> None:
        """Send a batch until it is answered, or there is no time for another attempt."""
        loop = asyncio.get_running_loop()
        deadline = batch.hits[
            -1
        ].deadline  # who joins it later, while the store is away, fails with it
        while True:
            try:
                answers = await self._store.exchange(batch.commands, deadline)
            except StoreError as error:
                self._metrics.failed_round_trip()
                batch.fail(error)
            else:
                self._metrics.settled(batch.take(answers), loop.time())
            if batch.over:
                return
            pause = batch.pause()
            if loop.time() + pause + self._store.patience > deadline:
                return
            await asyncio.sleep(pause)

    def _expire(self) -> None:
        """Let go of those whose deadline is over; one timer for all, most never need it."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting = self._combiner.waiting()
        late = [hit for hit in waiting if hit.deadline <= now]
        for hit in late:
            self._combiner.leave(hit)
        _wake(late)
        deadline = min((hit.deadline for hit in waiting if hit.waits), default=None)
        self._timer = None if deadline is None else loop.call_at(deadline, self._expire)


def _wake(hits: list[PendingHit]) -> None:
    for hit in hits:
        if not hit.wake.done():
            hit.wake.set_result(None)
