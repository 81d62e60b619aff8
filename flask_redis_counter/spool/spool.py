"""Hits on disk while the store is down.

One SQLite file, synced at each commit, for all processes of a service. Each row is one call of a
counting script. Its identity is an idempotency key, or a writer id with a sequence number, so that
the row counts once, however often and by whichever process it is replayed. Hits that were never
sent are added up in one open row per counter and hour, which gets a new identity before it is first
sent. A call with an unknown outcome keeps its identity.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..counting.call import is_behind, is_stale, is_taken
from ..counting.hit import PendingHit
from ..counting.journal import Journal
from ..errors import (
    ConfigurationError,
    CounterError,
    HitSpooledError,
    IdempotencyKeyReusedError,
    OutcomeUnknownError,
    SpoolError,
    StoreError,
    StoreRejectedError,
    StoreUnavailableError,
    printable,
)
from ..forking import ForkSafe
from ..log_throttle import LogThrottle
from ..store.confirmation import MEMORY, Confirmation
from ..store.operation import Operation
from ..store.replies import translate_error
from ..store.scripts import HIT, HIT_ONCE, REPLAY_WINDOW
from ..store.server_state import IDENTITY_PROBE, parse_history, parse_sections
from .database import BUSY_TIMEOUT, SpoolDatabase
from .rows import NewRow, Row

#: Maximum number of rows that one round trip replays.
MAX_ROWS = 500

#: Seconds after its first rejection in which a row waits for earlier calls of its writer that the
#: store has lost, until the journal of the writer's process has sent them again. After that, the
#: process has probably ended, and they are lost.
RECONCILIATION_TIME = 60

_log = logging.getLogger(__name__)


class Spool(ForkSafe):
    """A file of hits to count later, shared by all threads and processes that use its folder.

    :param folder: folder of the file, created if it does not exist, on a persistent disk.
    :param megabytes: maximum size of the file, 1 to 10,000; a hit that does not fit is rejected.
    :raises ConfigurationError: the folder cannot be used, or the size is out of bounds.
    """

    def __init__(self, folder: str | Path, *, megabytes: int = 64) -> None:
        if not isinstance(megabytes, int) or not 1 <= megabytes <= 10_000:
            raise ConfigurationError(
                "COUNTER_SPOOL_MAX_MB", f"{printable(megabytes)} is not an integer from 1 to 10000"
            )
        self.path: Path = Path(folder).absolute() / "spool.sqlite3"
        self._database = SpoolDatabase(self.path, megabytes)
        self._outage_log = LogThrottle(_log, "the store accepts hits again")
        self._full_log = LogThrottle(_log, "hits are spooled again")
        self._rejection_log = LogThrottle(_log, "the store accepts all spooled hits again")
        super().__init__()
        self.enter()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.pending_hits()
        except (OSError, SpoolError) as error:
            if getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                _log.error("no hit can be spooled for now: %s", error)
                return  # the store can still count hits
            raise ConfigurationError("COUNTER_SPOOL_DIR", f"cannot be used: {error}") from error

    def add(self, hit: PendingHit) -> None:
        """Add a hit that the store did not accept, and set its error to HitSpooledError.

        Waits for other threads and processes that write, up to :data:`BUSY_TIMEOUT` seconds.
        """
        self.enter()
        if isinstance(hit.error, OutcomeUnknownError) and is_stale(hit.error.__cause__):
            return  # the store can no longer say whether the hit counted
        try:
            self._write_hit(hit, time.monotonic() + BUSY_TIMEOUT)
        except SpoolError as error:
            self._full_log.log(logging.ERROR, "hits are not spooled: %s", error)
        except CounterError as error:
            hit.error = error
        else:
            self._full_log.recovered()
            message = "hits are spooled in %s: %s"
            self._outage_log.log(logging.WARNING, message, self.path, hit.error)
            spooled = HitSpooledError(
                "the hit is spooled, and will be counted once the store is up"
            )
            spooled.__cause__ = hit.error
            hit.error = spooled

    def _write_hit(self, hit: PendingHit, deadline: float) -> None:
        """Write a hit; it is on disk when this returns.

        :raises SpoolError: not written: the spool is full or busy, or its disk fails.
        :raises OutcomeUnknownError: another thread is writing the hit, and did not finish in time.
        :raises IdempotencyKeyReusedError: the spool has a hit with the same idempotency key and
            another amount.
        """
        entry = NewRow(hit)
        self._queue.append(entry)
        if self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            try:
                if not entry.done:  # may have been written by the thread that had the lock before
                    self._write_entries(self._take_queued(), max(0.0, deadline - time.monotonic()))
            finally:
                self._lock.release()
        else:
            self._withdraw(entry)
        if entry.error is not None:
            raise entry.error

    def pending_hits(self) -> int:
        """Return the number of hits that are not counted yet.

        :raises SpoolError: the file cannot be read.
        """
        count = "SELECT COALESCE(SUM(hits), 0) FROM entry WHERE sent IS NULL OR sent >= 0"
        ((hits,),) = self._database.run_transaction(
            lambda database: database.execute(count).fetchall()
        )
        return int(hits)

    def replay(
        self,
        journal: Journal,
        confirmation: Confirmation = MEMORY,
        lane: Callable[[str], Hashable] = lambda _: None,
    ) -> Operation[tuple[int, int]]:
        """Count the spooled hits that the store accepts, as long as the journal has room.

        Returns the number of counted hits, and the sum of their amounts. If some servers of a
        cluster do not answer, the hits of the others are counted all the same.

        :param journal: keeps the counted calls until the store cannot lose them.
        :param confirmation: what a row waits for before it leaves the disk.
        :param lane: returns what the keys of one server have in common.
        :raises OutcomeUnknownError: the rows were not confirmed in time; they stay in the spool.
        :raises StoreError: the store does not answer, or rejects all hits; they stay in the spool.
        :raises SpoolError: the file cannot be read or written.
        """
        counted = amount = last = 0
        failure: StoreError | None = None
        while (limit := _free(journal)) and (rows := self._claim_rows(last, limit)):
            last = rows[-1].id
            by_lane: dict[Hashable, list[Row]] = {}
            for row in rows:
                by_lane.setdefault(lane(row.call.key), []).append(row)
            is_down = True
            for group in by_lane.values():
                try:
                    settled = yield from self._replay_rows(group, journal, confirmation)
                except StoreError as error:
                    failure = error
                    continue
                is_down = False
                for row in settled:
                    counted += row.hits
                    amount += row.call.amount
            if is_down:
                break
        if failure is not None and not counted:
            raise failure
        if counted:
            self._outage_log.recovered()
        return counted, amount

    def _replay_rows(
        self, rows: list[Row], journal: Journal, confirmation: Confirmation
    ) -> Operation[list[Row]]:
        """Count rows on one server; return those that counted."""
        # The history of the server that counts them: the journal sends them again in another.
        probes = [*IDENTITY_PROBE, HIT.load(), HIT_ONCE.load()]
        calls = [row.call.command() for row in rows]
        try:
            replies = yield [*probes, *calls, *confirmation.commands]
        except (StoreUnavailableError, StoreRejectedError):
            self._release_rows(rows)
            raise
        history = parse_history(parse_sections(replies[: len(IDENTITY_PROBE)]))
        start, end = len(probes), len(probes) + len(calls)
        if missing := confirmation.find_missing(replies[end:]):
            raise OutcomeUnknownError(f"spooled hits are counted, but not on {missing}")
        return self._settle_rows(rows, replies[start:end], journal, history)

    def recovered(self) -> None:
        """Log that the spool is empty, if an outage was logged before."""
        self._outage_log.recovered()
        self._rejection_log.recovered()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[NewRow] = deque()
        # When the store first rejected each row because it lacks earlier calls, by the row's id.
        self._waiting: dict[int, float] = {}

    def _take_queued(self) -> list[NewRow]:
        entries: list[NewRow] = []
        with suppress(IndexError):  # other threads may withdraw theirs meanwhile
            for _ in range(len(self._queue)):
                entries.append(self._queue.popleft())
        return entries

    def _withdraw(self, entry: NewRow) -> None:
        try:
            self._queue.remove(entry)
        except ValueError:
            if not entry.done:
                raise OutcomeUnknownError(
                    "the disk of the spool did not answer in time: the hit may be counted later"
                ) from None
        else:
            raise SpoolError(f"the spool {self.path} is busy: its disk did not answer in time")

    def _write_entries(self, entries: list[NewRow], wait: float) -> None:
        """Write several hits in one transaction, so that they share one disk sync."""

        def write(database: sqlite3.Connection) -> None:
            for entry in entries:
                entry.write(database)

        error: SpoolError | None = None
        try:
            self._database.run_transaction(write, adds=True, wait=wait)
        except SpoolError as caught:
            error = caught
        for entry in entries:
            entry.done = True
            entry.error = error or entry.error

    def _claim_rows(self, after: int, limit: int) -> list[Row]:
        """Mark the next rows as sent and return them. No hits are added to them after that."""

        def seal(database: sqlite3.Connection) -> list[tuple[Any, ...]]:
            now = time.time()
            _expire_rows(database, now - REPLAY_WINDOW)
            database.execute(
                "UPDATE entry SET writer = new_id(), number = 1, sender = new_id() "
                "WHERE writer = ''"
            )
            rows = database.execute(
                "SELECT id, hits, sent, earlier, key, amount, writer, number, token, hour, sender "
                "FROM entry WHERE id > ? AND (sent IS NULL OR sent >= 0) ORDER BY id LIMIT ?",
                (after, limit),
            ).fetchall()
            database.executemany(
                "UPDATE entry SET sent = ? WHERE id = ? AND sent IS NULL",
                [(now, row[0]) for row in rows],
            )
            return rows

        rows = [Row(*row) for row in self._database.run_transaction(seal)]
        for row in rows:
            waits_since = self._waiting.get(row.id, math.inf)
            if time.monotonic() - waits_since > RECONCILIATION_TIME:
                row.call.earlier = 0
        return rows

    def _release_rows(self, rows: list[Row]) -> None:
        """Mark new rows as not sent: the store was not reached, or rejected all of them."""
        unsent = [(row.id,) for row in rows if row.is_new]
        update = "UPDATE entry SET sent = NULL WHERE id = ?"
        self._database.run_transaction(lambda database: database.executemany(update, unsent))

    def _settle_rows(
        self, rows: list[Row], replies: list[Any], journal: Journal, history: str
    ) -> list[Row]:
        """Delete the rows that counted, and return them; rejected rows stay."""
        counted: list[Row] = []
        stale: list[Row] = []  # counted before, or given up
        dropped: list[Row] = []
        conflicting: list[Row] = []
        for row, reply in zip(rows, replies, strict=True):
            if is_behind(reply):
                self._waiting.setdefault(row.id, time.monotonic())
                continue  # sent again later
            self._waiting.pop(row.id, None)
            if not isinstance(reply, StoreRejectedError):
                counted.append(row)
                continue
            if is_stale(reply):
                stale.append(row)
                continue
            if is_taken(reply):
                conflicting.append(row)
                continue
            error = translate_error(reply, row.call.key)
            if isinstance(error, IdempotencyKeyReusedError):  # the hit can never be counted
                _log.error("a spooled hit of %s was dropped, not counted: %s", row.call.key, error)
                dropped.append(row)
            else:
                message = (
                    "%d spooled hits of %s are rejected by the store, and stay in the spool: %s"
                )
                self._rejection_log.log(logging.ERROR, message, row.hits, row.call.key, error)

        # Before they leave the disk.
        journal.add_counted((row.counted() for row in counted), history)

        def delete(database: sqlite3.Connection) -> list[Row]:
            # Another process may have replayed and deleted a row, and reports it itself.
            remove = "DELETE FROM entry WHERE id = ?"
            ours = [
                row for row in (*counted, *stale) if database.execute(remove, (row.id,)).rowcount
            ]
            database.executemany(remove, [(row.id,) for row in dropped])
            renew = "UPDATE entry SET writer = new_id(), number = 1, earlier = 0, sent = NULL "
            renew += "WHERE id = ?"
            database.executemany(renew, [(row.id,) for row in conflicting])
            return ours

        return self._database.run_transaction(delete)


def _free(journal: Journal) -> int:
    return MAX_ROWS if journal.room is None else min(MAX_ROWS, journal.room)


def _expire_rows(database: sqlite3.Connection, before: float) -> None:
    """Exclude rows from replay if the store may have deleted their records."""
    old = (before,)
    for key, hits in database.execute(
        "SELECT key, hits FROM entry WHERE sent >= 0 AND sent <= ?", old
    ):
        _log.critical(
            "%d spooled hits of %s were sent a day ago without a reply: they may have counted, "
            "and are not sent again",
            hits,
            key,
        )
    database.execute("UPDATE entry SET sent = -1 WHERE sent >= 0 AND sent <= ?", old)
