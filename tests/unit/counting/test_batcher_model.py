"""Model test: each hit counts once and its outcome is true, whatever threads and network do."""

import itertools
import math
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis.exceptions import BusyLoadingError

from flask_redis_counter import OutcomeUnknownError
from flask_redis_counter.validation import MAX_VALUE

from .fake_server import AWAY, HIT, HIT_ONCE, SILENT, TIMEOUT, make_refusal
from .model import World, Writer


@settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
class Exactness(World, RuleBasedStateMachine):
    """Threads, a network and a server in any order of events, checked against a ledger."""

    def __init__(self):
        super().__init__()
        self.patch = mock.patch("flask_redis_counter.counting.batcher.MAX_HITS", 4)
        self.patch.start()

    def teardown(self):
        """Finish all batches, deliver all late packets, and check again."""
        try:
            if self.writers:
                self._settle()
        finally:
            self.patch.stop()

    def _settle(self):
        self.server.loading = False
        self.server.synced = 1
        while self.carriers or any(writer.elected for writer in self.writers):
            for writer in self.writers:
                while writer.elected:
                    self._lead(writer)
            for carrier in list(self.carriers):
                if carrier.attempt is not None and carrier.attempt.lost:
                    carrier.batch.record_failure(SILENT)
                    carrier.attempt = None
                if carrier.attempt is None:
                    self._send(carrier)
                carrier.attempt.deliver(self.server)
                self._answer(carrier)
        self.now += 2 * TIMEOUT
        for writer, hit in self._overdue():
            if hit in writer.waiting:  # its carrier vanished
                assert (hit.batch or writer.batcher.in_flight) in writer.vanished
                self._expire(writer, hit)
        for attempt in self._moving():
            attempt.deliver(self.server)
        self.outcomes_match_the_ledger()
        assert set(self.seen) | {hit for hit in self.hits if str(hit.error) == "gone"} == set(
            self.hits
        )
        for writer in self.writers:
            hit = self._arrive(writer, "last", 1, None)
            while self.carriers:
                self._send(self.carriers[0])
                self.carriers[0].attempt.deliver(self.server)
                self._answer(self.carriers[0])
            assert hit.result() == self.server.values["last"]

    # Hits

    @initialize(
        durability=st.sampled_from(["memory", "memory", "fsync", "replica"]), loaded=st.booleans()
    )
    def begin(self, durability, loaded):
        """Start with one writer, and with or without loaded scripts."""
        if loaded:
            self.server.execute([HIT.load(), HIT_ONCE.load()])
        self.durability = durability
        self.writers = [Writer(durability)]

    @rule(
        which=st.integers(0, 9),
        key=st.sampled_from(["zero", "zero", "zero", "high", "high", "text"]),
        amount=st.sampled_from([1, 1, 2, 7, 7, MAX_VALUE - 30]),
        idempotency_key=st.sampled_from([None, None, None, "t1", "t2"]),
    )
    def arrive(self, which, key, amount, idempotency_key):
        """Add a hit."""
        self._arrive(self.writers[which % len(self.writers)], key, amount, idempotency_key)

    @rule(which=st.integers(0, 9), count=st.integers(2, 6))
    def arrive_at_once(self, which, count):
        """Add several hits."""
        for _ in range(count):
            self._arrive(self.writers[which % len(self.writers)], "high", 3, None)

    @precondition(lambda self: len(self.writers) < 3 and self.carriers)
    @rule()
    def fork(self):
        """Start a writer in a forked child, which has nothing in flight."""
        self.writers.append(Writer(self.durability))

    @precondition(lambda self: len(self.writers) < 4)
    @rule(data=st.data(), back=st.integers(0, 2))
    def restore(self, data, back):
        """Start a copy of a writer, of its current or an earlier state."""
        self._restore(data.draw(st.sampled_from(self.writers)), back)

    @precondition(lambda self: self.hits)
    @rule(seconds=st.sampled_from([1.0, 5.0, TIMEOUT / 2, TIMEOUT, TIMEOUT + 2]))
    def time_passes(self, seconds):
        """Advance the clock."""
        self.now += seconds

    @precondition(lambda self: self._overdue())
    @rule(data=st.data())
    def expire_hit(self, data):
        """Return from a hit whose deadline is over, whether or not it was woken as the leader."""
        writer, hit = data.draw(st.sampled_from(self._overdue()))
        self._expire(writer, hit)

    @precondition(lambda self: any(writer.elected for writer in self.writers))
    @rule(data=st.data())
    def lead(self, data):
        """Let a thread that was woken as the leader take over."""
        self._lead(data.draw(st.sampled_from([one for one in self.writers if one.elected])))

    # Carriers

    @precondition(lambda self: self._idle())
    @rule(data=st.data())
    def send(self, data):
        """Send a batch; other rules decide the result."""
        self._send(data.draw(st.sampled_from(self._idle())))

    @precondition(lambda self: self._idle())
    @rule(data=st.data())
    def round_trip(self, data):
        """Send a batch, execute it and apply the replies."""
        carrier = data.draw(st.sampled_from(self._idle()))
        self._send(carrier)
        carrier.attempt.deliver(self.server)
        self._answer(carrier)

    @precondition(lambda self: self._moving())
    @rule(data=st.data())
    def deliver(self, data):
        """Deliver a packet, for the first time or again, in time or late."""
        data.draw(st.sampled_from(self._moving())).deliver(self.server)

    @precondition(lambda self: self._moving())
    @rule(data=st.data(), count=st.integers(1, 3))
    def deliver_in_part(self, data, count):
        """Crash the server in the middle of a packet."""
        attempt = data.draw(st.sampled_from(self._moving()))
        attempt.lost = True
        self.server.execute(attempt.commands[:count])
        self.server.restart()

    @precondition(lambda self: self._answered())
    @rule(data=st.data())
    def answer(self, data):
        """Return the replies to their carrier."""
        self._answer(data.draw(st.sampled_from(self._answered())))

    @precondition(lambda self: self._waiting_for_replies())
    @rule(data=st.data())
    def lose(self, data):
        """Let a carrier wait without a reply, whether or not the server executes the packet."""
        carrier = data.draw(st.sampled_from(self._waiting_for_replies()))
        carrier.attempt.lost = True
        carrier.attempt = None
        carrier.batch.record_failure(SILENT)

    @precondition(lambda self: self._idle())
    @rule(data=st.data(), executed=st.booleans())
    def send_in_vain(self, data, executed):
        """Send a batch and lose its reply."""
        carrier = data.draw(st.sampled_from(self._idle()))
        self._send(carrier)
        if executed:
            carrier.attempt.deliver(self.server)
        self._stop(carrier)
        carrier.attempt = None
        carrier.batch.record_failure(SILENT)

    @precondition(lambda self: self._idle())
    @rule(data=st.data(), error=st.sampled_from([AWAY, make_refusal("", BusyLoadingError)]))
    def fail_unsent(self, data, error):
        """Fail an attempt before anything is sent."""
        carrier = data.draw(st.sampled_from(self._idle()))
        carrier.batch.record_failure(error)
        self._continue(carrier)

    @precondition(lambda self: self._idle())
    @rule(data=st.data())
    def turn_away(self, data):
        """Refuse all commands permanently."""
        carrier = data.draw(st.sampled_from(self._idle()))
        carrier.batch.record_failure(make_refusal("NOAUTH Authentication required."))
        self._continue(carrier)

    @precondition(lambda self: self._idle())
    @rule(data=st.data(), all_hits=st.booleans())
    def expire_batch(self, data, all_hits):
        """Expire a batch between two attempts."""
        carrier = data.draw(st.sampled_from(self._idle()))
        self._give_up(carrier, math.inf if all_hits else carrier.hit.deadline)

    @precondition(lambda self: self.carriers)
    @rule(data=st.data())
    def interrupt(self, data):
        """Interrupt a thread that sends a batch, as Ctrl-C does."""
        carrier = data.draw(st.sampled_from(self.carriers))
        self._stop(carrier)
        if carrier.batch.is_sent:
            carrier.batch.record_failure(OutcomeUnknownError("the hit was interrupted"))
        carrier.hit.error = OutcomeUnknownError("the hit was interrupted")
        self._finish(carrier)

    @precondition(lambda self: self.carriers)
    @rule(data=st.data())
    def vanish(self, data):
        """Interrupt a thread so that it cannot report an outcome."""
        carrier = data.draw(st.sampled_from(self.carriers))
        self._stop(carrier)
        self.carriers.remove(carrier)
        carrier.writer.vanished.append(carrier.batch)
        carrier.hit.error = OutcomeUnknownError("gone")

    # Server

    @precondition(lambda self: self.server.scripts and self.carriers)
    @rule()
    def flush_scripts(self):
        """Forget the scripts, as SCRIPT FLUSH and a restart do."""
        self.server.restart()

    @precondition(lambda self: self.carriers or self.server.loading)
    @rule()
    def load(self):
        """Start or finish loading the data."""
        self.server.loading = not self.server.loading

    @precondition(lambda self: self.durability != "memory" and self.carriers)
    @rule()
    def sync(self):
        """Make the disk or the replica fast enough, or too slow."""
        self.server.synced = 1 - self.server.synced

    # Invariants

    @invariant()
    def batch_in_flight_has_one_leader(self):
        """A batch in flight has one carrier or one woken leader, unless its carrier vanished."""
        for writer in self.writers:
            in_flight = writer.batcher.in_flight
            if in_flight is None:
                assert not writer.batcher._queue
            elif in_flight not in writer.vanished:
                carrying = [one for one in self.carriers if one.batch is in_flight]
                elected = [hit for hit in writer.elected if hit.batch is in_flight]
                assert len(carrying) + len(elected) == 1
            queued = [hit for hit in writer.waiting if hit.batch is None]
            assert list(writer.batcher._queue) == queued
            assert all(hit.batch is None or hit.is_pending for hit in writer.elected)

    @invariant()
    def outcomes_match_the_ledger(self):
        """The outcome that each caller got matches the ledger."""
        counted = dict.fromkeys(self.hits, 0)
        for command in self.server.ledger:
            for hit in self.hits_by_command[command]:
                counted[hit] += 1
        assert all(times <= 1 for times in counted.values())
        for key in ("zero", "high"):
            hits = [hit for hit in self.hits if hit.key == key]
            total = self.start[key] + sum(hit.amount for hit in hits if counted[hit])
            assert self.server.values[key] == total <= MAX_VALUE
            self._values_are_unique(key, hits, total)
        for hit, outcome in self.seen.items():
            if outcome == "not_counted":
                assert not counted[hit], "counted, but reported as not counted"
            elif outcome != "unknown":
                assert counted[hit] == (not outcome[1]), "replayed is wrong"
        self._idempotency_keys_count_once(counted)

    def _values_are_unique(self, key, hits, total):
        results = [(self.seen[hit], hit) for hit in hits if isinstance(self.seen.get(hit), tuple)]
        reached = self.start[key]
        for value, amount in sorted(
            (value, hit.amount) for (value, again), hit in results if not again
        ):
            assert reached <= value - amount, "a value was returned twice"
            reached = value
        assert reached <= total

    def _idempotency_keys_count_once(self, counted):
        for key, idempotency_key in itertools.product(("zero", "high"), ("t1", "t2")):
            hits = [
                hit for hit in self.hits if (hit.key, hit.idempotency_key) == (key, idempotency_key)
            ]
            assert sum(counted[hit] for hit in hits) <= 1
            results = [self.seen[hit] for hit in hits if isinstance(self.seen.get(hit), tuple)]
            assert len({value for value, _ in results}) <= 1
            assert not results or sum(counted[hit] for hit in hits) == 1


TestExactness = Exactness.TestCase
