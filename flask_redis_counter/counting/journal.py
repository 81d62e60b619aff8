"""Journal: the acknowledged calls of a process that the store may still lose.

A store that replicates or syncs its disk after it has replied loses its last writes in a failover,
or when its machine fails. The process that acknowledged those hits still has them here, and sends
them again. Sequence numbers make that safe: the store counts again only what it has lost.

Why the sums are exact: the calls of a writer on a counter are numbered, and are stored in that
order. After a failover, the new master's state is a prefix of the old history. Each call names the
number of an earlier one in the journal, and the script rejects it (``BEHIND``) if that one is not
stored. So a call is never stored before those that were acknowledged before it, and the entries of
a writer and a counter, sent again in their order, restore exactly what is missing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ..errors import ConfigurationError, StoreRejectedError, printable
from ..forking import ForkSafe
from ..log_throttle import LogThrottle
from ..store.scripts import REPLAY_WINDOW
from ..validation import OnFull
from .call import ScriptCall, is_stale
from .counted_call import CountedCall, CountedFields

#: Maximum number of entries by default: five seconds of hits at the highest rate that was measured,
#: in a few megabytes.
DEFAULT_LIMIT = 20_000
MAX_LIMIT = 1_000_000

_log = logging.getLogger(__name__)


# The fields of an acknowledged call, the history of the store in which it was acknowledged last,
# and the time of that, by time.monotonic(). A plain tuple, as CountedFields is.
_Record: TypeAlias = tuple[
    str, int, str, int, str, int, str | None, str, tuple[str, ...], int, str, float
]
_KEY: Final = 0
_WRITER: Final = 2
_SEQUENCE: Final = 3
_IDEMPOTENCY_KEY: Final = 6
_HITS: Final = 9
_HISTORY: Final = 10
_AT: Final = 11


class Entry:
    """An entry of a journal, to send it again.

    :ivar call: what the call has counted.
    """

    __slots__ = ("call", "record")

    def __init__(self, record: _Record) -> None:
        self.call: CountedCall = CountedCall(*record[:10])
        self.record: _Record = record


@dataclass(frozen=True, slots=True)
class JournalState:
    """State of a journal, for reports.

    :ivar entries: number of acknowledged calls in it.
    :ivar oldest_at: time at which the oldest of them was acknowledged, by :func:`time.monotonic`;
        None if there is none.
    :ivar reconciliations: number of times that lost calls were sent again.
    :ivar resent_hits: number of hits in them.
    :ivar dropped_hits: number of hits that were dropped because the journal was full.
    """

    entries: int
    oldest_at: float | None
    reconciliations: int
    resent_hits: int
    dropped_hits: int


class Journal(ForkSafe):
    """Acknowledged calls that the store may still lose, in the order of their acknowledgements.

    Thread-safe; shared by all counters of a process that use the same store. A forked child starts
    with an empty one: its parent sends the calls again.

    :param limit: maximum number of entries, 0 to 1,000,000; 0: it stays empty.
    :param on_full: what happens to a hit when the journal is full: ``reject`` it, or count it and
        ``drop`` the oldest entry, which the store may then lose.
    :raises ConfigurationError: the limit is out of bounds.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT, on_full: OnFull = "drop") -> None:
        if not isinstance(limit, int) or not 0 <= limit <= MAX_LIMIT:
            raise ConfigurationError(
                "COUNTER_JOURNAL_MAX", f"{printable(limit)} is not an integer from 0 to {MAX_LIMIT}"
            )
        self.limit: int = limit
        self.on_full: OnFull = on_full
        #: Called after entries were added, and when a counter is closed; the keeper sets both.
        self.on_entry: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None
        self._full_log: LogThrottle = LogThrottle(_log, "the journal has room again")
        super().__init__()
        self.enter()

    def _reset(self) -> None:
        # Reentrant, for a hit in a signal handler.
        self._lock = threading.RLock()
        self._records: deque[_Record] = deque()
        # The last sequence number in the journal, by counter and writer.
        self._last: dict[tuple[str, str], int] = {}
        self._reconciliations = 0
        self._resent_hits = 0
        self._reported_hits = 0
        self._dropped_hits = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def room(self) -> int | None:
        """How many calls a replay may add: they leave half of it to hits. None: no limit."""
        return max(0, max(1, self.limit // 2) - len(self._records)) if self.limit else None

    @property
    def rejects(self) -> bool:
        """Whether it is full, and new hits have to be rejected."""
        return self.on_full == "reject" and len(self._records) >= self.limit > 0

    def add(self, calls: Iterable[ScriptCall], history: str) -> None:
        """Add calls that were just acknowledged.

        :param history: history of the store, as its connection had it; ``""``: unknown.
        """
        if self.limit:
            counted = [fields for call in calls if (fields := call.counted()) is not None]
            self.add_counted(counted, history)

    def add_counted(self, calls: Iterable[CountedFields], history: str) -> None:
        """Add calls that were just acknowledged, as what they have counted; see :meth:`add`."""
        if not self.limit:
            return
        self.enter()
        with self._lock:
            now = time.monotonic()
            for fields in calls:
                # With `reject` it may exceed its limit by the calls that were in flight.
                if self.on_full == "drop" and len(self._records) >= self.limit:
                    self._drop_oldest()
                record = (*fields, history, now)
                self._records.append(record)
                if record[_IDEMPOTENCY_KEY] is None:
                    place, sequence = (record[_KEY], record[_WRITER]), record[_SEQUENCE]
                    # A call from the spool may be older than others.
                    self._last[place] = max(sequence, self._last.get(place, 0))
        if self._records and self.on_entry is not None:
            self.on_entry()

    def last_sequence(self, key: str, writer: str) -> int:
        """Return the number of a writer's last call on a counter that is in the journal, or 0."""
        return self._last.get((key, writer), 0)

    def missing(self, key: str, writer: str, history: str) -> list[Entry]:
        """Return a writer's calls on a counter that a store may lack, in their order.

        :param history: history of the store. Calls that were acknowledged in it, and are not
            stored any more, were deleted on purpose (``FLUSHALL``).
        """
        with self._lock:
            self._drop_expired()
            return [
                Entry(record)
                for record in self._records
                if (record[_KEY], record[_WRITER], record[_IDEMPOTENCY_KEY]) == (key, writer, None)
                and (not history or record[_HISTORY] != history)
            ]

    def keys(self) -> set[str]:
        """Return the keys of the counters that have entries."""
        with self._lock:
            return {record[_KEY] for record in self._records}

    def foreign(self, history: str, owns: Callable[[str], bool] | None = None) -> list[Entry]:
        """Return the entries that were acknowledged in another history, in their order.

        :param owns: only those for whose key it returns True; None: all.
        """
        with self._lock:
            self._drop_expired()
            return [
                Entry(record)
                for record in self._records
                if record[_HISTORY] != history and (owns is None or owns(record[_KEY]))
            ]

    def apply_replies(self, entries: Sequence[Entry], replies: Sequence[Any], history: str) -> None:
        """Record that entries were sent again; those that the store rejected stay as they are.

        :param replies: the replies to the entries' commands; an error as StoreRejectedError.
        :param history: history of the store.
        """
        stored = [
            entry
            for entry, reply in zip(entries, replies, strict=True)
            if not isinstance(reply, StoreRejectedError) or is_stale(reply)
        ]
        confirmed = {id(entry.record) for entry in stored}
        with self._lock:
            now = time.monotonic()
            self._records = deque(
                (*record[:10], history, now) if id(record) in confirmed else record
                for record in self._records
            )
            self._resent_hits += sum(entry.call.hit_count for entry in stored)

    def take_resent(self) -> int:
        """Return the number of hits that were sent again since the last call.

        If there are any, that is one more reconciliation.
        """
        with self._lock:
            resent = self._resent_hits - self._reported_hits
            self._reported_hits = self._resent_hits
            if resent:
                self._reconciliations += 1
            return resent

    def now(self) -> float:
        """Return a time that separates the entries so far from later ones."""
        with self._lock:
            return time.monotonic()

    def drop_safe(
        self, before: float, history: str | None, owns: Callable[[str], bool] | None = None
    ) -> None:
        """Remove the oldest entries, up to a time.

        :param before: only entries that were acknowledged before this time.
        :param history: only entries of this history; None: of any.
        :param owns: remove those for whose key it returns True, also between others; None: all,
            up to the first that is not safe.
        """
        with self._lock:
            if owns is None:
                self._drop_first(before, history)
            else:
                self._drop_owned(before, history, owns)
            if len(self._records) < self.limit:
                self._full_log.recovered()

    def _drop_first(self, before: float, history: str | None) -> None:
        while self._records:
            oldest = self._records[0]
            if oldest[_AT] >= before or (history is not None and oldest[_HISTORY] != history):
                break
            self._remove_oldest()

    def _drop_owned(self, before: float, history: str | None, owns: Callable[[str], bool]) -> None:
        def is_safe(record: _Record) -> bool:
            return (
                record[_AT] < before
                and (history is None or record[_HISTORY] == history)
                and owns(record[_KEY])
            )

        kept: deque[_Record] = deque()
        for record in self._records:
            if is_safe(record):
                self._forget_last(record)
            else:
                kept.append(record)
        self._records = kept

    def close(self) -> None:
        """Do not wait for a store that is down. The journal can still be used."""
        if self.on_close is not None:
            self.on_close()

    def state(self) -> JournalState:
        """Return the state for reports."""
        self.enter()
        with self._lock:
            return JournalState(
                len(self._records),
                self._records[0][_AT] if self._records else None,
                self._reconciliations,
                self._resent_hits,
                self._dropped_hits,
            )

    def _drop_expired(self) -> None:
        """Drop entries whose records the store may have deleted: they could count twice."""
        oldest = time.monotonic() - REPLAY_WINDOW
        expired = [record for record in self._records if record[_AT] < oldest]
        if expired:
            self._records = deque(record for record in self._records if record[_AT] >= oldest)
            for record in expired:
                self._forget_last(record)
            hits = sum(record[_HITS] for record in expired)
            self._dropped_hits += hits
            _log.critical(
                "%d hits were acknowledged a day ago, and the store has not confirmed them since: "
                "if it has lost them, they are not sent again",
                hits,
            )

    def _drop_oldest(self) -> None:
        self._dropped_hits += self._remove_oldest()[_HITS]
        self._full_log.log(
            logging.WARNING,
            "the journal of acknowledged hits is full (%d): a failover or a crash of the store now "
            "loses those that left it; check the replicas and the disk of the store",
            self.limit,
        )

    def _remove_oldest(self) -> _Record:
        record = self._records.popleft()
        self._forget_last(record)
        return record

    def _forget_last(self, record: _Record) -> None:
        """Forget the last number of a writer on a counter, if it is that of a removed record."""
        place = record[_KEY], record[_WRITER]
        if self._last.get(place) == record[_SEQUENCE] and record[_IDEMPOTENCY_KEY] is None:
            del self._last[place]
