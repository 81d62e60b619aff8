"""Counters that are plain keys of another Redis, which is only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Self

from redis.connection import parse_url

from ..errors import CounterError, NotAnIntegerError, StoreRejectedError
from ..store.operation import Operation, run
from ..store.pool import ConnectionPool
from ..store.replies import parse_integer
from ..validation import check_name, check_url
from .records import CounterRecord, InvalidRecord

_TYPES = {b"hash": "a hash", b"list": "a list", b"set": "a set", b"zset": "a sorted set"}

#: How many keys one round trip looks at.
PAGE_SIZE = 500


class RedisSource:
    """Another Redis.

    :param url: where it is.
    :ivar address: where it is, without credentials: ``host:port/db``, or the path of its socket.
    :raises ConfigurationError: the URL is malformed.
    """

    def __init__(self, url: str, *, timeout: float = 10) -> None:
        self._store = ConnectionPool(check_url(url), timeout=timeout)
        parts = parse_url(url)  # type: ignore[no-untyped-call]
        place = parts.get("path") or f"{parts.get('host', 'localhost')}:{parts.get('port', 6379)}"
        self.address = f"{place}/{parts.get('db', 0)}"

    def size(self) -> int:
        """Return how many keys it has; raises :class:`StoreError`."""
        return run(_size(), self._store.ask)

    def matching(
        self, pattern: str, strip: str = "", seen: Callable[[int], None] = lambda _: None
    ) -> Iterator[CounterRecord | InvalidRecord]:
        """Return the counters whose keys match a pattern; what is none is told by its key.

        :param pattern: as for ``SCAN``: ``hits:*``.
        :param strip: what the names lack that the keys begin with.
        :param seen: is told from time to time how many more keys were looked at.
        :raises StoreError: it did not answer in time, or refused.
        """
        found: set[bytes] = set()  # SCAN may answer the same key twice
        first: dict[str, str] = {}
        cursor = b"0"
        while True:
            cursor, answer = run(_scanned(cursor, pattern), self._store.ask)
            keys = [key for key in dict.fromkeys(answer) if key not in found]
            found.update(keys)
            for it in self.read(keys, strip):
                if (
                    isinstance(it, InvalidRecord)
                    or first.setdefault(it.name, it.origin) == it.origin
                ):
                    yield it
                else:
                    problem = f"becomes {it.name!r}, as {first[it.name]!r} does"
                    yield InvalidRecord(f"key {it.origin!r:.200}", problem)
            seen(PAGE_SIZE)
            if cursor == b"0":
                return

    def read(
        self, keys: Sequence[bytes], strip: str = "", name: str | None = None
    ) -> Iterator[CounterRecord | InvalidRecord]:
        """Return the counters that keys hold; what is none is told by its key.

        :param name: what they are all called; None: what is left of the key.
        :raises StoreError: it did not answer in time, or refused.
        """
        if not keys:
            return
        answers, types = run(_values(keys), self._store.ask)
        for key, answer in zip(keys, answers, strict=True):
            text = key.decode("utf-8", "surrogateescape")
            try:
                value = parse_integer(answer, text, None)
                called = check_name(name or text.removeprefix(strip))
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
                yield CounterRecord(called, value, origin=text)
            elif name is not None:
                yield InvalidRecord(f"key {text!r:.200}", "is not there")

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _size() -> Operation[int]:
    (answer,) = yield [("DBSIZE",)]
    if isinstance(answer, StoreRejectedError):
        raise answer
    return int(answer)


def _scanned(cursor: bytes, pattern: str) -> Operation[tuple[bytes, list[bytes]]]:
    (answer,) = yield [("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE_SIZE)]
    if isinstance(answer, StoreRejectedError):
        raise answer
    behind, keys = answer
    return behind, keys


def _values(keys: Sequence[bytes]) -> Operation[tuple[list[object], dict[bytes, str]]]:
    """Read keys; for those of another type, what that is."""
    # Not MGET: it answers nil for a key of another type.
    answers = yield [("GET", key) for key in keys]
    pairs = zip(keys, answers, strict=True)
    wrong = [
        key
        for key, answer in pairs
        if isinstance(answer, StoreRejectedError) and "WRONGTYPE" in str(answer)
    ]
    types = (yield [("TYPE", key) for key in wrong]) if wrong else []
    return answers, {
        key: _TYPES.get(name, f"a value of the type {name.decode()}")
        for key, name in zip(wrong, types, strict=True)
        if isinstance(name, bytes)
    }
