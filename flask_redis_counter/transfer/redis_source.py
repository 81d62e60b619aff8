"""Import source: plain integer keys of another Redis, which is only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Self

from ..errors import CounterError, NotAnIntegerError, StoreRejectedError
from ..store.cluster_pool import open_pool
from ..store.operation import Operation, run
from ..store.replies import parse_integer, raise_for_error
from ..store.url import describe_address
from ..validation import check_name
from .records import CounterRecord, InvalidRecord

_TYPES = {b"hash": "a hash", b"list": "a list", b"set": "a set", b"zset": "a sorted set"}

#: ``COUNT`` of ``SCAN``: about how many keys a round trip looks at.
PAGE_SIZE = 500


class RedisSource:
    """Another Redis.

    :param url: URL of the server.
    :param timeout: seconds that one read may take.
    :ivar address: server without credentials: ``host:port/db``, or socket path and db, or the
        Sentinels' addresses with service and db, or those of a cluster's nodes.
    :raises ConfigurationError: the URL is malformed.
    """

    def __init__(self, url: str, *, timeout: float = 10) -> None:
        self._store = open_pool(url, timeout=timeout)
        self.address: str = describe_address(url)

    def size(self) -> int:
        """Return the number of keys of the server.

        :raises StoreError: the server did not answer in time, or rejected the command.
        """
        return sum(run(_count_keys(), part.pool.read) for part in self._store.parts())

    def scan(
        self,
        pattern: str,
        strip_prefix: str = "",
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Iterator[CounterRecord | InvalidRecord]:
        """Yield the counters whose keys match a pattern.

        A key without an integer is an :class:`InvalidRecord`, and so is a key with the same counter
        name as an earlier key.

        :param pattern: glob pattern of ``SCAN``, such as ``hits:*``.
        :param strip_prefix: prefix to remove from the keys.
        :param on_progress: called after each page with the number of keys looked at.
        :raises StoreError: the server did not answer in time, or rejected a command.
        """
        seen: set[bytes] = set()  # SCAN may return the same key twice
        key_by_name: dict[str, str] = {}
        for page in self._scan_pages(pattern):
            keys = [key for key in dict.fromkeys(page) if key not in seen]
            seen.update(keys)
            for record in self.read_keys(keys, strip_prefix):
                if isinstance(record, InvalidRecord):
                    yield record
                    continue
                first = key_by_name.setdefault(record.name, record.source_key)
                if first == record.source_key:
                    yield record
                else:
                    problem = f"{first!r} has the same counter name, {record.name!r}"
                    yield InvalidRecord(f"key {record.source_key!r:.200}", problem)
            on_progress(PAGE_SIZE)

    def _scan_pages(self, pattern: str) -> Iterator[list[bytes]]:
        """Yield pages of the keys of each server."""
        for part in self._store.parts():
            cursor, page = run(_scan(b"0", pattern), part.pool.read)
            yield page
            while cursor != b"0":
                cursor, page = run(_scan(cursor, pattern), part.pool.read)
                yield page

    def read_keys(
        self, keys: Sequence[bytes], strip_prefix: str = "", name: str | None = None
    ) -> Iterator[CounterRecord | InvalidRecord]:
        """Yield the counters of the keys. A key without an integer is an :class:`InvalidRecord`.

        :param name: name of the counter of each key; None: the key without the prefix. If it is
            given, a missing key is an :class:`InvalidRecord`; otherwise it is skipped.
        :raises StoreError: the server did not answer in time, or rejected a command.
        """
        if not keys:
            return
        replies, types = run(_read_values(keys), self._store.read)
        for key, reply in zip(keys, replies, strict=True):
            text = key.decode("utf-8", "surrogateescape")
            try:
                value = parse_integer(reply, text, None)
                counter_name = check_name(name or text.removeprefix(strip_prefix))
            except CounterError as error:
                if isinstance(error, StoreRejectedError):
                    raise
                if isinstance(error, NotAnIntegerError):
                    problem = f"holds {types.get(key, 'a string')}, which is not an integer"
                else:
                    problem = str(error)
                yield InvalidRecord(f"key {text!r:.200}", problem)
                continue
            if value is not None:
                yield CounterRecord(counter_name, value, source_key=text)
            elif name is not None:
                yield InvalidRecord(f"key {text!r:.200}", "does not exist")

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _count_keys() -> Operation[int]:
    (reply,) = yield [("DBSIZE",)]
    raise_for_error(reply)
    return int(reply)


def _scan(cursor: bytes, pattern: str) -> Operation[tuple[bytes, list[bytes]]]:
    (reply,) = yield [("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE_SIZE)]
    raise_for_error(reply)
    next_cursor, keys = reply
    return next_cursor, keys


def _read_values(keys: Sequence[bytes]) -> Operation[tuple[list[object], dict[bytes, str]]]:
    """Read keys; return their replies, and the types of those that are not strings."""
    # Not MGET, which returns nil for a key of another type.
    replies = yield [("GET", key) for key in keys]
    wrong = [
        key
        for key, reply in zip(keys, replies, strict=True)
        if isinstance(reply, StoreRejectedError) and "WRONGTYPE" in str(reply)
    ]
    types = (yield [("TYPE", key) for key in wrong]) if wrong else []
    return replies, {
        key: _TYPES.get(name, f"a value of the type {name.decode()}")
        for key, name in zip(wrong, types, strict=True)
        if isinstance(name, bytes)
    }
