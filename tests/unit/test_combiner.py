"""Hits that leave together: each counts once, whatever the network and the server do."""

import hashlib
import itertools
import math
from importlib.resources import files
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError

from flask_redis_counter import (
    CounterError,
    CounterOverflowError,
    NotAnIntegerError,
    OutcomeUnknownError,
    StoreRefusedError,
    StoreUnavailableError,
    TokenReusedError,
)
from flask_redis_counter.batch import LONGEST_PAUSE
from flask_redis_counter.call import PendingHit
from flask_redis_counter.combiner import MAX_HITS, Combiner
from flask_redis_counter.rules import MAX_VALUE

DEADLINE = 10.0
AWAY = StoreUnavailableError("nobody listens")
SILENT = OutcomeUnknownError("no answer")


def refused(said, kind=ResponseError):
    """Return an error answer as the store makes it."""
    error = StoreRefusedError(f"the store refused: {said}")
    error.__cause__ = kind(said)
    return error


class Server:
    """What the two scripts do, with a ledger of what each command has added."""

    def __init__(self, values=()):
        self.values = dict(values)
        self.records = {}
        self.scripts = {}
        self.ledger = []
        self.loading = False
        self.synced = 1

    def restart(self):
        """Come back with the data and without the scripts."""
        self.scripts.clear()

    def execute(self, commands):
        """Return the answers to a round trip."""
        return [self._execute(command) for command in commands]

    def _execute(self, command):
        if self.loading:
            return refused("Redis is loading the dataset in memory", BusyLoadingError)
        if command[0] == "SCRIPT LOAD":
            digest = hashlib.sha1(command[1].encode()).hexdigest()  # noqa: S324
            self.scripts[digest] = command[1]
            return digest.encode()
        if command[0] in ("WAITAOF", "WAIT"):
            return [self.synced, 0] if command[0] == "WAITAOF" else self.synced
        name, digest, keys, key, record, *arguments = command
        assert (name, keys) == ("EVALSHA", 2)
        if digest not in self.scripts:
            return refused("NOSCRIPT No matching script", NoScriptError)
        if self.scripts[digest] == HIT:
            return self._hit(command, key, record, *arguments)
        assert self.scripts[digest] == HIT_ONCE
        return self._hit_once(command, key, record, *arguments)

    def _hit(self, command, key, record, number, amount, _life):
        last, answer = self.records.get(record, (0, b""))
        if last == number:
            return answer
        if last > number:
            return refused("STALE this batch was settled, and others came after it")
        answer = self._incrby(command, key, amount)
        if isinstance(answer, bytes):
            self.records[record] = (number, answer)
        return answer

    def _hit_once(self, command, key, record, amount, sender, _life):
        if record in self.records:
            first, its_sender, answer = self.records[record]
            if first != amount:
                return refused(f"TOKENREUSED the token stands for a hit of amount {first}")
            return [answer, int(its_sender != sender)]
        answer = self._incrby(command, key, amount)
        if not isinstance(answer, bytes):
            return answer
        self.records[record] = (amount, sender, answer)
        return [answer, 0]

    def _incrby(self, command, key, amount):
        value = self.values.get(key, 0)
        if not isinstance(value, int):
            return refused("WRONGTYPE Operation against a key holding the wrong kind of value")
        if value + amount > MAX_VALUE:
            return refused("increment or decrement would overflow")
        self.values[key] = value + amount
        self.ledger.append(command)
        return b"%d" % (value + amount)


def script(name):
    """Return the text of a script."""
    return files("flask_redis_counter").joinpath("scripts", name).read_text("utf-8")


HIT, HIT_ONCE = script("hit.lua"), script("hit_once.lua")


class Attempt:
    """One packet with commands: delivered never, once or often, now or later.

    No connection delivers twice what the server refused: only what was lost, or what it did.
    """

    def __init__(self, commands):
        self.commands = commands
        self.answers = None
        self.lost = False

    @property
    def moves(self):
        """Whether it may be delivered, once more or late."""
        done = self.answers or ()
        return self.lost or not any(isinstance(answer, StoreRefusedError) for answer in done)

    def deliver(self, server):
        """Let the server execute it; the first answers are those that come back."""
        answers = server.execute(self.commands)
        if self.answers is None:
            self.answers = answers


class Carrier:
    """A thread that carries a batch."""

    def __init__(self, writer, hit):
        self.writer = writer
        self.hit = hit
        self.batch = hit.batch
        self.attempt = None


class Writer:
    """A combiner with the threads around it, as `ThreadDriver` has them."""

    def __init__(self, durability):
        self.combiner = Combiner(durability, 100)
        self.waiting = []
        self.elected = []
        self.vanished = []


@settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
class Exactness(RuleBasedStateMachine):
    """Threads, a network and a server that do whatever they may do, against a ledger."""

    def __init__(self):
        super().__init__()
        self.patch = mock.patch("flask_redis_counter.combiner.MAX_HITS", 4)
        self.patch.start()
        self.now = 0.0
        self.start = {"zero": 0, "high": MAX_VALUE - 25, "text": "text"}
        self.server = Server(self.start)
        self.writers = []
        self.carriers = []
        self.network = []
        self.hits = []
        self.seen = {}
        self.went_with = {}

    def teardown(self):
        """Settle everything, deliver all that is late, and look again."""
        try:
            if self.writers:
                self._settle()
        finally:
            self.patch.stop()

    # Hits

    @initialize(
        durability=st.sampled_from(["memory", "memory", "fsync", "replica"]), loaded=st.booleans()
    )
    def begin(self, durability, loaded):
        """Have one writer at first, and the scripts known to the server, or not."""
        if loaded:
            self.server.execute([("SCRIPT LOAD", HIT), ("SCRIPT LOAD", HIT_ONCE)])
        self.durability = durability
        self.writers = [Writer(durability)]

    @rule(
        which=st.integers(0, 9),
        key=st.sampled_from(["zero", "zero", "zero", "high", "high", "text"]),
        amount=st.sampled_from([1, 1, 2, 7, 7, MAX_VALUE - 30]),
        token=st.sampled_from([None, None, None, "t1", "t2"]),
    )
    def arrive(self, which, key, amount, token):
        """Bring a hit."""
        self._arrive(self.writers[which % len(self.writers)], key, amount, token)

    @rule(which=st.integers(0, 9), count=st.integers(2, 6))
    def arrive_at_once(self, which, count):
        """Bring several."""
        for _ in range(count):
            self._arrive(self.writers[which % len(self.writers)], "high", 3, None)

    def _arrive(self, writer, key, amount, token):
        hit = PendingHit(key, amount, token, self.now + DEADLINE)
        self.hits.append(hit)
        flying = writer.combiner.flying
        try:
            batch = writer.combiner.add(hit, self.now)
        except StoreUnavailableError as error:
            assert flying is not None, "an error at once though nobody finds out"
            hit.error = error
            self._returned(hit)
            return hit
        if batch is None:
            writer.waiting.append(hit)
        else:
            # It returns with no outcome, or it carries the batch; nothing wakes it.
            assert hit.leads, "told to carry a batch that another one leads"
            assert batch is hit.batch is writer.combiner.flying
            self.carriers.append(Carrier(writer, hit))
        return hit

    @precondition(lambda self: len(self.writers) < 3 and self.carriers)
    @rule()
    def fork(self):
        """Begin anew in a child, which has nothing of what its parent has in flight."""
        self.writers.append(Writer(self.durability))

    @precondition(lambda self: self.hits)
    @rule(seconds=st.sampled_from([1.0, 5.0, DEADLINE / 2, DEADLINE, DEADLINE + 2]))
    def time_passes(self, seconds):
        """Let the clock go on."""
        self.now += seconds

    @precondition(lambda self: self._overdue())
    @rule(data=st.data())
    def leave(self, data):
        """Let a thread return whose deadline is over, woken as the leader meanwhile or not."""
        writer, hit = data.draw(st.sampled_from(self._overdue()))
        self._let_go(writer, hit)

    def _overdue(self):
        return [
            (writer, hit)
            for writer in self.writers
            for hit in (*writer.waiting, *writer.elected)
            if hit.ends <= self.now
        ]

    def _let_go(self, writer, hit):
        (writer.elected if hit in writer.elected else writer.waiting).remove(hit)
        writer.combiner.leave(hit)
        woken = writer.combiner.finish(hit.batch) if hit.leads and hit.batch is not None else []
        self._returned(hit)
        self._wake(writer, woken)

    @precondition(lambda self: any(writer.elected for writer in self.writers))
    @rule(data=st.data())
    def lead(self, data):
        """Let a thread take over that was woken for it."""
        self._lead(data.draw(st.sampled_from([one for one in self.writers if one.elected])))

    def _lead(self, writer):
        hit = writer.elected.pop(0)
        assert hit.waits
        self.carriers.append(Carrier(writer, hit))

    # Carriers

    @precondition(lambda self: self._idle())
    @rule(data=st.data())
    def send(self, data):
        """Send a batch; what becomes of it, other rules say."""
        self._send(data.draw(st.sampled_from(self._idle())))

    @precondition(lambda self: self._idle())
    @rule(data=st.data())
    def round_trip(self, data):
        """Send, execute and answer, without a disturbance."""
        carrier = data.draw(st.sampled_from(self._idle()))
        self._send(carrier)
        carrier.attempt.deliver(self.server)
        self._answer(carrier)

    @precondition(lambda self: self._moving())
    @rule(data=st.data())
    def deliver(self, data):
        """Let a packet arrive, for the first time or once more, in time or late."""
        data.draw(st.sampled_from(self._moving())).deliver(self.server)

    @precondition(lambda self: self._moving())
    @rule(data=st.data(), count=st.integers(1, 3))
    def deliver_in_part(self, data, count):
        """Let the server crash in the middle of a packet."""
        attempt = data.draw(st.sampled_from(self._moving()))
        attempt.lost = True
        self.server.execute(attempt.commands[:count])
        self.server.restart()

    @precondition(lambda self: self._answered())
    @rule(data=st.data())
    def answer(self, data):
        """Let the answers come back."""
        self._answer(data.draw(st.sampled_from(self._answered())))

    @precondition(lambda self: self._asking())
    @rule(data=st.data())
    def lose(self, data):
        """Let a carrier wait in vain, whatever the server did or will do."""
        carrier = data.draw(st.sampled_from(self._asking()))
        carrier.attempt.lost = True
        carrier.attempt = None
        carrier.batch.fail(SILENT)

    @precondition(lambda self: self._idle())
    @rule(data=st.data(), executed=st.booleans())
    def send_in_vain(self, data, executed):
        """Send, and hear nothing of it."""
        carrier = data.draw(st.sampled_from(self._idle()))
        self._send(carrier)
        if executed:
            carrier.attempt.deliver(self.server)
        self._stop(carrier)
        carrier.attempt = None
        carrier.batch.fail(SILENT)

    @precondition(lambda self: self._idle())
    @rule(data=st.data(), error=st.sampled_from([AWAY, refused("", BusyLoadingError)]))
    def refuse(self, data, error):
        """Let an attempt fail before anything is sent."""
        carrier = data.draw(st.sampled_from(self._idle()))
        carrier.batch.fail(error)
        self._go_on(carrier)

    @precondition(lambda self: self._idle())
    @rule(data=st.data())
    def turn_away(self, data):
        """Let the server refuse all that there is, for good."""
        carrier = data.draw(st.sampled_from(self._idle()))
        carrier.batch.fail(refused("NOAUTH Authentication required."))
        self._go_on(carrier)

    @precondition(lambda self: self._idle())
    @rule(data=st.data(), all_of_them=st.booleans())
    def give_up(self, data, all_of_them):
        """Find no time for another attempt."""
        carrier = data.draw(st.sampled_from(self._idle()))
        self._give_up(carrier, math.inf if all_of_them else carrier.hit.ends)

    @precondition(lambda self: self.carriers)
    @rule(data=st.data())
    def interrupt(self, data):
        """Interrupt a thread that carries a batch, as Ctrl-C does."""
        carrier = data.draw(st.sampled_from(self.carriers))
        self._stop(carrier)
        if carrier.batch.sent:
            carrier.batch.fail(OutcomeUnknownError("the hit was interrupted"))
        carrier.hit.error = OutcomeUnknownError("the hit was interrupted")
        self._finish(carrier)

    @precondition(lambda self: self.carriers)
    @rule(data=st.data())
    def vanish(self, data):
        """Interrupt a thread where nothing can be told any more."""
        carrier = data.draw(st.sampled_from(self.carriers))
        self._stop(carrier)
        self.carriers.remove(carrier)
        carrier.writer.vanished.append(carrier.batch)
        carrier.hit.error = OutcomeUnknownError("gone")

    def _idle(self):
        return [carrier for carrier in self.carriers if carrier.attempt is None]

    def _asking(self):
        return [carrier for carrier in self.carriers if carrier.attempt is not None]

    def _answered(self):
        return [
            carrier
            for carrier in self._asking()
            if carrier.attempt.answers is not None and not carrier.attempt.lost
        ]

    def _moving(self):
        return [attempt for attempt in self.network if attempt.moves]

    def _send(self, carrier):
        commands = carrier.batch.commands()
        for call in carrier.batch._calls:
            # The same command always stands for the same hits.
            assert self.went_with.setdefault(call.command(), call.hits) == call.hits
        carrier.attempt = Attempt(commands)
        self.network.append(carrier.attempt)

    def _stop(self, carrier):
        if carrier.attempt is not None:
            carrier.attempt.lost = True

    def _answer(self, carrier):
        answers, carrier.attempt = list(carrier.attempt.answers), None
        if answers and getattr(answers[0], "__cause__", None).__class__ is BusyLoadingError:
            carrier.batch.fail(answers[0])  # redis-py raises it, and the store with it
        else:
            carrier.batch.take(answers)
        self._go_on(carrier)

    def _go_on(self, carrier):
        assert 0 <= carrier.batch.pause() <= LONGEST_PAUSE
        if carrier.batch.over:
            self._give_up(carrier, carrier.hit.ends)

    def _give_up(self, carrier, ends):
        carrier.batch.give_up(ends)
        self._finish(carrier)

    def _finish(self, carrier):
        self.carriers.remove(carrier)
        batch, combiner = carrier.batch, carrier.writer.combiner
        flew = batch is combiner.flying
        woken = combiner.finish(batch)
        self._returned(carrier.hit)
        self._wake(carrier.writer, woken)
        if flew:
            leading = [hit for hit in batch.hits if hit.waits and hit.leads]
            assert leading or not any(hit.waits for hit in batch.hits), "left alone"

    def _wake(self, writer, woken):
        for hit in woken:
            if hit in writer.waiting:
                writer.waiting.remove(hit)
                if hit.leads and hit.error is None and hit.batch is not None:
                    writer.elected.append(hit)
                else:
                    self._returned(hit)

    def _returned(self, hit):
        """Remember what the caller of a hit was told."""
        try:
            told = hit.outcome(), hit.replayed
        except CounterError as error:
            told = error.counted
        assert self.seen.setdefault(hit, told) == told

    # The server

    @precondition(lambda self: self.server.scripts and self.carriers)
    @rule()
    def flush_scripts(self):
        """Forget the scripts, as SCRIPT FLUSH does, and a restart."""
        self.server.restart()

    @precondition(lambda self: self.carriers or self.server.loading)
    @rule()
    def load(self):
        """Begin or end to load the data."""
        self.server.loading = not self.server.loading

    @precondition(lambda self: self.durability != "memory" and self.carriers)
    @rule()
    def sync(self):
        """Have a disk, or a replica, that is quick enough from now on, or is not."""
        self.server.synced = 1 - self.server.synced

    # What must hold

    @invariant()
    def somebody_carries(self):
        """A batch in flight has one who carries it, or who was woken for it; or he is gone."""
        for writer in self.writers:
            flying = writer.combiner.flying
            if flying is None:
                assert not writer.combiner._queue
            elif flying not in writer.vanished:
                carrying = [one for one in self.carriers if one.batch is flying]
                elected = [hit for hit in writer.elected if hit.batch is flying]
                assert len(carrying) + len(elected) == 1
            queued = [hit for hit in writer.waiting if hit.batch is None]
            assert list(writer.combiner._queue) == queued
            assert all(hit.batch is None or hit.waits for hit in writer.elected)

    @invariant()
    def all_told_the_truth(self):
        """What each caller was told is what the ledger says."""
        counted = dict.fromkeys(self.hits, 0)
        for command in self.server.ledger:
            for hit in self.went_with[command]:
                counted[hit] += 1
        assert all(times <= 1 for times in counted.values())
        for key in ("zero", "high"):
            hits = [hit for hit in self.hits if hit.key == key]
            total = self.start[key] + sum(hit.amount for hit in hits if counted[hit])
            assert self.server.values[key] == total <= MAX_VALUE
            self._values_are_unique(key, hits, total)
        for hit, told in self.seen.items():
            if told is False:
                assert not counted[hit], "counted, and told that it was not"
            elif told != "unknown":
                assert counted[hit] == (not told[1]), "replayed, or not, and told otherwise"
        self._tokens_count_once(counted)

    def _values_are_unique(self, key, hits, total):
        told = [(self.seen[hit], hit) for hit in hits if isinstance(self.seen.get(hit), tuple)]
        reached = self.start[key]
        for value, amount in sorted(
            (value, hit.amount) for (value, again), hit in told if not again
        ):
            assert reached <= value - amount, "a value was handed out twice"
            reached = value
        assert reached <= total

    def _tokens_count_once(self, counted):
        for key, token in itertools.product(("zero", "high"), ("t1", "t2")):
            hits = [hit for hit in self.hits if (hit.key, hit.token) == (key, token)]
            assert sum(counted[hit] for hit in hits) <= 1
            told = [self.seen[hit] for hit in hits if isinstance(self.seen.get(hit), tuple)]
            assert len({value for value, _ in told}) <= 1
            assert not told or sum(counted[hit] for hit in hits) == 1

    def _settle(self):
        self.server.loading = False
        self.server.synced = 1
        while self.carriers or any(writer.elected for writer in self.writers):
            for writer in self.writers:
                while writer.elected:
                    self._lead(writer)
            for carrier in list(self.carriers):
                if carrier.attempt is not None and carrier.attempt.lost:
                    carrier.batch.fail(SILENT)
                    carrier.attempt = None
                if carrier.attempt is None:
                    self._send(carrier)
                carrier.attempt.deliver(self.server)
                self._answer(carrier)
        self.now += 2 * DEADLINE
        for writer, hit in self._overdue():
            if hit in writer.waiting:  # the one who carried it is gone
                assert (hit.batch or writer.combiner.flying) in writer.vanished
                self._let_go(writer, hit)
        for attempt in self._moving():
            attempt.deliver(self.server)
        self.all_told_the_truth()
        assert set(self.seen) | {hit for hit in self.hits if str(hit.error) == "gone"} == set(
            self.hits
        )
        for writer in self.writers:
            hit = self._arrive(writer, "last", 1, None)
            while self.carriers:
                self._send(self.carriers[0])
                self.carriers[0].attempt.deliver(self.server)
                self._answer(self.carriers[0])
            assert hit.outcome() == self.server.values["last"]


TestExactness = Exactness.TestCase


# Examples, to read


def hit_of(key="visits", amount=1, token=None, ends=DEADLINE):
    """Return a hit that arrives."""
    return PendingHit(key, amount, token, ends)


def added(combiner, *hits, now=0.0):
    """Let hits arrive, and return the batch that one of them is to carry."""
    batches = [combiner.add(hit, now) for hit in hits]
    return next((batch for batch in batches if batch is not None), None)


def carried(combiner, batch, server):
    """Carry a batch to its end, and return whom to wake."""
    while not batch.over:
        batch.take(server.execute(batch.commands()))
    batch.give_up(math.inf)
    return combiner.finish(batch)


def values(hits):
    """Return the hits' outcomes."""
    return [hit.outcome() for hit in hits]


def test_a_lone_hit():
    """It carries its batch, of one call, and gets its value."""
    combiner, server, hit = Combiner(), Server(), hit_of()
    batch = combiner.add(hit, 0.0)
    assert batch.hits == [hit]
    assert hit.leads
    assert carried(combiner, batch, server) == []
    assert hit.outcome() == 1
    assert combiner.flying is None


def test_hits_that_arrive_meanwhile_leave_together():
    """One batch is in flight; the next one gathers, and its values are in order of arrival."""
    combiner, server = Combiner(), Server()
    first = added(combiner, hit_of())
    first.commands()
    hits = [hit_of(amount=amount) for amount in (1, 5, 2)]
    assert added(combiner, *hits) is None
    woken = carried(combiner, first, server)
    assert woken == [hits[-1]]
    assert hits[-1].leads
    second = combiner.flying
    assert len(second.commands()) == 1
    carried(combiner, second, server)
    assert values(hits) == [2, 7, 9]


def test_hits_may_join_until_it_is_sent():
    """While there is no connection yet, who arrives goes along."""
    combiner, server = Combiner(), Server()
    hits = [hit_of() for _ in range(3)]
    batch = added(combiner, *hits)
    assert batch.hits == hits
    assert carried(combiner, batch, server) == hits[1:]
    assert values(hits) == [1, 2, 3]


def test_a_batch_takes_so_many():
    """What is over MAX_HITS makes the next batch."""
    combiner, server = Combiner(), Server()
    first = added(combiner, hit_of())
    first.commands()
    hits = [hit_of() for _ in range(MAX_HITS + 3)]
    added(combiner, *hits)
    carried(combiner, first, server)
    assert len(combiner.flying.hits) == MAX_HITS
    assert carried(combiner, combiner.flying, server)[0] is hits[-1]
    carried(combiner, combiner.flying, server)
    assert values(hits) == list(range(2, MAX_HITS + 5))
    unsent = added(combiner, *[hit_of() for _ in range(MAX_HITS + 3)])
    assert len(unsent.hits) == MAX_HITS


def test_each_counter_is_a_call():
    """Hits of several counters share a round trip, and a bad key harms no other."""
    combiner, server = Combiner(), Server({"text": "text"})
    hits = [hit_of("a"), hit_of("text"), hit_of("b", 3), hit_of("a")]
    batch = added(combiner, *hits)
    assert len(batch.commands()) == 3
    carried(combiner, batch, server)
    assert values([hits[0], hits[2], hits[3]]) == [1, 3, 2]
    with pytest.raises(NotAnIntegerError):
        hits[1].outcome()


def test_a_hit_with_a_token_is_a_call_of_its_own():
    """The same token counts once, in this batch and in later ones; others count beside it."""
    combiner, server = Combiner(), Server()
    hits = [hit_of(), hit_of(token="one"), hit_of(), hit_of(token="two")]
    batch = added(combiner, *hits)
    assert len(batch.commands()) == 3
    carried(combiner, batch, server)
    assert values(hits) == [1, 3, 2, 4]
    again = hit_of(token="one")
    carried(combiner, combiner.add(again, 0.0), server)
    assert (again.outcome(), again.replayed) == (3, True)
    assert server.values == {"visits": 4}


def test_a_token_twice_in_one_batch():
    """One of the two counted, and the other is told that it is a replay."""
    combiner, server = Combiner(), Server()
    hits = [hit_of(token="one"), hit_of(token="one")]
    carried(combiner, added(combiner, *hits), server)
    assert values(hits) == [1, 1]
    assert [hit.replayed for hit in hits] == [False, True]


def test_a_token_with_another_amount():
    """It stands for what it counted first; nothing else counts under it."""
    combiner, server = Combiner(), Server()
    hits = [hit_of(token="one", amount=2), hit_of(token="one")]
    carried(combiner, added(combiner, *hits), server)
    assert hits[0].outcome() == 2
    with pytest.raises(TokenReusedError) as caught:
        hits[1].outcome()
    assert caught.value.amount == 2
    assert server.values == {"visits": 2}


def test_a_batch_that_is_sent_again_counts_once():
    """The number is the same, and so is the answer."""
    combiner, server, hit = Combiner(), Server(), hit_of()
    batch = combiner.add(hit, 0.0)
    batch.take(server.execute(batch.commands()))  # the scripts are not loaded
    server.execute(batch.commands())
    batch.fail(SILENT)
    carried(combiner, batch, server)
    assert hit.outcome() == 1
    assert server.values == {"visits": 1}


def test_a_late_packet_counts_nothing():
    """What arrives after its batch was settled, and another one after it, is stale."""
    combiner, server = Combiner(), Server()
    carried(combiner, added(combiner, hit_of()), server)
    batch = added(combiner, hit_of())
    late = batch.commands()
    batch.fail(SILENT)
    carried(combiner, batch, server)
    server.execute(late)
    carried(combiner, added(combiner, hit_of()), server)
    (answer,) = server.execute(late)
    assert "STALE" in str(answer)
    assert server.values == {"visits": 3}


def test_an_overflow_of_several_splits():
    """As many hits count as there is room for; the others are told that they did not."""
    combiner, server = Combiner(), Server({"visits": MAX_VALUE - 5})
    hits = [hit_of(amount=amount) for amount in (3, 4, 2, 1)]
    carried(combiner, added(combiner, *hits), server)
    assert values([hits[0], hits[2]]) == [MAX_VALUE - 2, MAX_VALUE]
    for hit in (hits[1], hits[3]):
        with pytest.raises(CounterOverflowError):
            hit.outcome()
    assert server.values == {"visits": MAX_VALUE}


def test_amounts_that_do_not_fit_together():
    """Amounts whose sum no counter holds are not added up."""
    combiner, server = Combiner(), Server({"visits": -MAX_VALUE})
    hits = [hit_of(amount=MAX_VALUE), hit_of(amount=MAX_VALUE), hit_of()]
    batch = added(combiner, *hits)
    assert len(batch.commands()) > 1
    carried(combiner, batch, server)
    assert sum(hit.error is None for hit in hits) == 2
    assert server.values["visits"] == -MAX_VALUE + sum(h.amount for h in hits if h.error is None)


def test_a_batch_that_is_given_up_retires_its_writer():
    """What is on its way may count later, under a name that nobody uses any more."""
    combiner, server, lost = Combiner(), Server(), hit_of()
    carried(combiner, added(combiner, hit_of()), server)
    batch = combiner.add(lost, 0.0)
    late = batch.commands()
    batch.fail(SILENT)
    batch.give_up(DEADLINE)
    combiner.finish(batch)
    with pytest.raises(OutcomeUnknownError):
        lost.outcome()
    following = hit_of()
    batch = combiner.add(following, 0.0)
    assert batch.commands()[0][4] != late[0][4], "the same writer"
    carried(combiner, batch, server)
    server.execute(late)
    assert following.outcome() == 2
    assert server.values == {"visits": 3}


def test_what_was_never_sent_keeps_the_writer():
    """A refused connection is no reason for a new record in the store."""
    combiner, server = Combiner(), Server()
    first = added(combiner, hit_of())
    writer = first.commands()[0][4]
    carried(combiner, first, server)
    refused_hit = hit_of()
    batch = combiner.add(refused_hit, 0.0)
    batch.fail(AWAY)
    batch.give_up(DEADLINE)
    combiner.finish(batch)
    with pytest.raises(StoreUnavailableError):
        refused_hit.outcome()
    assert added(combiner, hit_of()).commands()[0][4] == writer


def test_a_hit_that_leaves_before_anything_is_sent():
    """It does not count, for certain, and the others do."""
    combiner, server = Combiner(), Server()
    hits = [hit_of(), hit_of(amount=5), hit_of()]
    batch = added(combiner, *hits)
    combiner.leave(hits[1])
    carried(combiner, batch, server)
    assert values([hits[0], hits[2]]) == [1, 2]
    with pytest.raises(StoreUnavailableError):
        hits[1].outcome()


def test_a_hit_that_leaves_the_queue():
    """It does not count, for certain."""
    combiner, server = Combiner(), Server()
    batch = added(combiner, hit_of())
    batch.commands()
    hits = [hit_of(), hit_of()]
    added(combiner, *hits)
    combiner.leave(hits[1])
    assert carried(combiner, batch, server) == [hits[0]]
    carried(combiner, combiner.flying, server)
    assert hits[0].outcome() == 2
    with pytest.raises(StoreUnavailableError):
        hits[1].outcome()


def test_a_hit_that_leaves_a_batch_in_flight():
    """It may have counted, also where an answer comes later."""
    combiner, server = Combiner(), Server()
    hits = [hit_of(), hit_of()]
    batch = added(combiner, *hits)
    batch.commands()
    combiner.leave(hits[1])
    carried(combiner, batch, server)
    assert hits[0].outcome() == 1
    with pytest.raises(OutcomeUnknownError):
        hits[1].outcome()


def test_the_youngest_takes_over():
    """A leader whose time is over hands the batch to who has most time left."""
    combiner, server = Combiner(), Server()
    hits = [hit_of(ends=10.0), hit_of(ends=11.0), hit_of(ends=12.0)]
    batch = added(combiner, *hits)
    batch.fail(AWAY)
    batch.give_up(10.0)
    assert combiner.finish(batch) == [hits[2]]
    assert hits[2].leads
    assert combiner.flying is batch
    assert carried(combiner, batch, server) == [hits[1]]
    assert values(hits[1:]) == [1, 2]


@pytest.mark.parametrize(
    "error", [AWAY, refused("LOADING ", BusyLoadingError), None], ids=["away", "loading", "script"]
)
def test_who_gives_up_what_others_go_on_with(error):
    """A call that is sent again has the amounts of all; nobody is told that his is not in it."""
    combiner, server = Combiner(), Server()
    early, late = hit_of(ends=10.0), hit_of(ends=11.0)
    batch = added(combiner, early, late)
    batch.take(server.execute(batch.commands()))  # the scripts are not loaded
    if error is not None:
        batch.fail(error)
    batch.give_up(10.0)
    assert combiner.finish(batch) == [late]
    carried(combiner, batch, server)
    with pytest.raises(CounterError) as caught:
        early.outcome()
    assert caught.value.counted == "unknown" or server.values == {"visits": 1}


def test_a_carrier_that_vanished_is_replaced():
    """A second after its deadline the next hit begins anew, under another name."""
    combiner, server = Combiner(), Server()
    lost = added(combiner, hit_of())
    late = lost.commands()
    queued = hit_of(ends=DEADLINE + 0.5)
    assert combiner.add(queued, 0.5) is None
    combiner.leave(queued)
    assert combiner.add(hit_of(ends=2 * DEADLINE), DEADLINE + 0.9) is None
    hit = hit_of(ends=2 * DEADLINE)
    batch = combiner.add(hit, DEADLINE + 1.1)
    assert batch is hit.batch
    assert batch.commands()[0][4] != late[0][4]
    carried(combiner, batch, server)
    server.execute(late)
    assert hit.outcome() == 2


def test_a_carrier_that_vanished_early_is_replaced():
    """Hits that join a batch which nobody carries do not put off its end for ever."""
    combiner = Combiner()
    added(combiner, hit_of())
    for second in range(1, int(5 * DEADLINE)):
        hit = hit_of(ends=second + DEADLINE)
        if combiner.add(hit, float(second)) is not None:
            break
    assert second <= DEADLINE + 2


def test_a_takeover_with_a_long_queue():
    """Who is told to carry a batch is one of it, and leads it."""
    combiner = Combiner()
    added(combiner, hit_of()).commands()
    added(combiner, *[hit_of(ends=2 * DEADLINE) for _ in range(MAX_HITS)], now=DEADLINE)
    hit = hit_of(ends=2 * DEADLINE)
    batch = combiner.add(hit, DEADLINE + 1.5)
    assert batch is None or hit.leads


def test_a_carrier_that_comes_back_after_a_takeover():
    """Its batch is settled as ever, and the batch that flies now is not touched."""
    combiner, server = Combiner(), Server()
    slow = hit_of()
    old = combiner.add(slow, 0.0)
    old.commands()
    new = combiner.add(hit_of(ends=3 * DEADLINE), 2 * DEADLINE)
    assert carried(combiner, old, server) == []
    assert slow.outcome() == 1
    assert combiner.flying is new


def test_an_outage_holds_one_at_a_time():
    """After a silent batch, hits fail at once while another batch finds out; else they wait."""
    combiner, server = Combiner(), Server()
    silent = added(combiner, hit_of())
    silent.fail(AWAY)
    assert combiner.add(hit_of(), 0.0) is None, "not known to be away yet"
    silent.give_up(DEADLINE)
    combiner.finish(silent)
    finds_out = combiner.add(hit_of(), 0.0)
    assert finds_out is not None, "nobody found out, so this one does"
    with pytest.raises(StoreUnavailableError, match="away"):
        combiner.add(hit_of(), 0.0)
    carried(combiner, finds_out, server)
    assert added(combiner, hit_of()) is not None
    assert combiner.add(hit_of(), 0.0) is None


def test_an_answer_ends_an_outage_whatever_it_says():
    """A server that refuses is there."""
    combiner = Combiner()
    batch = added(combiner, hit_of())
    batch.fail(refused("NOAUTH Authentication required."))
    batch.give_up(DEADLINE)
    combiner.finish(batch)
    added(combiner, hit_of())
    assert combiner.add(hit_of(), 0.0) is None


def test_an_answer_that_is_none():
    """What is no integer is no success: unknown, and the writer retires."""
    combiner = Combiner()
    hits = [hit_of(), hit_of(token="one")]
    batch = added(combiner, *hits)
    batch.commands()
    batch.take([b"OK", b""])
    assert batch.over
    combiner.finish(batch)
    for hit in hits:
        with pytest.raises(OutcomeUnknownError, match="no integer"):
            hit.outcome()


def test_a_refusal_after_an_unknown_attempt_is_unknown():
    """The first attempt may have counted, or may yet."""
    combiner, hit = Combiner(), hit_of()
    batch = combiner.add(hit, 0.0)
    batch.commands()
    batch.fail(SILENT)
    batch.take([refused("OOM command not allowed when used memory > 'maxmemory'.")])
    combiner.finish(batch)
    with pytest.raises(OutcomeUnknownError, match="OOM"):
        hit.outcome()


@pytest.mark.parametrize(
    "said",
    [
        "LOADING Redis is loading",
        "BUSY Redis is busy",
        "TRYAGAIN later",
        "CLUSTERDOWN",
        "MASTERDOWN ",
    ],
)
def test_a_refusal_that_passes_is_asked_again(said):
    """Nothing was executed, and soon it will be."""
    combiner, server, hit = Combiner(), Server(), hit_of()
    batch = combiner.add(hit, 0.0)
    batch.commands()
    loading = said.startswith("LOADING")
    batch.take([refused(f"{said} ", BusyLoadingError if loading else ResponseError)])
    assert not batch.over
    carried(combiner, batch, server)
    assert hit.outcome() == 1


@pytest.mark.parametrize("durability", ["fsync", "replica"])
def test_a_hit_waits_for_what_it_asked_for(durability):
    """An answer that is not on the disk, or the replica, is none yet; the repeat counts once."""
    combiner, server, hit = Combiner(durability, 100), Server(), hit_of()
    batch = combiner.add(hit, 0.0)
    batch.take(server.execute(batch.commands()))
    server.synced = 0
    batch.take(server.execute(batch.commands()))
    assert hit.waits
    server.synced = 1
    carried(combiner, batch, server)
    assert hit.outcome() == 1
    assert server.values == {"visits": 1}


def test_pauses_grow_and_are_bounded():
    """However long an outage is."""
    batch = added(Combiner(), hit_of())
    longest = 0.0
    for _ in range(2000):
        batch.fail(AWAY)
        longest = max(longest, batch.pause())
    assert LONGEST_PAUSE / 2 < longest <= LONGEST_PAUSE


def test_errors_are_not_shared():
    """Each hit raises an object of its own, with the same cause."""
    combiner = Combiner()
    hits = [hit_of("text"), hit_of("text")]
    batch = added(combiner, *hits)
    carried(combiner, batch, Server({"text": "text"}))
    errors = []
    for hit in (*hits, hits[0]):
        with pytest.raises(NotAnIntegerError) as caught:
            hit.outcome()
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    assert {(str(error), error.key) for error in errors} == {(str(errors[0]), "text")}
