"""Consistency checker for the history of a counter.

It extends the checker of Jepsen's counter workload (``jepsen.checker/counter``): the value of a
response lies between the hits that were acknowledged before the request, and those that were
requested before the response. Here a hit returns a value as well, and may have an idempotency key.
So the checker also requires that no two hits return the same value, that values do not go back,
and that attempts with the same idempotency key count once and return the same value.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise

from .history import Op

#: Number of violations of one kind that an error lists.
MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Summary of a history. Attempts with the same idempotency key are one hit.

    :ivar acknowledged: hits that returned a value.
    :ivar resolved: acknowledged hits with at least one unknown attempt under the same key.
    :ivar unknown: hits whose outcome stayed unknown.
    :ivar not_counted: attempts that certainly did not count.
    :ivar reads: reads that returned a value.
    :ivar lost: acknowledged amount that is missing in the counter.
    :ivar duplicated: amount in the counter beyond what was acknowledged or is unknown.
    """

    acknowledged: int
    resolved: int
    unknown: int
    not_counted: int
    reads: int
    lost: int
    duplicated: int

    def __str__(self) -> str:
        return (
            f"{self.acknowledged:,} acknowledged, {self.resolved:,} of them resolved by a retry; "
            f"{self.unknown:,} unknown; {self.not_counted:,} not counted; {self.reads:,} reads; "
            f"{self.lost:,} lost; {self.duplicated:,} duplicated"
        )


def check(
    history: Iterable[Op], *, before: int, after: int, allows_failovers: bool = False
) -> CheckResult:
    """Check the responses against each other and against the counter's final value.

    A million operations take some seconds: the checker sorts, and searches by bisection.

    :param history: all operations on the counter; none of them is in progress.
    :param before: the counter's value before the first operation.
    :param after: its value after the last.
    :param allows_failovers: check the final value alone. After a failover of a store that
        replicates asynchronously, values may go back and be returned again.
    :raises AssertionError: acknowledged hits were lost; something counted twice or without a
        request; a value was returned twice, went back or is out of bounds; or an idempotency key
        got two values. The message lists :data:`MAX_EXAMPLES` cases of each, and their number.
    :raises ValueError: attempts with the same idempotency key have different amounts.
    """
    operations = list(history)
    requests = _group_attempts(operations)
    completed = [each for each in requests if each.completed < math.inf]
    acknowledged = sum(each.amount for each in completed)
    unknown = sum(each.amount for each in requests) - acknowledged
    counted = after - before
    reads = sum(each.amount == 0 for each in requests)
    result = CheckResult(
        acknowledged=len(completed) - reads,
        resolved=sum(each.had_unknown for each in completed),
        unknown=len(requests) - len(completed),
        not_counted=sum(each.not_counted and each.kind == "hit" for each in operations),
        reads=reads,
        lost=max(0, acknowledged - counted),
        duplicated=max(0, counted - acknowledged - unknown),
    )
    found = [_check_sum(result)]
    if not allows_failovers:
        found += [
            _check_highest_value(completed, after),
            _check_keys(completed),
            _check_unique_values(completed),
            _check_bounds(requests, completed, before),
        ]
    violations = [violation for each in found for violation in _limit_examples(each)]
    if violations:
        raise AssertionError("\n".join([f"from {before} to {after}: {result}", *violations]))
    return result


class _Request:
    """All attempts at one hit that may have counted, or one read, which has amount 0."""

    __slots__ = (
        "amount",
        "client",
        "completed",
        "had_unknown",
        "invoked",
        "key",
        "second_value",
        "value",
    )

    def __init__(self, first: Op) -> None:
        self.client = first.client
        self.key = first.idempotency_key
        self.amount = first.amount if first.kind == "hit" else 0
        self.invoked = first.invoked
        self.completed = math.inf
        self.value = 0  # set with the first response
        self.second_value: int | None = None  # a different value, from another attempt
        self.had_unknown = False

    def add(self, attempt: Op) -> None:
        self.invoked = min(self.invoked, attempt.invoked)
        if attempt.value is None:
            self.had_unknown = True
            return
        if self.completed < math.inf and attempt.value != self.value:
            self.second_value = attempt.value
            return
        self.value = attempt.value
        self.completed = min(self.completed, attempt.completed)

    def __str__(self) -> str:
        what = f"hit of {self.amount}" if self.amount else "read"
        key = f" with key {self.key}" if self.key is not None else ""
        return (
            f"client {self.client}'s {what}{key}, "
            f"sent at {self.invoked:.6f}, returned {self.value} at {self.completed:.6f}"
        )


def _group_attempts(operations: Iterable[Op]) -> list[_Request]:
    requests = []
    by_key: dict[str, _Request] = {}
    for attempt in operations:
        # An attempt that was not counted does not resolve other attempts with its key.
        if attempt.not_counted or (attempt.kind == "read" and attempt.value is None):
            continue
        key = attempt.idempotency_key
        request = by_key.get(key) if key is not None else None
        if request is None:
            request = _Request(attempt)
            requests.append(request)
            if key is not None:
                by_key[key] = request
        elif attempt.amount != request.amount:
            raise ValueError(
                f"attempts with one idempotency key must have the same amount, "
                f"not {request.amount}: {attempt}"
            )
        request.add(attempt)
    return requests


class _RunningTotal:
    """A total over time, from pairs of a time and a number."""

    def __init__(
        self,
        pairs: Iterable[tuple[float, int]],
        start: int,
        add: Callable[[int, int], int] = operator.add,
    ) -> None:
        ordered = sorted(pairs)
        self._times = [time for time, _ in ordered]
        self._totals = list(accumulate((number for _, number in ordered), add, initial=start))

    def before(self, time: float) -> int:
        return self._totals[bisect_left(self._times, time)]

    def until(self, time: float) -> int:
        return self._totals[bisect_right(self._times, time)]


def _check_sum(result: CheckResult) -> Iterator[str]:
    if result.lost:
        yield f"lost: {result.lost} that were acknowledged are not in the count"
    if result.duplicated:
        yield f"duplicated: {result.duplicated} were counted twice, or were never requested"


def _check_highest_value(completed: list[_Request], after: int) -> Iterator[str]:
    highest = max(completed, key=lambda each: each.value, default=None)
    if highest is not None and highest.value > after:
        yield f"went back: the final value is {after}, lower than {highest}"


def _check_keys(completed: list[_Request]) -> Iterator[str]:
    for request in completed:
        if request.second_value is not None:
            yield (
                f"two values for one idempotency key: {request.second_value} as well as {request}"
            )


def _check_unique_values(completed: list[_Request]) -> Iterator[str]:
    # A hit of 3 that returns 10 took 8, 9 and 10.
    hits = sorted((each for each in completed if each.amount), key=lambda each: each.value)
    for one, other in pairwise(hits):
        if other.value - other.amount < one.value:
            yield f"returned twice: {one}; {other}"


def _check_bounds(
    requests: list[_Request], completed: list[_Request], before: int
) -> Iterator[str]:
    requested = _RunningTotal(((each.invoked, each.amount) for each in requests), before)
    acknowledged = _RunningTotal(((each.completed, each.amount) for each in completed), before)
    highest = _RunningTotal(((each.completed, each.value) for each in completed), before, max)
    for request in completed:
        minimum = acknowledged.before(request.invoked) + request.amount
        maximum = requested.until(request.completed)
        known = highest.before(request.invoked)
        if not minimum <= request.value <= maximum:
            yield f"out of bounds: not from {minimum} to {maximum}: {request}"
        elif request.value < known + request.amount:
            yield f"went back: {known} was returned before: {request}"


def _limit_examples(found: Iterator[str]) -> Iterator[str]:
    yield from islice(found, MAX_EXAMPLES)
    if more := sum(1 for _ in found):
        yield f"… and {more:,} more like the last"
