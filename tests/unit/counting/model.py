"""A model of threads and a network around batchers, and the moves that they can make."""

from redis.exceptions import BusyLoadingError

from flask_redis_counter.counting.batch import BACKOFF
from flask_redis_counter.counting.batcher import Batcher
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.errors import CounterError, StoreRejectedError, StoreUnavailableError
from flask_redis_counter.store.confirmation import Confirmation
from flask_redis_counter.validation import MAX_VALUE

from .fake_server import TIMEOUT, Server


class Attempt:
    """One packet of commands, which may be delivered never, once or often, now or later.

    A connection does not deliver refused commands twice, only lost or executed ones.
    """

    def __init__(self, commands):
        self.commands = commands
        self.answers = None
        self.lost = False

    @property
    def moves(self):
        """Return whether the packet may be delivered, again or late."""
        done = self.answers or ()
        return self.lost or not any(isinstance(answer, StoreRejectedError) for answer in done)

    def deliver(self, server):
        """Execute the packet on the server; the sender gets the first replies."""
        answers = server.execute(self.commands)
        if self.answers is None:
            self.answers = answers


class Carrier:
    """A thread that sends a batch."""

    def __init__(self, writer, hit):
        self.writer = writer
        self.hit = hit
        self.batch = hit.batch
        self.attempt = None


class Writer:
    """A batcher with the threads that use it, as in `Dispatcher`."""

    def __init__(self, durability):
        self.batcher = Batcher(Confirmation(durability, 0.22))
        self.waiting = []
        self.elected = []
        self.vanished = []


class World:
    """Writers, carriers and packets on a server, and the outcome that each caller got."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.start = {"zero": 0, "high": MAX_VALUE - 25, "text": "text"}
        self.server = Server(self.start)
        self.writers = []
        self.carriers = []
        self.network = []
        self.hits = []
        self.seen = {}
        self.hits_by_command = {}

    def _restore(self, writer, back):
        copy = Writer(self.durability)
        copy.batcher._writer = writer.batcher._writer
        copy.batcher._sequence = max(0, writer.batcher._sequence - back)
        self.writers.append(copy)

    def _arrive(self, writer, key, amount, idempotency_key):
        hit = PendingHit(key, amount, idempotency_key, self.now + TIMEOUT)
        self.hits.append(hit)
        in_flight = writer.batcher.in_flight
        try:
            batch = writer.batcher.add(hit, self.now)
        except StoreUnavailableError as error:
            assert in_flight is not None, "an error at once without a probe in flight"
            hit.error = error
            self._returned(hit)
            return hit
        if batch is None:
            writer.waiting.append(hit)
        else:
            # The hit returns at once or sends the batch; it does not sleep.
            assert hit.is_leader, "add returned a batch to a hit that does not lead it"
            assert batch is hit.batch is writer.batcher.in_flight
            self.carriers.append(Carrier(writer, hit))
        return hit

    def _overdue(self):
        return [
            (writer, hit)
            for writer in self.writers
            for hit in (*writer.waiting, *writer.elected)
            if hit.deadline <= self.now
        ]

    def _expire(self, writer, hit):
        (writer.elected if hit in writer.elected else writer.waiting).remove(hit)
        writer.batcher.expire(hit)
        woken = writer.batcher.finish(hit.batch) if hit.is_leader and hit.batch is not None else []
        self._returned(hit)
        self._wake(writer, woken)

    def _lead(self, writer):
        hit = writer.elected.pop(0)
        assert hit.is_pending
        self.carriers.append(Carrier(writer, hit))

    def _idle(self):
        return [carrier for carrier in self.carriers if carrier.attempt is None]

    def _waiting_for_replies(self):
        return [carrier for carrier in self.carriers if carrier.attempt is not None]

    def _answered(self):
        return [
            carrier
            for carrier in self._waiting_for_replies()
            if carrier.attempt.answers is not None and not carrier.attempt.lost
        ]

    def _moving(self):
        return [attempt for attempt in self.network if attempt.moves]

    def _send(self, carrier):
        commands = carrier.batch.commands()
        for call in carrier.batch._calls:
            # The same command always stands for the same hits.
            assert self.hits_by_command.setdefault(call.command(), call.hits) == call.hits
        carrier.attempt = Attempt(commands)
        self.network.append(carrier.attempt)

    def _stop(self, carrier):
        if carrier.attempt is not None:
            carrier.attempt.lost = True

    def _answer(self, carrier):
        answers, carrier.attempt = list(carrier.attempt.answers), None
        if answers and getattr(answers[0], "__cause__", None).__class__ is BusyLoadingError:
            carrier.batch.record_failure(answers[0])  # redis-py raises it, and the store with it
        else:
            carrier.batch.apply_replies(answers)
        self._continue(carrier)

    def _continue(self, carrier):
        assert 0 <= carrier.batch.next_delay() <= BACKOFF.maximum
        if carrier.batch.done:
            self._give_up(carrier, carrier.hit.deadline)

    def _give_up(self, carrier, deadline):
        carrier.batch.expire(deadline)
        self._finish(carrier)

    def _finish(self, carrier):
        self.carriers.remove(carrier)
        batch, batcher = carrier.batch, carrier.writer.batcher
        was_in_flight = batch is batcher.in_flight
        woken = batcher.finish(batch)
        self._returned(carrier.hit)
        self._wake(carrier.writer, woken)
        if was_in_flight:
            leading = [hit for hit in batch.hits if hit.is_pending and hit.is_leader]
            assert leading or not any(hit.is_pending for hit in batch.hits), "no leader"

    def _wake(self, writer, woken):
        for hit in woken:
            if hit in writer.waiting:
                writer.waiting.remove(hit)
                if hit.is_leader and hit.error is None and hit.batch is not None:
                    writer.elected.append(hit)
                else:
                    self._returned(hit)

    def _returned(self, hit):
        """Remember the outcome that the caller of a hit got."""
        try:
            outcome = hit.result(), hit.replayed
        except CounterError as error:
            outcome = error.outcome
        assert self.seen.setdefault(hit, outcome) == outcome
