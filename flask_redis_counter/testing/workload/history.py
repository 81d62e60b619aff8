"""What the clients of a counter asked and were told, and when."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

#: The outcome of a hit as its client knows it, spelled as the counter does. Its own type, because
#: the harness does not import the counter.
Outcome: TypeAlias = Literal["counted", "not_counted", "unknown"]


@dataclass(frozen=True, slots=True)
class Op:
    """One thing that one client asked, and what it was told.

    :ivar client: who asked.
    :ivar kind: ``hit`` or ``read``.
    :ivar invoked: when it was asked, in seconds of one monotonic clock for all clients.
    :ivar completed: when the answer was there; infinite where none came.
    :ivar value: the value that it was told, if any.
    :ivar refused: whether a hit was told that it did not count.
    :ivar token: what a hit is recognisable by; those with the same one count once.
    :ivar amount: how many a hit counts at once, 1 or more.
    """

    client: int
    kind: Literal["hit", "read"]
    invoked: float
    completed: float = math.inf
    value: int | None = None
    refused: bool = False
    token: str | None = None
    amount: int = 1

    @property
    def outcome(self) -> Outcome:
        """What is known of it."""
        if self.value is not None:
            return "counted"
        return "not_counted" if self.refused else "unknown"


@dataclass(slots=True)
class Result:
    """What an operation under way is told; unknown until one of these is set.

    :ivar value: the value that it was told.
    :ivar refused: whether it was told that nothing was counted.
    """

    value: int | None = None
    refused: bool = False


class History:
    """What clients asked and were told; thread-safe. It has an operation once that has ended.

    :param operations: what it begins with.
    """

    def __init__(self, operations: Iterable[Op] = ()) -> None:
        self._lock = threading.Lock()
        self._operations: list[Op] = []
        self._outcomes: Counter[Outcome] = Counter()
        for operation in operations:
            self.add(operation)

    def add(self, operation: Op) -> None:
        """Remember an operation."""
        with self._lock:
            self._operations.append(operation)
            if operation.kind == "hit":
                self._outcomes[operation.outcome] += 1

    @contextmanager
    def hit(self, client: int, *, token: str | None = None, amount: int = 1) -> Iterator[Result]:
        """Remember what is asked and told within the ``with`` block as a hit."""
        answer = Result()
        invoked = time.monotonic()
        try:
            yield answer
        finally:
            told = (invoked, time.monotonic(), answer.value, answer.refused)
            self.add(Op(client, "hit", *told, token, amount))

    @contextmanager
    def read(self, client: int) -> Iterator[Result]:
        """Remember what is asked and told within the ``with`` block as a read."""
        answer = Result()
        invoked = time.monotonic()
        try:
            yield answer
        finally:
            self.add(Op(client, "read", invoked, time.monotonic(), answer.value))

    def count(self, outcome: Outcome) -> int:
        """Return how many attempts to hit came out so, retries included."""
        with self._lock:
            return self._outcomes[outcome]

    def __iter__(self) -> Iterator[Op]:
        with self._lock:
            return iter(self._operations.copy())

    def __len__(self) -> int:
        return len(self._operations)
