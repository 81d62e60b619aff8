"""Whether a counter kept its word, judged from what its clients asked and were told.

After the checker of Jepsen's counter workload (``jepsen.checker/counter``): a value lies between
the hits that were acknowledged before it was asked for, and those that were asked for before it
was told. Here each hit is told a value as well, and may have a token, so more can be judged: no
value belongs to two hits, none goes back, and a token stands for one hit with one value.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise

from .history import Op

#: How many violations of one kind an error spells out.
MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a history says of the counter. Attempts with the same token are one hit.

    :ivar acknowledged: hits whose value was told.
    :ivar settled: those of them that had an attempt without an answer as well.
    :ivar unknown: hits of which nobody knows, to the end.
    :ivar refused: attempts that did not count, for certain.
    :ivar reads: reads that were answered.
    :ivar lost: how much of what was acknowledged the counter does not have.
    :ivar doubled: how much it has beyond what was acknowledged or is unknown.
    """

    acknowledged: int
    settled: int
    unknown: int
    refused: int
    reads: int
    lost: int
    doubled: int

    def __str__(self) -> str:
        return (
            f"{self.acknowledged:,} acknowledged, {self.settled:,} of them settled by their token; "
            f"{self.unknown:,} unknown; {self.refused:,} refused; {self.reads:,} reads; "
            f"{self.lost:,} lost; {self.doubled:,} doubled"
        )


def check(history: Iterable[Op], *, before: int, after: int) -> CheckResult:
    """Check the answers that clients got against each other and against the store's count.

    A million operations take some seconds: it sorts, and looks things up by bisection.

    :param history: all operations on the counter; none is under way any more.
    :param before: the counter's value before the first of them.
    :param after: its value after the last.
    :raises AssertionError: acknowledged hits were lost, something counted twice or unasked, a value
        was handed out twice, went back or is out of its bounds, or a token got two values. The
        text spells out :data:`MAX_EXAMPLES` cases of each and says how many there are.
    :raises ValueError: attempts with the same token have different amounts.
    """
    operations = list(history)
    steps = _steps(operations)
    told = [step for step in steps if step.told < math.inf]
    acknowledged = sum(step.amount for step in told)
    unknown = sum(step.amount for step in steps) - acknowledged
    counted = after - before
    reads = sum(step.amount == 0 for step in steps)
    verdict = CheckResult(
        acknowledged=len(told) - reads,
        settled=sum(step.unsure for step in told),
        unknown=len(steps) - len(told),
        refused=sum(each.refused and each.kind == "hit" for each in operations),
        reads=reads,
        lost=max(0, acknowledged - counted),
        doubled=max(0, counted - acknowledged - unknown),
    )
    violations = [
        *_examples(_at_the_end(verdict, told, after)),
        *_examples(_two_values(told)),
        *_examples(_handed_out_twice(told)),
        *_examples(_out_of_bounds(steps, told, before)),
    ]
    if violations:
        raise AssertionError("\n".join([f"from {before} to {after}: {verdict}", *violations]))
    return verdict


class _Step:
    """All attempts at one hit that may have counted, or one read: a hit of nothing."""

    __slots__ = ("amount", "invoked", "other", "token", "told", "unsure", "value", "who")

    def __init__(self, first: Op) -> None:
        self.who = first.client
        self.token = first.token
        self.amount = first.amount if first.kind == "hit" else 0
        self.invoked = first.invoked
        self.told = math.inf
        self.value = 0  # as told
        self.other: int | None = None  # another value, as told by another attempt
        self.unsure = False

    def add(self, attempt: Op) -> None:
        self.invoked = min(self.invoked, attempt.invoked)
        if attempt.value is None:
            self.unsure = True
            return
        if self.told < math.inf and attempt.value != self.value:
            self.other = attempt.value
            return
        self.value = attempt.value
        self.told = min(self.told, attempt.completed)

    def __str__(self) -> str:
        what = f"hit of {self.amount}" if self.amount else "read"
        token = f" with token {self.token}" if self.token is not None else ""
        return (
            f"client {self.who}'s {what}{token}, "
            f"asked at {self.invoked:.6f}, told {self.value} at {self.told:.6f}"
        )


def _steps(operations: Iterable[Op]) -> list[_Step]:
    steps = []
    by_token: dict[str, _Step] = {}
    for attempt in operations:
        # A refused attempt did nothing, and settles no other with its token.
        if attempt.refused or (attempt.kind == "read" and attempt.value is None):
            continue
        step = by_token.get(attempt.token) if attempt.token is not None else None
        if step is None:
            step = _Step(attempt)
            steps.append(step)
            if attempt.token is not None:
                by_token[attempt.token] = step
        elif attempt.amount != step.amount:
            raise ValueError(f"a token stands for one amount, not {step.amount}: {attempt}")
        step.add(attempt)
    return steps


class _Running:
    """A running total over time, from pairs of a time and a number."""

    def __init__(
        self,
        pairs: Iterable[tuple[float, int]],
        start: int,
        add: Callable[[int, int], int] = operator.add,
    ) -> None:
        ordered = sorted(pairs)
        self._times = [when for when, _ in ordered]
        self._totals = list(accumulate((number for _, number in ordered), add, initial=start))

    def before(self, when: float) -> int:
        return self._totals[bisect_left(self._times, when)]

    def until(self, when: float) -> int:
        return self._totals[bisect_right(self._times, when)]


def _at_the_end(verdict: CheckResult, told: list[_Step], after: int) -> Iterator[str]:
    if verdict.lost:
        yield f"lost: {verdict.lost} that were acknowledged are not in the count"
    if verdict.doubled:
        yield f"doubled: {verdict.doubled} were counted twice, or were never asked for"
    highest = max(told, key=lambda step: step.value, default=None)
    if highest is not None and highest.value > after:
        yield f"went back: it ends at {after}, behind {highest}"


def _two_values(told: list[_Step]) -> Iterator[str]:
    for step in told:
        if step.other is not None:
            yield f"two values for one token: {step.other} as well as {step}"


def _handed_out_twice(told: list[_Step]) -> Iterator[str]:
    # A hit of 3 that is told 10 took 8, 9 and 10.
    hits = sorted((step for step in told if step.amount), key=lambda step: step.value)
    for one, other in pairwise(hits):
        if other.value - other.amount < one.value:
            yield f"handed out twice: {one}; {other}"


def _out_of_bounds(steps: list[_Step], told: list[_Step], before: int) -> Iterator[str]:
    asked = _Running(((step.invoked, step.amount) for step in steps), before)
    acknowledged = _Running(((step.told, step.amount) for step in told), before)
    highest = _Running(((step.told, step.value) for step in told), before, max)
    for step in told:
        least = acknowledged.before(step.invoked) + step.amount
        most = asked.until(step.told)
        known = highest.before(step.invoked)
        if not least <= step.value <= most:
            yield f"out of bounds: not from {least} to {most}: {step}"
        elif step.value < known + step.amount:
            yield f"went back: {known} was known before: {step}"


def _examples(found: Iterator[str]) -> Iterator[str]:
    yield from islice(found, MAX_EXAMPLES)
    if more := sum(1 for _ in found):
        yield f"… and {more:,} more like the last"
