"""Counts of hits by outcome, and other numbers for metrics, none of which ever falls.

The numbers are a row of 64-bit integers. With a folder, the row is a memory-mapped slot file there,
so that each process can add up the rows of all processes, also of ended ones, at no extra cost for
a hit. A disk error never prevents a hit from being counted.
"""

from __future__ import annotations

import logging
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..forking import ForkSafe
from ..log_throttle import LogThrottle
from ..outcome import Outcome
from .metrics_slots import Slot, SlotFolder

if TYPE_CHECKING:
    from .call import ScriptCall
    from .hit import PendingHit
    from .journal import JournalState

#: Upper bounds of the histogram of hit durations, in seconds.
DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

#: Upper bounds of the histogram of hits in a batch.
BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

#: The outcomes, in the order of their numbers in a slot.
OUTCOMES = tuple(Outcome)
_INDEX = {outcome: index for index, outcome in enumerate(OUTCOMES)}
_COUNTED, _REPLAYED, _SKIPPED = map(
    _INDEX.__getitem__, (Outcome.COUNTED, Outcome.REPLAYED, Outcome.SKIPPED)
)
_AMOUNT, _MICROSECONDS, _ROUND_TRIPS, _FAILED_ROUND_TRIPS = range(6, 10)
_BATCHED_HITS, _REPLAYED_HITS, _REPLAYED_AMOUNT = range(10, 13)
_DURATIONS = 13
_SIZES = _DURATIONS + len(DURATIONS) + 1
_JOURNAL = _SIZES + len(BATCH_SIZES) + 1
_JOURNAL_ENTRIES, _JOURNAL_OLDEST, _RECONCILIATIONS, _RESENT_HITS, _DROPPED_HITS = range(
    _JOURNAL, _JOURNAL + 5
)
_LENGTH = _JOURNAL + 5

_BYTES = 8 * _LENGTH
_MODULUS = 2**64

#: Seconds between two checks that the slot file still exists, or can be created again.
SLOT_CHECK_INTERVAL = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """The numbers of one process, or the sums of several.

    :ivar outcomes: the number of hits by :class:`.Outcome`.
    :ivar amount_total: sum of the amounts of the hits that counted.
    :ivar duration_total: sum of the durations of all hits, in seconds.
    :ivar durations: number of hits in each bucket of the histogram: up to each of
        :data:`DURATIONS` and above the bound before it; the last bucket has no bound.
    :ivar round_trips: number of round trips that gave hits an outcome.
    :ivar failed_round_trips: number of round trips that gave no hit an outcome: no reply in time,
        or an error.
    :ivar batched_hits: number of hits in ``round_trips``.
    :ivar batch_sizes: number of ``round_trips`` by their number of hits, in buckets of
        :data:`BATCH_SIZES`.
    :ivar replayed_hits: number of spooled hits that were counted.
    :ivar replayed_amount: sum of the amounts of ``replayed_hits``.
    :ivar journal_entries: number of acknowledged calls in the journals.
    :ivar journal_age: seconds since the oldest of them was acknowledged; 0 if there is none.
    :ivar reconciliations: number of times that the store's history had changed, so that calls in
        the journals were sent again.
    :ivar resent_hits: number of hits in these calls.
    :ivar dropped_hits: number of hits that were dropped from full journals.
    """

    outcomes: dict[Outcome, int]
    amount_total: int
    duration_total: float
    durations: tuple[int, ...]
    round_trips: int
    failed_round_trips: int
    batched_hits: int
    batch_sizes: tuple[int, ...]
    replayed_hits: int
    replayed_amount: int
    journal_entries: int
    journal_age: float
    reconciliations: int
    resent_hits: int
    dropped_hits: int


class HitMetrics(ForkSafe):
    """The numbers of this process; a forked child starts with its own.

    Thread-safe. Numbers wrap around after 2**64 - 1.

    :param folder: folder of the slot file, created if it does not exist; None: memory only.
        While the folder cannot be used, the numbers are kept in memory, and the log says so.
    :param service: identifies the service among others that use the same folder.
    """

    def __init__(self, folder: str | Path | None = None, *, service: str = "") -> None:
        self._slots = None if folder is None else _slots(folder, service)
        self._slot_log = LogThrottle(_log, "COUNTER_METRICS_DIR can be used again", 3600)
        super().__init__()
        self.enter()

    def record_batch(self, calls: Sequence[ScriptCall], now: float) -> None:
        """Record the hits that got their outcome from one round trip.

        :param now: current time, by the clock of ``started_at`` of the hits.
        """
        if not calls:
            self.record_failed_round_trip()
            return
        self.enter()
        batched_hits = counted = amount_total = 0
        duration_total = 0.0
        with self._lock:
            if now > self._next_check:
                self._check_slot(now)
            numbers = self._numbers
            for call in calls:
                batched_hits += len(call.hits)
                for hit in call.hits:
                    if hit.value is None:
                        continue  # its own caller records the error
                    if not hit.counted:
                        numbers[_SKIPPED] += 1
                    elif hit.replayed:
                        numbers[_REPLAYED] += 1
                    else:
                        counted += 1
                        amount_total += hit.amount
                    duration = now - hit.started_at
                    duration_total += duration
                    numbers[_DURATIONS + bisect_left(DURATIONS, duration)] += 1
            numbers[_COUNTED] += counted
            numbers[_AMOUNT] = (numbers[_AMOUNT] + amount_total) % _MODULUS
            numbers[_MICROSECONDS] += max(0, int(duration_total * 1e6))
            numbers[_ROUND_TRIPS] += 1
            numbers[_BATCHED_HITS] += batched_hits
            numbers[_SIZES + bisect_left(BATCH_SIZES, batched_hits)] += 1

    def record_failed_round_trip(self) -> None:
        """Record a round trip that gave no hit an outcome."""
        self.enter()
        with self._lock:
            self._numbers[_FAILED_ROUND_TRIPS] += 1

    def record_failure(self, hit: PendingHit, now: float) -> None:
        """Record a hit that has an error; ``now`` as in :meth:`record_batch`."""
        outcome = Outcome.NOT_COUNTED if hit.error is None else hit.error.outcome
        duration = max(0.0, now - hit.started_at)
        self.enter()
        with self._lock:
            if now > self._next_check:
                self._check_slot(now)
            self._numbers[_INDEX[outcome]] += 1
            self._numbers[_MICROSECONDS] += int(duration * 1e6)
            self._numbers[_DURATIONS + bisect_left(DURATIONS, duration)] += 1

    def record_replay(self, hits: int, amount: int) -> None:
        """Record spooled hits that were counted."""
        self.enter()
        with self._lock:
            self._numbers[_REPLAYED_HITS] += hits
            self._numbers[_REPLAYED_AMOUNT] = (self._numbers[_REPLAYED_AMOUNT] + amount) % _MODULUS

    def record_journal(self, state: JournalState, before: JournalState) -> None:
        """Record the state of the process's journal, and what has happened since an earlier one."""
        oldest_at = 0
        if state.oldest_at is not None:
            oldest_at = int((time.time() - time.monotonic() + state.oldest_at) * 1000)
        self.enter()
        with self._lock:
            numbers = self._numbers
            numbers[_JOURNAL_ENTRIES] = state.entries
            numbers[_JOURNAL_OLDEST] = oldest_at
            numbers[_RECONCILIATIONS] += state.reconciliations - before.reconciliations
            numbers[_RESENT_HITS] += state.resent_hits - before.resent_hits
            numbers[_DROPPED_HITS] += state.dropped_hits - before.dropped_hits

    def snapshot(self) -> MetricsSnapshot:
        """Return the numbers; with a folder, the sums over all processes that share it."""
        self.enter()
        with self._lock:
            if self._slots is None:
                return _snapshot(self._numbers, self._numbers[_JOURNAL_OLDEST])
            self._check_slot(time.monotonic())
        rows = [array("Q", row) for row in self._slots.read_rows()] or [array("Q", self._numbers)]
        oldest = min(filter(None, (row[_JOURNAL_OLDEST] for row in rows)), default=0)
        return _snapshot([sum(column) % _MODULUS for column in zip(*rows, strict=True)], oldest)

    def _reset(self) -> None:
        # Reentrant, for a hit in a signal handler.
        self._lock = threading.RLock()
        self._numbers: Any = [0] * _LENGTH
        self._slot: Slot | None = None
        self._next_check: float = 0
        self._check_slot(time.monotonic())

    def _check_slot(self, now: float) -> None:
        """Claim a slot if there is none or its file was removed, and add the numbers to it."""
        self._next_check = now + SLOT_CHECK_INTERVAL
        if self._slots is None or (self._slot is not None and not self._slot.is_lost()):
            return
        counted = list(self._numbers)
        try:
            self._slot = self._slots.claim()
        except OSError as error:
            self._slot = None
            self._numbers = counted
            self._slot_log.log(
                logging.WARNING,
                "COUNTER_METRICS_DIR cannot be used, so metrics may lack the numbers of this "
                "process (%s): free disk space, or set it to a writable folder",
                error,
            )
            return
        self._slot_log.recovered()
        self._numbers = memoryview(self._slot.memory).cast("Q")
        # The slot may be that of a process that has ended, with its journal.
        self._numbers[_JOURNAL_ENTRIES] = self._numbers[_JOURNAL_OLDEST] = 0
        for index, number in enumerate(counted):
            self._numbers[index] = (self._numbers[index] + number) % _MODULUS


def claim_slot(folder: str | Path, service: str) -> None:
    """Check that a process can claim a slot of a folder.

    :raises OSError: the folder cannot be used.
    """
    _slots(folder, service).claim()


def _slots(folder: str | Path, service: str) -> SlotFolder:
    return SlotFolder(Path(folder), service, _BYTES)


def _snapshot(numbers: Sequence[int], oldest: int) -> MetricsSnapshot:
    return MetricsSnapshot(
        outcomes=dict(zip(OUTCOMES, numbers, strict=False)),
        amount_total=numbers[_AMOUNT],
        duration_total=numbers[_MICROSECONDS] / 1e6,
        durations=tuple(numbers[_DURATIONS:_SIZES]),
        round_trips=numbers[_ROUND_TRIPS],
        failed_round_trips=numbers[_FAILED_ROUND_TRIPS],
        batched_hits=numbers[_BATCHED_HITS],
        batch_sizes=tuple(numbers[_SIZES:_JOURNAL]),
        replayed_hits=numbers[_REPLAYED_HITS],
        replayed_amount=numbers[_REPLAYED_AMOUNT],
        journal_entries=numbers[_JOURNAL_ENTRIES],
        journal_age=max(0.0, time.time() - oldest / 1000) if oldest else 0.0,
        reconciliations=numbers[_RECONCILIATIONS],
        resent_hits=numbers[_RESENT_HITS],
        dropped_hits=numbers[_DROPPED_HITS],
    )
