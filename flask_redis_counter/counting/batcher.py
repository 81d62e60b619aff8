"""Collects concurrent hits into batches, of which one is in flight at a time.

A pure state machine without I/O, clock or threads. A dispatcher (one for threads, one for asyncio)
sends the batches, reports their results, and wakes the callers.
"""

from __future__ import annotations

import secrets
from collections import deque

from ..errors import (
    CounterError,
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from ..store.confirmation import MEMORY, Confirmation
from .batch import Batch
from .hit import PendingHit
from .journal import Journal

#: Maximum number of hits in a batch; the others are queued for the next one.
MAX_HITS = 1000


class Batcher:
    """Queue of hits, and the batch in flight.

    Each batcher has a random writer id. It takes a new one after a batch without a reply, so that
    a delayed packet of that batch cannot collide with later batches, and after a reply that says
    that another process uses the same writer id.

    Not thread-safe: the dispatcher for threads holds a lock.

    :param confirmation: what a hit waits for before it is acknowledged.
    :param journal: keeps the acknowledged calls until the store cannot lose them; None: none.
    :param is_listed: False on a cluster: counters are listed before they are created.
    """

    def __init__(
        self,
        confirmation: Confirmation = MEMORY,
        journal: Journal | None = None,
        is_listed: bool = True,
    ) -> None:
        self._confirmation = confirmation
        self._journal = journal
        self._is_listed = is_listed
        self._queue: deque[PendingHit] = deque()
        self._in_flight: Batch | None = None
        self._outage: CounterError | None = None
        self._rotate_writer()

    @property
    def in_flight(self) -> Batch | None:
        """The batch in flight, or None."""
        return self._in_flight

    def add(self, hit: PendingHit, now: float) -> Batch | None:
        """Add a hit; return the batch to send now, or None if the caller must wait.

        :raises StoreRejectedError: the journal is full, and rejects hits.
        :raises StoreUnavailableError: the store is down. Only one batch at a time probes it, so
            that an outage does not block all threads of a server.
        """
        if self._journal is not None and self._journal.rejects:
            raise StoreRejectedError(
                "the journal of acknowledged hits is full: replicas or the disk of the store do "
                "not confirm them"
            )
        in_flight = self._in_flight
        if in_flight is None and not self._queue:
            return self._dispatch([hit])
        if in_flight is not None and now > in_flight.deadline + 1:
            # The leader never called finish(), e.g. because a signal handler raised an exception.
            self._in_flight = in_flight = None
            self._rotate_writer()
        if in_flight is None:
            # This hit becomes the leader, because the callers of the queued hits are asleep.
            return self._dispatch([*self._take(MAX_HITS - 1), hit])
        if self._outage is not None:
            raise StoreUnavailableError(f"the store is still down: {self._outage}")
        if in_flight.is_sent or len(in_flight.hits) >= MAX_HITS:
            self._queue.append(hit)
        else:
            hit.batch = in_flight
            in_flight.hits.append(hit)
        return None

    def pending(self) -> list[PendingHit]:
        """Return the hits that have no outcome yet."""
        in_flight = self._in_flight.hits if self._in_flight else ()
        return [hit for hit in (*in_flight, *self._queue) if hit.is_pending]

    def expire(self, hit: PendingHit) -> None:
        """Set the error of a hit whose deadline is over."""
        if hit.is_pending:
            if hit.batch is None:
                self._queue.remove(hit)
            if hit.batch is None or not hit.batch.is_sent:
                hit.error = StoreUnavailableError("no connection to the store in time")
            else:
                hit.error = OutcomeUnknownError("the store did not answer in time")
                # The batch may still count, e.g. from the spool: no other hit of it may end
                # with "not counted".
                hit.batch.mark_unknown()

    def finish(self, batch: Batch) -> list[PendingHit]:
        """End the turn of a batch's leader; return the hits to wake, the next leader first.

        The newest hit that is still pending becomes the next leader of the batch.
        """
        if batch is not self._in_flight:
            return [hit for hit in batch.hits if not hit.is_leader]
        self._outage = batch.outage
        leader: PendingHit | None = None
        woken: list[PendingHit] = []
        unknown = False
        for hit in batch.hits:
            if hit.value is None:
                unknown = unknown or isinstance(hit.error, OutcomeUnknownError)
            else:
                # Break the reference cycles: else the garbage collector runs every hundred hits.
                hit.batch = hit.call = None
            if hit.is_pending:
                leader = hit
            elif not hit.is_leader:
                woken.append(hit)
        if leader is not None:
            leader.is_leader = True
            batch.deadline = leader.deadline
        else:
            if unknown or batch.is_copied or batch.has_expired_hit:
                self._rotate_writer()
            self._in_flight = None
            if self._queue:
                leader = self._dispatch(self._take(MAX_HITS)).hits[-1]
        return woken if leader is None else [leader, *woken]

    def _take(self, limit: int) -> list[PendingHit]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), limit))]

    def _dispatch(self, hits: list[PendingHit]) -> Batch:
        self._sequence += 1
        batch = Batch(
            hits,
            self._writer,
            self._sequence,
            self._confirmation,
            self._outage is not None,
            self._journal,
            self._is_listed,
        )
        for hit in hits:
            hit.batch = batch
        # The newest hit leads, because its deadline is the latest.
        hits[-1].is_leader = True
        self._in_flight = batch
        return batch

    def _rotate_writer(self) -> None:
        """Take a new writer id."""
        self._writer = secrets.token_hex(8)
        self._sequence = 0
