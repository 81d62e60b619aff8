"""Hits that arrive together leave together: one batch in flight, the next one gathering.

A pure state machine: no I/O, no clock, no threads in here. A driver carries the batches, tells
what became of them, and wakes those who wait; there is one for threads and one for asyncio.
"""

from __future__ import annotations

import secrets
from collections import deque

from ..errors import CounterError, OutcomeUnknownError, StoreUnavailableError
from ..validation import Durability
from .batch import Batch
from .hit import PendingHit

#: How many hits one batch takes at the most; what is left over makes the next one.
MAX_HITS = 1000

#: The share of the time for an answer that the server may spend on disk or replica: its answer is
#: to come in time also when that takes too long.
SYNC_SHARE = 0.8


class Batcher:
    """Gathers hits into batches, of which one is in flight at a time.

    It is one writer. A batch that is given up without an answer makes it another one: whatever
    of that batch is still on its way counts under an identity that nobody uses any more. So does a
    batch that tells of another process with the same identity.

    Its methods are for one caller at a time: a driver with threads holds a lock.

    :param durability: what a hit waits for.
    :param sync_timeout_ms: milliseconds that the store may take over that.
    """

    def __init__(self, durability: Durability = "memory", sync_timeout_ms: int = 0) -> None:
        self._durability = durability
        self._sync_timeout_ms = sync_timeout_ms
        self._queue: deque[PendingHit] = deque()
        self._in_flight: Batch | None = None
        self._outage: CounterError | None = None
        self._rotate_writer()

    @property
    def in_flight(self) -> Batch | None:
        """The batch in flight."""
        return self._in_flight

    def add(self, hit: PendingHit, now: float) -> Batch | None:
        """Take a hit in; return the batch to carry at once, or None: wait to be woken.

        :raises StoreUnavailableError: the store is away; one batch at a time finds out whether
            it still is, so that an outage does not use up a server's threads.
        """
        in_flight = self._in_flight
        if in_flight is None and not self._queue:
            return self._dispatch([hit])
        if in_flight is not None and now > in_flight.deadline + 1:
            # Who carried it is gone without a word: an interrupt in an unlucky place.
            self._in_flight = in_flight = None
            self._rotate_writer()
        if in_flight is None:
            # It leads what is to fly now, however many wait: the others are not awake.
            return self._dispatch([*self._take(MAX_HITS - 1), hit])
        if self._outage is not None:
            raise StoreUnavailableError(f"still away, as a moment ago: {self._outage}")
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
        """Let a hit go whose deadline is over, with what is known of it."""
        if hit.is_pending:
            if hit.batch is None:
                self._queue.remove(hit)
            if hit.batch is None or not hit.batch.is_sent:
                hit.error = StoreUnavailableError("no connection to the store in time")
            else:
                hit.error = OutcomeUnknownError("the store was asked, and did not answer in time")
                # Who hears so may have it settled later: no other hit of it may hear «refused».
                hit.batch.mark_unknown()

    def finish(self, batch: Batch) -> list[PendingHit]:
        """Take note that nobody carries a batch any more; return whom to wake, leader first.

        Where some of its hits still have time, the youngest takes it over.
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
            if hit.is_pending:
                leader = hit
            elif not hit.is_leader:
                woken.append(hit)
        if leader is not None:
            leader.is_leader = True
            batch.deadline = leader.deadline
        else:
            if unknown or batch.is_copied:
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
            self._durability,
            self._sync_timeout_ms,
            self._outage is not None,
        )
        for hit in hits:
            hit.batch = batch
        # The youngest carries it: nobody's deadline is over before the others'.
        hits[-1].is_leader = True
        self._in_flight = batch
        return batch

    def _rotate_writer(self) -> None:
        """Be another writer from now on."""
        self._writer = secrets.token_hex(8)
        self._sequence = 0
