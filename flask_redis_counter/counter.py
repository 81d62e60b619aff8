"""Named counters in a Redis-compatible store. No Flask in here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self, TypeVar, overload

import redis

from . import operations
from .driver import ThreadDriver
from .errors import StoreError
from .operations import Operation
from .replayer import replayer_of
from .rules import (
    DEFAULT_DEADLINE,
    DEFAULT_PREFIX,
    MIN_VALUE,
    Durability,
    check_deadline,
    check_durability,
    check_integer,
    check_name,
    check_prefix,
    check_token,
)
from .spool import Spool
from .store import Store

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Hit:
    """One visit that was counted.

    :ivar name: the counter's name.
    :ivar value: the value that this hit brought the counter to; no other hit gets the same.
    :ivar replayed: whether an earlier hit with the same token had counted, and this is its
        answer once more.
    """

    name: str
    value: int
    replayed: bool = False

    def __int__(self) -> int:
        return self.value


class RedisCounter:
    """Counters that count each hit once and never hide that one was lost.

    A hit that gets no answer is sent again under the same number, which the store counts once,
    until the deadline is over. Hits that arrive together share a round trip.

    Thread-safe, also with gevent; a forked child may go on using it. Opens no connection until
    it is used.

    :param store: a URL (``redis://``, ``rediss://``, ``unix://``) or a ready
        :class:`redis.Redis`, whose address and credentials are taken over. redis-py's
        own retries are off either way, because each may count once more.
    :param prefix: what the keys begin with, 0 to 64 of ``A-Z a-z 0-9 . _ : / -``.
    :param deadline: seconds that a call may take at the most, 0.01 to 60.
    :param durability: what a hit waits for: ``memory``, the server's answer; ``fsync``, its
        disk (Redis 7.2 or Valkey, with ``appendonly``); ``replica``, one replica.
    :param spool: where a hit is written down that the store did not take, to be counted once
        when it does; None: the hit fails.
    :raises ConfigurationError: an argument is malformed or out of bounds.
    """

    def __init__(
        self,
        store: str | redis.Redis,
        *,
        prefix: str = DEFAULT_PREFIX,
        deadline: float = DEFAULT_DEADLINE,
        durability: Durability = "memory",
        spool: Spool | None = None,
    ) -> None:
        self.prefix = check_prefix(prefix)
        self.deadline = check_deadline(deadline)
        self.durability = check_durability(durability)
        self._store = Store(store, deadline=self.deadline, durability=self.durability)
        self._driver = ThreadDriver(self._store, deadline=self.deadline, durability=self.durability)
        self.spool = spool
        if spool is not None:
            replayer_of(spool, self._store)

    def hit(self, name: str, amount: int = 1, *, token: str | None = None) -> Hit:
        """Count.

        :param name: the counter, created where it does not exist.
        :param amount: how many at once, 1 to 2**63 - 1.
        :param token: what makes this hit recognisable, 1 to 255 printable ASCII characters:
            hits of a counter with the same token count once, for a day after the last, and
            get the same value, in whatever process.
        :raises InvalidNameError: the name is outside the rules.
        :raises InvalidAmountError: the amount is outside its bounds.
        :raises InvalidTokenError: the token is outside the rules.
        :raises TokenReusedError: not counted: the token was used with another amount.
        :raises StoreUnavailableError: not counted: the store was not reached in time.
        :raises StoreRefusedError: not counted: the store is full, read-only, loading …
        :raises OutcomeUnknownError: perhaps counted: the store was asked and did not answer.
            With a token, also where this call did not reach the store, because one before it
            may have; the same call again finds out.
        :raises SpooledError: not yet counted: it waits in the spool. With a spool, one of the
            three above says that the spool is full, or that its disk refuses.
        :raises NotAnIntegerError: not counted: the key holds something else.
        :raises CounterOverflowError: not counted: the value would pass 2**63 - 1.
        """
        key = key_of(self.prefix, name)
        amount = check_integer(amount, 1)
        pending = self._driver.count(key, amount, None if token is None else check_token(token))
        if self.spool is not None and isinstance(pending.error, StoreError):
            self.spool.keep(pending)
            replayer_of(self.spool, self._store).wake()
        return Hit(name, pending.outcome(), pending.replayed)

    @overload
    def value(self, name: str) -> int: ...
    @overload
    def value(self, name: str, default: _T) -> int | _T: ...
    def value(self, name: str, default: Any = 0) -> Any:
        """Read a counter.

        :param default: what to return for a counter that does not exist.
        :raises InvalidNameError: the name is outside the rules.
        :raises NotAnIntegerError: the key holds something else.
        :raises StoreError: the store did not answer in time, or refused.
        """
        return self._ask(operations.read(key_of(self.prefix, name), default))

    def values(self, names: Iterable[str]) -> dict[str, int]:
        """Read many counters in one round trip; one that does not exist reads 0.

        :raises InvalidNameError: a name is outside the rules.
        :raises NotAnIntegerError: one of the keys holds something else.
        :raises StoreError: the store did not answer in time, or refused.
        """
        return self._ask(operations.read_many({name: key_of(self.prefix, name) for name in names}))

    def set(self, name: str, value: int) -> int:
        """Set a counter and return the value that it had, 0 where it did not exist.

        :param value: -2**63 to 2**63 - 1.
        :raises InvalidNameError: the name is outside the rules.
        :raises InvalidAmountError: the value is outside its bounds.
        :raises NotAnIntegerError: the key holds something else, and was left as it is.
        :raises StoreError: the store did not answer in time, or refused; ``counted``
            says whether the counter may have been set.
        """
        key = key_of(self.prefix, name)
        operation = operations.swap(key, check_integer(value, MIN_VALUE))
        return operations.run(operation, self._store.call_many)

    def reset(self, name: str) -> int:
        """Set a counter to 0 and return the value that it had; raises what :meth:`set` does."""
        return self.set(name, 0)

    def names(self) -> list[str]:
        """Return the names of all counters, sorted.

        Scans the store's keys, each step within the deadline: for people and tools, not
        for the path of a request on a store that holds millions of other keys.

        :raises StoreError: the store did not answer in time, or refused.
        """
        return self._ask(operations.names(self.prefix))

    def ping(self) -> None:
        """Ask the store for a sign of life.

        :raises StoreError: it did not answer in time, or refused.
        """
        self._ask(operations.ping())

    def risks(self) -> list[str]:
        """Return in words how the store is set up to lose hits that it acknowledged.

        :raises StoreError: it did not answer in time.
        """
        return self._ask(operations.risks())

    def close(self) -> None:
        """Close the idle connections and the spool; the counter stays usable."""
        if self.spool is not None:
            replayer_of(self.spool, self._store).close()
            self.spool.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, operation: Operation[_T]) -> _T:
        return operations.run(operation, self._store.ask)


def key_of(prefix: str, name: object) -> str:
    """Return the key of a counter; the braces keep its records in the same slot of a cluster.

    :raises InvalidNameError: the name is outside the rules.
    """
    return f"{prefix}{{{check_name(name)}}}"
