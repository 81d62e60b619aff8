"""Test helpers for batches: a fake server that records what it counted, and hits."""

import hashlib
import math

from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError

from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.errors import (
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from flask_redis_counter.limits import UNLIMITED
from flask_redis_counter.store.scripts import HIT, HIT_ONCE
from flask_redis_counter.validation import MAX_VALUE

TIMEOUT = 10.0
AWAY = StoreUnavailableError("connection refused")
SILENT = OutcomeUnknownError("no answer")


def make_refusal(message, kind=ResponseError):
    """Return an error reply as the store raises it."""
    error = StoreRejectedError(f"the store rejected the command: {message}")
    error.__cause__ = kind(message)
    return error


class Server:
    """A fake of the two scripts, with a ledger of the commands that counted."""

    def __init__(self, values=()):
        self.values = dict(values)
        self.records = {}
        self.scripts = {}
        self.ledger = []
        self.loading = False
        self.synced = 1
        self.run_id = "one"

    def restart(self):
        """Restart: keep the data and lose the scripts."""
        self.scripts.clear()

    def execute(self, commands):
        """Return the replies to a round trip."""
        return [self._execute(command) for command in commands]

    def _execute(self, command):
        if self.loading:
            return make_refusal("Redis is loading the dataset in memory", BusyLoadingError)
        if command[0] == "INFO":
            return f"run_id:{self.run_id}\r\nmaster_replid:a\r\nmaster_replid2:0\r\n".encode()
        if command[0] == "SCRIPT LOAD":
            digest = hashlib.sha1(command[1].encode()).hexdigest()  # noqa: S324
            self.scripts[digest] = command[1]
            return digest.encode()
        if command[0] in ("WAITAOF", "WAIT"):
            return [self.synced, 0] if command[0] == "WAITAOF" else self.synced
        name, digest, keys, key, record, *described = command
        assert (name, keys) == ("EVALSHA", 5)
        first, amount, hour, limit = described[3:]
        assert (len(hour), limit) == (13, UNLIMITED)
        if digest not in self.scripts:
            return make_refusal("NOSCRIPT No matching script", NoScriptError)
        if self.scripts[digest] == HIT.text:
            return self._hit(command, key, record, first, amount)
        assert self.scripts[digest] == HIT_ONCE.text
        return self._hit_once(command, key, record, first, amount)

    def _hit(self, command, key, record, number, amount):
        batch, answer = self.records.get(record, ("0:", b""))
        this, sender, *earlier = number.split(":")
        number = f"{this}:{sender}"
        if batch == number:
            return answer
        last, this = (int(one.partition(":")[0]) for one in (batch, number))
        if last == this:
            return make_refusal("TAKEN this number was another batch's: the writer was copied")
        if last > this:
            return make_refusal("STALE this writer has sent later batches")
        if earlier and last < int(earlier[0]):
            return make_refusal("BEHIND an earlier batch of this writer is lost")
        answer = self._incrby(command, key, amount)
        if isinstance(answer, bytes):
            self.records[record] = (number, answer)
        return answer

    def _hit_once(self, command, key, record, sender, amount):
        if record in self.records:
            first, its_sender, answer = self.records[record]
            if first != amount:
                return make_refusal(f"TOKENREUSED the token stands for a hit of amount {first}")
            return [answer, int(its_sender != sender)]
        answer = self._incrby(command, key, amount)
        if not isinstance(answer, bytes):
            return answer
        self.records[record] = (amount, sender, answer)
        return [answer, 0]

    def _incrby(self, command, key, amount):
        value = self.values.get(key, 0)
        if not isinstance(value, int):
            return make_refusal("WRONGTYPE Operation against a key holding the wrong kind of value")
        if value + amount > MAX_VALUE:
            return make_refusal("increment or decrement would overflow")
        self.values[key] = value + amount
        self.ledger.append(command)
        return b"%d" % (value + amount)


def make_hit(key="visits", amount=1, idempotency_key=None, deadline=TIMEOUT):
    """Return a new hit."""
    return PendingHit(key, amount, idempotency_key, deadline)


def add_hits(batcher, *hits, now=0.0):
    """Add hits to a batcher, and return the batch that one of them must send, or None."""
    batches = [batcher.add(hit, now) for hit in hits]
    return next((batch for batch in batches if batch is not None), None)


def send_until_done(batcher, batch, server):
    """Send a batch until it is done, and return the hits to wake."""
    while not batch.done:
        batch.apply_replies(server.execute(batch.commands()))
    batch.expire(math.inf)
    return batcher.finish(batch)


def fail_until_deadline(batcher, batch, error):
    """Fail a batch with an error until its deadline is over."""
    batch.record_failure(error)
    batch.expire(TIMEOUT)
    batcher.finish(batch)


def values(hits):
    """Return the hits' values; raise the first error."""
    return [hit.result() for hit in hits]
