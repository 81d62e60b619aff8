"""What became of hits, in numbers that only rise: what metrics are made of.

A meter is a row of 64-bit integers. With a folder it lies in a slot file there, mapped into memory:
whoever has the folder can add up the meters of all processes, also of those that are gone, and
counting costs no more than without. No fault of the disk keeps a hit from being counted.
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

#: Seconds, the bounds between which the times of hits are counted.
DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

#: The bounds between which the sizes of batches are counted.
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

#: The outcomes, in the order of their numbers in a slot.
OUTCOMES = tuple(Outcome)
_INDEX = {outcome: index for index, outcome in enumerate(OUTCOMES)}
_COUNTED, _REPLAYED, _SKIPPED = map(
    _INDEX.__getitem__, (Outcome.COUNTED, Outcome.REPLAYED, Outcome.SKIPPED)
)
_ADDED, _MICROSECONDS, _ROUND_TRIPS, _FAILED, _CARRIED, _LATER, _ADDED_LATER = range(6, 13)
_TOOK = 13
_SIZE = _TOOK + len(DURATIONS) + 1
_LENGTH = _SIZE + len(SIZES) + 1

_BYTES = 8 * _LENGTH
_MOST = 2**64

#: Seconds between two looks whether the slot file is still there, or can be had again.
LOOK_INTERVAL = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """The numbers of one meter, or of several together.

    :ivar outcomes: the number of hits by :class:`.Outcome`.
    :ivar amount_total: the sum of the amounts of those that counted.
    :ivar seconds: how long all hits took together.
    :ivar durations: how many took up to each of :data:`DURATIONS`, and not up to the one before
        it; the last number is of those that took longer.
    :ivar round_trips: how many have settled hits.
    :ivar failed: how many have not: there was no answer in time, or an error.
    :ivar carried: how many hits the former have settled.
    :ivar sizes: how many of them settled up to each of :data:`SIZES`, as above.
    :ivar replayed: how many hits were counted that had waited in a spool.
    :ivar replayed_amount: the sum of their amounts.
    """

    outcomes: dict[Outcome, int]
    amount_total: int
    seconds: float
    durations: tuple[int, ...]
    round_trips: int
    failed: int
    carried: int
    sizes: tuple[int, ...]
    replayed: int
    replayed_amount: int


class HitMetrics(ForkSafe):
    """The numbers of this process; a forked child begins its own.

    Thread-safe. Numbers begin anew beyond 2**64 - 1.

    :param folder: where its slot file lies, made where it does not exist; None: in memory alone.
        Where the folder cannot be used, a line in the log says so, and the numbers are in memory
        until it can.
    :param service: what tells the service from others that use the same folder.
    """

    def __init__(self, folder: str | Path | None = None, *, service: str = "") -> None:
        self._slots = None if folder is None else _slots(folder, service)
        self._trouble = LogThrottle(_log, "COUNTER_METRICS_DIR can be used again", 3600)
        super().__init__()
        self.enter()

    def settled(self, calls: Sequence[ScriptCall], now: float) -> None:
        """Take note of the hits that one round trip has settled.

        :param now: the current time of the clock that ``started_at`` of the hits is of.
        """
        if not calls:
            self.failed_round_trip()
            return
        self.enter()
        carried = counted = amount_total = 0
        together = 0.0
        with self._lock:
            if now > self._next_look:
                self._look(now)
            numbers = self._numbers
            for call in calls:
                carried += len(call.hits)
                for hit in call.hits:
                    if hit.value is None:
                        continue  # its own caller has heard of an error, and takes note
                    if not hit.counted:
                        numbers[_SKIPPED] += 1
                    elif hit.replayed:
                        numbers[_REPLAYED] += 1
                    else:
                        counted += 1
                        amount_total += hit.amount
                    took = now - hit.started_at
                    together += took
                    numbers[_TOOK + bisect_left(DURATIONS, took)] += 1
            numbers[_COUNTED] += counted
            numbers[_ADDED] = (numbers[_ADDED] + amount_total) % _MOST
            numbers[_MICROSECONDS] += max(0, int(together * 1e6))
            numbers[_ROUND_TRIPS] += 1
            numbers[_CARRIED] += carried
            numbers[_SIZE + bisect_left(SIZES, carried)] += 1

    def failed_round_trip(self) -> None:
        """Take note of one that has settled none."""
        self.enter()
        with self._lock:
            self._numbers[_FAILED] += 1

    def failed(self, hit: PendingHit, now: float) -> None:
        """Take note of a hit that has an error; ``now`` as above."""
        outcome = Outcome.NOT_COUNTED if hit.error is None else hit.error.outcome
        took = max(0.0, now - hit.started_at)
        self.enter()
        with self._lock:
            if now > self._next_look:
                self._look(now)
            self._numbers[_INDEX[outcome]] += 1
            self._numbers[_MICROSECONDS] += int(took * 1e6)
            self._numbers[_TOOK + bisect_left(DURATIONS, took)] += 1

    def replayed(self, hits: int, amount: int) -> None:
        """Take note of hits that had waited in a spool."""
        self.enter()
        with self._lock:
            self._numbers[_LATER] += hits
            self._numbers[_ADDED_LATER] = (self._numbers[_ADDED_LATER] + amount) % _MOST

    def snapshot(self) -> MetricsSnapshot:
        """Return the numbers: with a folder, those of all processes that share it."""
        self.enter()
        with self._lock:
            if self._slots is None:
                return _snapshot(self._numbers)
            self._look(time.monotonic())
        columns = zip(*(array("Q", row) for row in self._slots.rows()), strict=True)
        return _snapshot([sum(column) % _MOST for column in columns] or self._numbers)

    def _reset(self) -> None:
        # Reentrant, for a hit in a signal handler.
        self._lock = threading.RLock()
        self._numbers: Any = [0] * _LENGTH
        self._slot: Slot | None = None
        self._next_look: float = 0
        self._look(time.monotonic())

    def _look(self, now: float) -> None:
        """Claim a slot where there is none, or no longer, and count on in it."""
        self._next_look = now + LOOK_INTERVAL
        if self._slots is None or (self._slot is not None and not self._slot.is_lost()):
            return
        counted = list(self._numbers)
        try:
            self._slot = self._slots.claim()
        except OSError as error:
            self._slot = None
            self._numbers = counted
            self._trouble.log(
                logging.WARNING,
                "COUNTER_METRICS_DIR cannot be used, and lacks the numbers of this process until "
                "it can (%s): make room, or name a folder that it may write to",
                error,
            )
            return
        self._trouble.recovered()
        self._numbers = memoryview(self._slot.memory).cast("Q")
        for place, number in enumerate(counted):
            self._numbers[place] = (self._numbers[place] + number) % _MOST


def claim_slot(folder: str | Path, service: str) -> None:
    """Find out whether a process could claim a slot of a folder now.

    :raises OSError: it could not.
    """
    _slots(folder, service).claim()


def _slots(folder: str | Path, service: str) -> SlotFolder:
    return SlotFolder(Path(folder), service, _BYTES)


def _snapshot(numbers: Sequence[int]) -> MetricsSnapshot:
    return MetricsSnapshot(
        outcomes=dict(zip(OUTCOMES, numbers, strict=False)),
        amount_total=numbers[_ADDED],
        seconds=numbers[_MICROSECONDS] / 1e6,
        durations=tuple(numbers[_TOOK:_SIZE]),
        round_trips=numbers[_ROUND_TRIPS],
        failed=numbers[_FAILED],
        carried=numbers[_CARRIED],
        sizes=tuple(numbers[_SIZE:_LENGTH]),
        replayed=numbers[_LATER],
        replayed_amount=numbers[_ADDED_LATER],
    )
