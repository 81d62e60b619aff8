"""Sends batches from the threads (or gevent greenlets) that call ``hit()``."""

from __future__ import annotations

import threading
import time

from ..errors import CounterError, OutcomeUnknownError, StoreError, StoreUnavailableError
from ..store.cluster_pool import StorePool
from ..store.confirmation import Confirmation
from ..store.connections import Command
from ..validation import Durability
from .batch import Batch
from .batcher import Batcher
from .hit import PendingHit
from .journal import Journal
from .metrics import HitMetrics


class Dispatcher:
    """Sends hits in batches over one connection pool.

    It has no thread of its own: the caller of the leading hit sends the batch and wakes the
    other callers. So a lone hit waits for no other thread.

    :param timeout: seconds for one hit.
    :param durability: where a hit must be stored before it is acknowledged.
    :param metrics: records round trips and outcomes.
    :param journal: keeps the acknowledged calls until the store cannot lose them; None: none.
    """

    def __init__(
        self,
        pool: StorePool,
        *,
        timeout: float,
        durability: Durability,
        metrics: HitMetrics,
        journal: Journal | None = None,
    ) -> None:
        self._pool = pool
        self._timeout = timeout
        self._metrics = metrics
        self._lock = threading.Lock()
        self._batcher = Batcher(
            Confirmation(durability, pool.attempt_timeout), journal, is_listed=not pool.is_cluster
        )
        self._leader_thread: int | None = None

    def count(self, hit: PendingHit) -> None:
        """Send a hit and set its outcome, within the timeout."""
        now = time.monotonic()
        hit.started_at = now
        hit.deadline = now + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            # In a signal handler that interrupted a hit of this thread while it held the lock.
            hit.error = StoreUnavailableError(
                "cannot count inside a signal handler that interrupted another hit"
            )
            return
        try:
            batch = self._batcher.add(hit, now)
            if batch is None:
                hit.waiter = threading.Lock()
                hit.waiter.acquire()
        except CounterError as error:
            hit.error = error
            return
        finally:
            self._lock.release()
        if batch is None and self._leader_thread == threading.get_ident():
            self._abandon(hit)  # in a signal handler that interrupted the leader
        elif batch is None:
            self._wait(hit)
        if hit.is_leader and hit.error is None and hit.batch is not None:
            self._lead_batch(hit, hit.batch)

    def _wait(self, hit: PendingHit) -> None:
        """Wait for the outcome, or until this hit becomes the leader."""
        woken = False
        try:
            woken = hit.waiter.acquire(timeout=max(0.0, hit.deadline - time.monotonic()))
        finally:
            if not woken:
                self._abandon(hit)

    def _abandon(self, hit: PendingHit) -> None:
        with self._lock:
            self._batcher.expire(hit)
            woken = (
                self._batcher.finish(hit.batch) if hit.is_leader and hit.batch is not None else []
            )
        _wake(woken)

    def _lead_batch(self, hit: PendingHit, batch: Batch) -> None:
        self._leader_thread = threading.get_ident()
        try:
            self._send_until_answered(hit, batch)
        except BaseException:
            with self._lock:
                if batch.is_sent:
                    batch.mark_unknown()
                hit.error = OutcomeUnknownError("the hit was interrupted")
            raise
        finally:
            self._leader_thread = None
            with self._lock:
                woken = self._batcher.finish(batch)
            _wake(woken)

    def _send_until_answered(self, hit: PendingHit, batch: Batch) -> None:
        """Send a batch until it is answered or there is no time for another attempt."""

        deadline = hit.deadline

        def commands(history: str) -> list[Command]:
            with self._lock:
                return batch.commands(history)

        while True:
            try:
                replies = self._pool.round_trip(commands, deadline, batch.near)
            except StoreError as error:
                self._metrics.record_failed_round_trip()
                with self._lock:
                    batch.record_failure(error)
            else:
                with self._lock:
                    resolved = batch.apply_replies(replies)
                self._metrics.record_batch(resolved, time.monotonic())
            if batch.done:
                break
            delay = batch.next_delay()
            if time.monotonic() + delay + self._pool.attempt_timeout > deadline:
                break
            time.sleep(delay)
        if hit.is_pending:
            with self._lock:
                batch.expire(deadline)


def _wake(hits: list[PendingHit]) -> None:
    for hit in hits:
        if hit.waiter is not None:
            # Hot path: contextlib.suppress takes five times as long.
            try:  # noqa: SIM105
                hit.waiter.release()
            except RuntimeError:  # already woken
                pass
