"""Export and import of the counters of a store, in batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import redis
from redis.exceptions import BusyLoadingError

from ..errors import (
    CounterError,
    CounterOverflowError,
    NotAnIntegerError,
    StoreError,
    StoreRejectedError,
)
from ..limits import Limits
from ..series import current_hour
from ..store.cluster_pool import StorePool, open_pool
from ..store.confirmation import confirm
from ..store.connections import Command
from ..store.keys import CounterKeys, counter_key, counter_pattern, name_from_key, names_key
from ..store.listing import create_listed
from ..store.operation import Operation, gather, run
from ..store.queries import names
from ..store.replies import parse_integer, raise_for_error, translate_error
from ..store.scripts import IMPORT
from ..validation import DEFAULT_PREFIX, NAME, check_prefix
from .importing import ImportStatus, OnConflict, import_counter
from .records import CounterRecord, DayRecord, InvalidRecord, validate_record

#: Maximum number of counters in one round trip, and about how many of their days.
COUNTERS_PER_BATCH = 250
DAYS_PER_BATCH = 5_000

#: Seconds that a store may be unavailable before a transfer fails, and seconds between attempts.
OUTAGE_TIMEOUT = 30.0
RETRY_DELAY = 0.1

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ImportResult:
    """Result of importing a counter.

    :ivar name: name of the counter.
    :ivar status: ``made`` (created), ``added`` (to it) or ``replaced``; ``unchanged``: its source
        imported the same before; ``skipped``: the counter exists; ``behind``: its source imported
        more before than it has now; ``refused``: the counter could not be changed.
    :ivar error: reason of ``refused``: its key holds something else, or the sum is too large.
    """

    name: str
    status: ImportStatus
    error: CounterError | None = None


class Transfer:
    """Exports and imports whole counters.

    If the store becomes unavailable, a transfer retries for up to 30 seconds, and then raises an
    error. Counters that were imported before stay imported.

    :param store: as for :class:`RedisCounter`.
    :param prefix: prefix of the keys.
    :param timeout: seconds that one round trip may take.
    :raises ConfigurationError: an argument is malformed or out of bounds.
    """

    def __init__(
        self,
        store: str | redis.Redis | redis.RedisCluster,
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout: float = 10,
    ) -> None:
        self.prefix: str = check_prefix(prefix)
        self._store = open_pool(store, timeout=timeout)

    def size(self) -> int:
        """Return the number of counters.

        :raises StoreError: the store did not answer in time, or rejected the command.
        """
        return run(_count_names(self.prefix), self._store.read)

    def export_records(self, *, days: bool = True) -> Iterator[CounterRecord | InvalidRecord]:
        """Yield all counters, sorted by name.

        A counter that is deleted meanwhile may be missing. The visitors of the current day (UTC)
        are left out: their number is exported only after the end of the day.

        :param days: include the days of each counter.
        :raises StoreError: the store was unavailable for too long, or rejected a command.
        """
        after = ""
        while True:
            page = self._run(names(self.prefix, after, COUNTERS_PER_BATCH))
            reads = (_read_counter(self.prefix, name, days) for name in page)
            for name, result in zip(page, self._run(gather(*reads)), strict=True):
                if isinstance(result, StoreError):
                    raise result
                if isinstance(result, CounterError):
                    yield InvalidRecord(f"counter {name!r}", str(result))
                elif result is not None:
                    yield result
            if len(page) < COUNTERS_PER_BATCH:
                break
            after = page[-1]
        yield from self._find_unlisted()

    def import_records(
        self,
        records: Iterable[CounterRecord],
        source: str,
        *,
        on_conflict: OnConflict = "skip",
        max_counters: int | None = None,
    ) -> Iterator[ImportResult]:
        """Import counters, and yield the result of each.

        A counter that does not exist is created. The store remembers what each source imported, so
        that repeating an import counts nothing twice, even in another process. Concurrent hits are
        neither lost nor counted twice.

        :param source: name of the source.
        :param on_conflict: what to do with a counter that exists: ``skip`` it; ``add`` what was
            not imported from the source yet; or ``replace`` it, unless the last import from the
            source was the same.
        :param max_counters: largest number of counters; no more are created. None: unlimited.
        :raises ValueError: a record is invalid; records before it may be imported already.
        :raises TooManyCountersError: there are ``max_counters`` already.
        :raises OutcomeUnknownError: not all replicas of the store confirmed the import; repeat it.
        :raises StoreError: the store was unavailable for too long, or rejected a command.
        """
        limit = Limits(max_counters).counter_limit
        self._run(_load_script())
        for batch in _split_batches(records):
            calls = (self._import(record, source, on_conflict, limit) for record in batch)
            imported = confirm(gather(*calls), "memory", self._store.attempt_timeout)
            for record, result in zip(batch, self._run(imported), strict=True):
                if not isinstance(result, CounterError):
                    yield ImportResult(record.name, result)
                elif isinstance(result, NotAnIntegerError | CounterOverflowError):
                    yield ImportResult(record.name, "refused", result)
                else:
                    raise result

    def _import(
        self, record: CounterRecord, source: str, on_conflict: OnConflict, limit: int
    ) -> Operation[ImportStatus]:
        key = counter_key(self.prefix, record.name)
        if not self._store.is_cluster:
            return import_counter(key, record, source, on_conflict, limit)
        return create_listed(
            key, limit, lambda limit: import_counter(key, record, source, on_conflict, limit)
        )

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find_unlisted(self) -> Iterator[InvalidRecord]:
        """Find counters that are missing from the list of names, and so from the export."""
        found: set[str] = set()
        try:
            for name in self._scan_unlisted():
                if name not in found:
                    found.add(name)
                    yield InvalidRecord(
                        f"counter {name!r}",
                        "missing from the list of names, and not exported: hit or set it once "
                        "with this package, and run flask-redis-counter doctor",
                    )
        except StoreRejectedError as error:
            problem = f"cannot check whether it is complete: {error}"
            yield InvalidRecord("the list of names", problem)

    def _scan_unlisted(self) -> Iterator[str]:
        for part in self._store.parts():
            cursor = -1
            while cursor != 0:
                scan = _scan_names(self.prefix, max(cursor, 0))
                cursor, scanned = run(scan, partial(self._execute, store=part.pool))
                yield from self._run(_find_unlisted(self.prefix, scanned))

    def _run(self, operation: Operation[_T]) -> _T:
        return run(operation, self._execute)

    def _execute(self, commands: list[Command], store: StorePool | None = None) -> list[Any]:
        """Send commands until they are answered. They may be repeated: all are idempotent.

        :param store: the server that gets them; None: that of their keys.
        """
        deadline = time.monotonic() + OUTAGE_TIMEOUT
        while True:
            try:
                return (store or self._store).execute(commands)
            except StoreError as error:
                is_rejected = isinstance(error, StoreRejectedError)
                if is_rejected and not isinstance(error.__cause__, BusyLoadingError):
                    raise
                if time.monotonic() + RETRY_DELAY > deadline:
                    raise
            time.sleep(RETRY_DELAY)


def _split_batches(records: Iterable[CounterRecord]) -> Iterator[list[CounterRecord]]:
    batch: list[CounterRecord] = []
    days = 0
    for record in records:
        batch.append(validate_record(record))
        days += len(record.days)
        if len(batch) == COUNTERS_PER_BATCH or days >= DAYS_PER_BATCH:
            yield batch
            batch, days = [], 0
    if batch:
        yield batch


def _count_names(prefix: str) -> Operation[int]:
    (reply,) = yield [("ZCARD", names_key(prefix))]
    raise_for_error(reply)
    return int(reply)


def _scan_names(prefix: str, cursor: int) -> Operation[tuple[int, list[str]]]:
    """Scan a page of a server's keys; return the next cursor, and the names of counters."""
    (reply,) = yield [("SCAN", cursor, "MATCH", counter_pattern(prefix), "COUNT", 1000)]
    raise_for_error(reply)
    next_cursor, keys = reply
    names = (name_from_key(key.decode()) for key in keys)
    return int(next_cursor), [name for name in names if NAME.fullmatch(name)]


def _find_unlisted(prefix: str, found: list[str]) -> Operation[list[str]]:
    """Return those of the names that are missing from the list."""
    if not found:
        return []
    scores = yield [("ZSCORE", names_key(prefix), name) for name in found]
    return [name for name, score in zip(found, scores, strict=True) if score is None]


def _load_script() -> Operation[None]:
    yield [IMPORT.load()]


def _read_counter(prefix: str, name: str, days: bool) -> Operation[CounterRecord | None]:
    """Read a counter with its days; return None if it was deleted."""
    keys = CounterKeys(counter_key(prefix, name))
    if not days:
        (value,) = yield [("GET", keys.counter)]
        return None if value is None else CounterRecord(name, parse_integer(value, keys.counter, 0))
    value, fields, visitors_of_last_day = yield [
        ("GET", keys.counter),
        ("HGETALL", keys.days),
        ("PFCOUNT", keys.visitors),
    ]
    if value is None:
        return None
    for reply in (fields, visitors_of_last_day):
        if isinstance(reply, StoreRejectedError):
            raise translate_error(reply, keys.days) from reply.__cause__
    words = [field.decode() for field in fields]
    numbers = dict(zip(words[::2], words[1::2], strict=True))
    last = numbers.pop("last", None)
    if last is not None:
        numbers[f"visitors:{last}"] = str(visitors_of_last_day)
    numbers.pop(f"visitors:{current_hour()[:10]}", None)
    visitors = {
        field.removeprefix("visitors:"): int(number)
        for field, number in numbers.items()
        if field.startswith("visitors:")
    }
    hits = {date: int(number) for date, number in numbers.items() if ":" not in date}
    dates = sorted(hits.keys() | visitors.keys())
    records = {date: DayRecord(hits.get(date, 0), visitors.get(date)) for date in dates}
    return CounterRecord(name, parse_integer(value, keys.counter, 0), records)
