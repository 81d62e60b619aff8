"""The checker accepts consistent histories and rejects inconsistent ones."""

import math
import random
import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_counter.testing import History, Op, check


def hit(invoked, completed, value=None, *, client=0, not_counted=False, key=None, amount=1):
    """Return a hit that returned a value, was not counted, or is unknown."""
    return Op(client, "hit", invoked, completed, value, not_counted, key, amount)


def read(invoked, completed, value, *, client=9):
    """Return a read that returned a value."""
    return Op(client, "read", invoked, completed, value)


CONSISTENT = {
    "nothing": ([], 7, 7),
    "one after the other": ([hit(0, 1, 1), hit(2, 3, 2), read(4, 5, 2)], 0, 2),
    "two at once, completed in the other order": ([hit(0, 5, 2), hit(1, 6, 1)], 0, 2),
    "amounts": ([hit(0, 1, 13, amount=3), hit(2, 3, 14), read(4, 5, 14)], 10, 14),
    "an unknown that counted": ([hit(0, 1), hit(2, 3, 2)], 0, 2),
    "an unknown that did not": ([hit(0, 1), hit(2, 3, 1), read(4, 5, 1)], 0, 1),
    "an unknown that counted late": (
        [hit(0, math.inf), read(1, 2, 0), hit(3, 4, 1), read(5, 6, 2)],
        0,
        2,
    ),
    "not counted": ([hit(0, 1, not_counted=True), hit(2, 3, 1), read(4, 5, 1)], 0, 1),
    "a read while a hit is in progress": ([hit(0, 9, 1), read(1, 2, 0), read(3, 4, 1)], 0, 1),
    "a read without a response": ([read(0, 1, None), hit(2, 3, 1)], 0, 1),
    "a key sent again returns its value, though others were counted since": (
        [hit(0, 1, key="a"), hit(2, 3, 2), hit(4, 5, 1, key="a"), hit(6, 7, 1, key="a")],
        0,
        2,
    ),
    "a key twice at once": ([hit(0, 3, 1, key="a"), hit(1, 2, 1, key="a")], 0, 1),
    "a key not counted, and then counted": (
        [hit(0, 1, not_counted=True, key="a"), hit(2, 3, 1), hit(4, 5, 2, key="a")],
        0,
        2,
    ),
}

INCONSISTENT = {
    "a lost hit": ([hit(0, 1, 1), hit(2, 3, 2)], 0, 1, "lost: 1 that were acknowledged"),
    "a lost hit, shown by the next": ([hit(0, 1, 1), hit(2, 3, 1)], 0, 1, "not from 2 to 2"),
    "a lost hit, compensated by an unknown": (
        [hit(0, 1), hit(2, 3, 6)],
        4,
        5,
        "went back: the final value is 5",
    ),
    "a hit counted twice": ([hit(0, 1, 1)], 0, 2, "duplicated: 1 were counted twice"),
    "a hit counted twice, shown by its value": ([hit(0, 1, 2)], 0, 2, "not from 1 to 1"),
    "more than the unknowns": ([hit(0, 1), hit(2, 3, 2)], 0, 3, "duplicated: 1"),
    "an amount counted twice": ([hit(0, 1, 3, amount=3)], 0, 6, "duplicated: 3"),
    "a hit counted that was reported as not counted": (
        [hit(0, 1, not_counted=True)],
        0,
        1,
        "duplicated: 1",
    ),
    "not counted does not resolve an unknown; its value is another's": (
        [hit(0, 1, key="a"), hit(2, 3, not_counted=True, key="a"), hit(4, 5, 3)],
        0,
        3,
        "not from 1 to 2",
    ),
    "a value returned twice": ([hit(0, 9, 1), hit(1, 9, 1), hit(1, 9)], 0, 2, "returned twice"),
    "a value twice for different keys": (
        [hit(0, 9, 1, key="a"), hit(0, 9, 1, key="b"), hit(0, 9)],
        0,
        2,
        "returned twice",
    ),
    "a value within another's amount": (
        [hit(0, 9, 3, amount=3), hit(0, 9, 2), hit(0, 9)],
        0,
        4,
        "returned twice",
    ),
    "a key with two values": (
        [hit(0, 1, 1, key="a"), hit(2, 3, 2, key="a"), hit(0, 9)],
        0,
        2,
        "two values for one idempotency key: 2 as well as client 0's hit of 1 with key a",
    ),
    "a key counted twice": (
        [hit(0, 1, key="a"), hit(2, 3, 2, key="a")],
        0,
        2,
        "duplicated: 1",
    ),
    "a read below the acknowledged value": (
        [hit(0, 1, 1), read(2, 3, 0)],
        0,
        1,
        "not from 1 to 1: client 9's read",
    ),
    "a read above the requested value": ([read(0, 1, 1), hit(2, 3, 1)], 0, 1, "not from 0 to 0"),
    "a value below one that the same client got": (
        [hit(0, 9), read(1, 2, 1, client=3), read(3, 4, 0, client=3)],
        0,
        0,
        "went back: 1 was returned before: client 3's read",
    ),
    "a hit below one that another client got": (
        [hit(0, 9), hit(0, 9), hit(1, 2, 3), hit(3, 4, 2)],
        0,
        4,
        "went back: 3 was returned before",
    ),
    "a count that decreased": ([], 3, 2, "lost: 1"),
}


@pytest.mark.parametrize(
    ("operations", "before", "after"), CONSISTENT.values(), ids=CONSISTENT.keys()
)
def test_check_accepts_consistent_history(operations, before, after):
    """The order in which the operations were added does not matter."""
    check(History(operations), before=before, after=after)
    check(History(reversed(operations)), before=before, after=after)


@pytest.mark.parametrize(
    ("operations", "before", "after", "message"), INCONSISTENT.values(), ids=INCONSISTENT.keys()
)
def test_check_rejects_inconsistent_history(operations, before, after, message):
    """The error names each violation."""
    with pytest.raises(AssertionError, match=message):
        check(History(operations), before=before, after=after)


@pytest.mark.parametrize(
    ("operations", "after"),
    [
        ([hit(0, 1, 1), hit(2, 3, 1)], 2),
        ([hit(0, 1, 2), hit(2, 3, 1)], 2),
        ([hit(0, 1, 1, key="a"), hit(2, 3, 2, key="a")], 1),
    ],
    ids=["a value again", "a value that went back", "two values for one key"],
)
def test_check_with_failovers_checks_the_sum(operations, after):
    """Values may repeat and go back; a hit that is lost or doubled is still found."""
    for change, message in ((0, None), (-1, "lost: 1"), (1, "duplicated: 1")):
        check_sum = partial(
            check, History(operations), before=0, after=after + change, allows_failovers=True
        )
        if message is None:
            assert check_sum().acknowledged == after
        else:
            with pytest.raises(AssertionError, match=message):
                check_sum()
    with pytest.raises(AssertionError):
        check(History(operations), before=0, after=after)


def test_check_result_counts_hits_by_outcome():
    """Attempts with the same idempotency key are one hit."""
    operations = [
        hit(0, 1, 1),
        hit(0, 1, key="a"),
        hit(2, 3, not_counted=True, key="a"),
        hit(4, 5, 2, key="a"),
        hit(6, 7, 2, key="a"),
        hit(8, 9, key="b"),
        hit(10, 11),
        read(12, 13, 2),
        read(12, math.inf, None),
    ]
    result = check(operations, before=0, after=3)
    assert (result.acknowledged, result.resolved, result.unknown) == (2, 1, 2)
    assert (result.not_counted, result.reads, result.lost, result.duplicated) == (1, 1, 0, 0)
    assert str(result) == (
        "2 acknowledged, 1 of them resolved by a retry; 2 unknown; 1 not counted; 1 reads; "
        "0 lost; 0 duplicated"
    )


def test_check_error_lists_result_and_violations():
    """Each violation is a line with client, request and times."""
    operations = [hit(0, 0.5, 1), hit(0, 9, 1, client=1, key="a"), read(2, 3, 0)]
    with pytest.raises(AssertionError) as error:
        check(operations, before=0, after=1)
    assert str(error.value).splitlines() == [
        "from 0 to 1: 2 acknowledged, 0 of them resolved by a retry; 0 unknown; 0 not counted; "
        "1 reads; 1 lost; 0 duplicated",
        "lost: 1 that were acknowledged are not in the count",
        "returned twice: client 0's hit of 1, sent at 0.000000, returned 1 at 0.500000; "
        "client 1's hit of 1 with key a, sent at 0.000000, returned 1 at 9.000000",
        "out of bounds: not from 1 to 2: client 9's read, sent at 2.000000, returned 0 at 3.000000",
    ]


def test_check_error_lists_some_of_many_violations():
    """A counter that is always wrong makes a short report."""
    with pytest.raises(AssertionError) as error:
        check([hit(0, 9, 1) for _ in range(100)], before=0, after=100)
    assert str(error.value).count("returned twice") == 5
    assert "… and 94 more like the last" in str(error.value)


def test_check_rejects_different_amounts_with_one_key():
    """It is a ValueError: the test is wrong, not the counter."""
    with pytest.raises(ValueError, match="one idempotency key must have the same amount"):
        check([hit(0, 1, 1, key="a"), hit(0, 1, key="a", amount=2)], before=0, after=1)


def test_history_records_results():
    """A block that sets no result, or raises an error, is an unknown hit."""
    history = History()
    began = time.monotonic()
    with history.hit(1, idempotency_key="a", amount=3) as result:
        result.value = 3
    with history.hit(1) as result:
        result.not_counted = True
    with pytest.raises(TimeoutError), history.hit(2):
        raise TimeoutError
    with history.read(3) as result:
        result.value = 3
    counted, not_counted, unknown, seen = history
    assert (counted.outcome, counted.value, counted.amount) == ("counted", 3, 3)
    assert counted.idempotency_key == "a"
    assert (not_counted.outcome, unknown.outcome, unknown.client) == ("not_counted", "unknown", 2)
    assert (seen.kind, seen.value) == ("read", 3)
    assert began <= counted.invoked <= counted.completed <= not_counted.invoked
    assert [history.count(it) for it in ("counted", "not_counted", "unknown")] == [1, 1, 1]
    assert len(history) == 4
    history.add(unknown)
    assert history.count("unknown") == 2


class Simulation:
    """Clients of a correct counter, with a clock that ticks at each of their steps.

    :param certain: all hits have keys and are repeated until they are acknowledged.
    :param wrong_at: number of the hit that is counted wrongly; None: no hit.
    :param factor: how often that hit counts: 0 is lost, 2 is duplicated.
    """

    def __init__(self, seed, *, certain, wrong_at=None, factor=1):
        self.operations = []
        self.value = self.before = 1000
        self._certain = certain
        self._wrong_at = wrong_at
        self._factor = factor
        self._rng = random.Random(seed)
        self._now = self._counted = 0
        self._by_key = {}
        active = [self._client(number) for number in range(self._rng.randint(1, 6))]
        while active:
            one = self._rng.choice(active)
            if next(one, "ended") == "ended":
                active.remove(one)

    def _client(self, number):
        for nth in range(self._rng.randint(1, 8)):
            if self._rng.random() < 0.3:
                invoked = yield from self._tick()
                seen = self.value
                completed = yield from self._tick()
                self.operations.append(read(invoked, completed, seen, client=number))
                continue
            keyed = self._certain or self._rng.random() < 0.5
            key = f"{number}-{nth}" if keyed else None
            amount = self._rng.randint(1, 3)
            is_pending = True
            while is_pending:
                event = self._rng.choice(["answered", "answered", "rejected", "lost", "timeout"])
                invoked = yield from self._tick()
                value = None
                if event in ("answered", "lost"):
                    value = self._count(key, amount)
                completed = yield from self._tick()
                returned = value if event == "answered" else None
                not_counted = event == "rejected"
                self.operations.append(
                    Op(number, "hit", invoked, completed, returned, not_counted, key, amount)
                )
                gives_up = not self._certain and self._rng.random() < 0.3
                is_pending = keyed and returned is None and not gives_up

    def _tick(self):
        self._now += 1
        now = self._now
        yield
        return now

    def _count(self, key, amount):
        if key in self._by_key:
            return self._by_key[key]
        self._counted += 1
        returned = self.value + amount
        self.value += amount * (self._factor if self._counted == self._wrong_at else 1)
        if key is not None:
            self._by_key[key] = returned
        return returned


@given(seed=st.integers(), certain=st.booleans())
def test_check_accepts_correct_counter(seed, certain):
    """Clients overlap; hits are rejected, responses are lost, and clients retry."""
    simulation = Simulation(seed, certain=certain)
    result = check(simulation.operations, before=simulation.before, after=simulation.value)
    assert not (certain and result.unknown)


@given(seed=st.integers(), which=st.integers(0), factor=st.sampled_from([0, 2]))
def test_check_finds_single_lost_or_duplicate_count(seed, which, factor):
    """If no outcome is unknown, one wrong count among all hits is found."""
    right = Simulation(seed, certain=True)
    keys = sorted({each.idempotency_key for each in right.operations if each.kind == "hit"})
    if not keys:
        return
    wrong = Simulation(seed, certain=True, wrong_at=which % len(keys) + 1, factor=factor)
    with pytest.raises(AssertionError, match="duplicated" if factor else "lost"):
        check(wrong.operations, before=wrong.before, after=wrong.value)


@given(seed=st.integers(), which=st.integers(0))
def test_check_finds_one_hit_more_or_less(seed, which):
    """An acknowledged hit that was not counted, and a counted hit without a request, are found."""
    right = Simulation(seed, certain=True)
    returned = [each for each in right.operations if each.kind == "hit" and each.value is not None]
    if not returned:
        return
    one = returned[which % len(returned)]
    less = [
        each
        for each in right.operations
        if each.idempotency_key != one.idempotency_key or each.kind == "read"
    ]
    with pytest.raises(AssertionError, match="duplicated"):
        check(less, before=right.before, after=right.value)
    twin = Op(
        one.client,
        "hit",
        one.invoked,
        one.completed,
        one.value,
        idempotency_key="twin",
        amount=one.amount,
    )
    with pytest.raises(AssertionError, match="returned twice"):
        check([*right.operations, twin], before=right.before, after=right.value)


def test_check_of_long_history_takes_seconds():
    """100,000 operations take at most a tenth of the time for a million."""
    rng = random.Random(1)
    operations = [
        hit(now - rng.random() * 9, now + rng.random() * 9, now, key=f"{now}")
        for now in range(1, 100_001)
    ]
    began = time.process_time()
    check(operations, before=0, after=100_000)
    assert time.process_time() - began < 5
