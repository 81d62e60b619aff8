"""The requests that clients sent to a counter, and the results that they got."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

#: The outcome of a hit as its client knows it, spelled as in the counter package. A separate type,
#: because the harness does not import the counter.
Outcome: TypeAlias = Literal["counted", "not_counted", "unknown"]


@dataclass(frozen=True, slots=True)
class Op:
    """One request of one client, and its result.

    :ivar client: the number of the client.
    :ivar kind: ``hit`` or ``read``.
    :ivar invoked: time of the request, in seconds of one monotonic clock for all clients.
    :ivar completed: time of the response; infinite if there was none.
    :ivar value: the value in the response, if any.
    :ivar not_counted: whether the response said that the hit was not counted.
    :ivar idempotency_key: the key of a hit; hits with the same key count once.
    :ivar amount: amount of a hit, 1 or more.
    """

    client: int
    kind: Literal["hit", "read"]
    invoked: float
    completed: float = math.inf
    value: int | None = None
    not_counted: bool = False
    idempotency_key: str | None = None
    amount: int = 1

    @property
    def outcome(self) -> Outcome:
        """The outcome, as far as the client knows it."""
        if self.value is not None:
            return "counted"
        return "not_counted" if self.not_counted else "unknown"


@dataclass(slots=True)
class Result:
    """Result of an operation in progress; unknown until one of these is set.

    :ivar value: the value in the response.
    :ivar not_counted: whether the response said that nothing was counted.
    """

    value: int | None = None
    not_counted: bool = False


class History:
    """All operations on one counter; thread-safe. An operation is added when it has ended.

    :param operations: the first operations.
    """

    def __init__(self, operations: Iterable[Op] = ()) -> None:
        self._lock = threading.Lock()
        self._operations: list[Op] = []
        self._outcomes: Counter[Outcome] = Counter()
        for operation in operations:
            self.add(operation)

    def add(self, operation: Op) -> None:
        """Add an operation."""
        with self._lock:
            self._operations.append(operation)
            if operation.kind == "hit":
                self._outcomes[operation.outcome] += 1

    @contextmanager
    def hit(
        self, client: int, *, idempotency_key: str | None = None, amount: int = 1
    ) -> Iterator[Result]:
        """Record the ``with`` block as a hit, with the result that the block sets."""
        result = Result()
        invoked = time.monotonic()
        try:
            yield result
        finally:
            outcome = (invoked, time.monotonic(), result.value, result.not_counted)
            self.add(Op(client, "hit", *outcome, idempotency_key, amount))

    @contextmanager
    def read(self, client: int) -> Iterator[Result]:
        """Record the ``with`` block as a read, with the result that the block sets."""
        result = Result()
        invoked = time.monotonic()
        try:
            yield result
        finally:
            self.add(Op(client, "read", invoked, time.monotonic(), result.value))

    def count(self, outcome: Outcome) -> int:
        """Return the number of attempts to hit with this outcome, retries included."""
        with self._lock:
            return self._outcomes[outcome]

    def __iter__(self) -> Iterator[Op]:
        with self._lock:
            return iter(self._operations.copy())

    def __len__(self) -> int:
        return len(self._operations)
