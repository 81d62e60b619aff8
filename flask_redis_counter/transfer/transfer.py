"""Takes the counters of a store out, and those of other places in, many a round trip."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
from ..store.connections import Command
from ..store.keys import CounterKeys, counter_key, counter_pattern, name_from_key, names_key
from ..store.operation import Operation, gather, run
from ..store.pool import ConnectionPool
from ..store.queries import names
from ..store.replies import parse_integer, translate_error
from ..store.scripts import IMPORT
from ..validation import (
    DEFAULT_PREFIX,
    NAME,
    check_prefix,
)
from .importing import ImportStatus, OnConflict, import_counter
from .records import CounterRecord, DayRecord, InvalidRecord, validate_record

#: How many counters one round trip carries at the most, and about how many of their days.
COUNTERS_PER_BATCH = 250
DAYS_PER_BATCH = 5_000

#: Seconds that a store may be away before a transfer gives up, and between two attempts.
OUTAGE_TIMEOUT = 30.0
RETRY_DELAY = 0.1

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What has become of a counter that was brought in.

    :ivar name: its name.
    :ivar verdict: what has become of it.
    :ivar error: why it was refused: its key holds something else, or the sum is too large.
    """

    name: str
    verdict: ImportStatus
    error: CounterError | None = None


class Transfer:
    """The way of whole counters out of a store and into it.

    A store that goes away is waited for; then an error ends it, and what was done stays.

    :param store: as for :class:`RedisCounter`.
    :param prefix: what the keys begin with.
    :param timeout: seconds that one round trip may take.
    :raises ConfigurationError: an argument is malformed or out of bounds.
    """

    def __init__(
        self, store: str | redis.Redis, *, prefix: str = DEFAULT_PREFIX, timeout: float = 10
    ) -> None:
        self.prefix = check_prefix(prefix)
        self._store = ConnectionPool(store, timeout=timeout)

    def size(self) -> int:
        """Return how many counters there are.

        :raises StoreError: the store did not answer in time, or refused.
        """
        return run(_size(self.prefix), self._store.ask)

    def records(self, *, days: bool = True) -> Iterator[CounterRecord | InvalidRecord]:
        """Return all counters, sorted by name; one that is deleted meanwhile may be missing.

        The visitors of the day that it is are not yet a number, and are left out.

        :param days: with their days.
        :raises StoreError: the store did not answer, or refused.
        """
        after = ""
        while True:
            page = self._run(names(self.prefix, after, COUNTERS_PER_BATCH))
            reads = (_exported(self.prefix, name, days) for name in page)
            for name, it in zip(page, self._run(gather(*reads)), strict=True):
                if isinstance(it, StoreError):
                    raise it
                if isinstance(it, CounterError):
                    yield InvalidRecord(f"counter {name!r}", str(it))
                elif it is not None:
                    yield it
            if len(page) < COUNTERS_PER_BATCH:
                break
            after = page[-1]
        yield from self._unlisted()

    def adopt(
        self,
        records: Iterable[CounterRecord],
        source: str,
        *,
        mode: OnConflict = "leave",
        max_counters: int | None = None,
    ) -> Iterator[ImportResult]:
        """Bring counters in, and tell of each what has become of it.

        One that is not there is made. What a source has brought of a counter it never brings
        again, also in another process; hits meanwhile are neither lost nor doubled.

        :param source: where they are from.
        :param mode: what becomes of one that is there: ``leave`` it alone; ``add`` what its source
            has not brought yet; or ``replace`` it, unless this is what its source brought last.
        :param max_counters: make a counter only while there are fewer than so many; None: always.
        :raises ValueError: a record is outside the rules; those before it may be in.
        :raises TooManyCountersError: there are as many as that.
        :raises StoreError: the store did not answer, or refused.
        """
        limit = Limits(max_counters).counter_limit
        self._run(_loaded())
        for batch in _batches(records):
            calls = (
                import_counter(counter_key(self.prefix, record.name), record, source, mode, limit)
                for record in batch
            )
            for record, it in zip(batch, self._run(gather(*calls)), strict=True):
                if not isinstance(it, CounterError):
                    yield ImportResult(record.name, it)
                elif isinstance(it, NotAnIntegerError | CounterOverflowError):
                    yield ImportResult(record.name, "refused", it)
                else:
                    raise it

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unlisted(self) -> Iterator[InvalidRecord]:
        """Find counters that are missing from the list of names, and so from what was read."""
        found: set[str] = set()
        cursor = 0
        while True:
            try:
                cursor, missing = self._run(_scanned(self.prefix, cursor))
            except StoreRejectedError as error:
                yield InvalidRecord(
                    "the list of names", f"nothing says whether it is complete: {error}"
                )
                return
            for name in missing:
                if name not in found:
                    found.add(name)
                    yield InvalidRecord(
                        f"counter {name!r}",
                        "missing from the list of names, and left out: hit or set it here once, "
                        "and see flask-redis-counter doctor",
                    )
            if cursor == 0:
                return

    def _run(self, operation: Operation[_T]) -> _T:
        return run(operation, self._sent)

    def _sent(self, commands: list[Command]) -> list[Any]:
        """Send until there is an answer: nothing here does more when it is sent twice."""
        deadline = time.monotonic() + OUTAGE_TIMEOUT
        while True:
            try:
                return self._store.call_many(commands)
            except StoreError as error:
                final = isinstance(error, StoreRejectedError)
                if final and not isinstance(error.__cause__, BusyLoadingError):
                    raise
                if time.monotonic() + RETRY_DELAY > deadline:
                    raise
            time.sleep(RETRY_DELAY)


def _batches(records: Iterable[CounterRecord]) -> Iterator[list[CounterRecord]]:
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


def _size(prefix: str) -> Operation[int]:
    (answer,) = yield [("ZCARD", names_key(prefix))]
    if isinstance(answer, StoreRejectedError):
        raise answer
    return int(answer)


def _scanned(prefix: str, cursor: int) -> Operation[tuple[int, list[str]]]:
    """Look at some of the store's keys; return the next cursor, and the names that are missing."""
    (answer,) = yield [("SCAN", cursor, "MATCH", counter_pattern(prefix), "COUNT", 1000)]
    if isinstance(answer, StoreRejectedError):
        raise answer
    following, keys = answer
    found = [name for name in (name_from_key(key.decode()) for key in keys) if NAME.fullmatch(name)]
    if not found:
        return int(following), []
    scores = yield [("ZSCORE", names_key(prefix), name) for name in found]
    return int(following), [
        name for name, score in zip(found, scores, strict=True) if score is None
    ]


def _loaded() -> Operation[None]:
    yield [IMPORT.load()]


def _exported(prefix: str, name: str, days: bool) -> Operation[CounterRecord | None]:
    """Read a counter with its days; None: it is gone."""
    keys = CounterKeys(counter_key(prefix, name))
    if not days:
        (value,) = yield [("GET", keys.counter)]
        return None if value is None else CounterRecord(name, parse_integer(value, keys.counter, 0))
    value, fields, visiting = yield [
        ("GET", keys.counter),
        ("HGETALL", keys.days),
        ("PFCOUNT", keys.visitors),
    ]
    if value is None:
        return None
    for answer in (fields, visiting):
        if isinstance(answer, StoreRejectedError):
            raise translate_error(answer, keys.days) from answer.__cause__
    words = [field.decode() for field in fields]
    found = dict(zip(words[::2], words[1::2], strict=True))
    last = found.pop("last", None)
    if last is not None:
        found[f"visitors:{last}"] = str(visiting)
    found.pop(f"visitors:{current_hour()[:10]}", None)
    visitors = {
        date.removeprefix("visitors:"): int(number)
        for date, number in found.items()
        if date.startswith("visitors:")
    }
    hits = {date: int(number) for date, number in found.items() if ":" not in date}
    dates = sorted(hits.keys() | visitors.keys())
    described = {date: DayRecord(hits.get(date, 0), visitors.get(date)) for date in dates}
    return CounterRecord(name, parse_integer(value, keys.counter, 0), described)
