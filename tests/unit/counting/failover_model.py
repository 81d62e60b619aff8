"""A master with replicas that lag, failovers, isolated masters, and processes with journals."""

import itertools
import math
import time

from redis.exceptions import ReadOnlyError

from flask_redis_counter.counting.batcher import Batcher
from flask_redis_counter.counting.call import is_behind
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.counting.journal import Journal
from flask_redis_counter.counting.safety import SafetyTracker
from flask_redis_counter.errors import CounterError, StoreRejectedError
from flask_redis_counter.store.server_state import ServerState

from .fake_server import HIT, HIT_ONCE, SILENT, TIMEOUT, Server, make_refusal

_histories = itertools.count(1)


class Node:
    """A server with the log of its writes, from which its state follows."""

    make_server = Server

    def __init__(self, log=()):
        self.log = list(log)
        self.history = f"history {next(_histories)}"
        self.is_master = True
        self.server = self.make_server()
        self.server.execute([HIT.load(), HIT_ONCE.load(), *self.log])

    def execute(self, commands):
        """Return the replies to a round trip."""
        if not self.is_master:
            refusal = make_refusal("READONLY You can't write against a replica.", ReadOnlyError)
            return [refusal for _ in commands]
        replies = self.server.execute(commands)
        self.log += [
            command
            for command, reply in zip(commands, replies, strict=True)
            if command[0] == "EVALSHA" and not isinstance(reply, StoreRejectedError)
        ]
        return replies

    def value(self, key):
        """Return a counter's value."""
        return self.server.values.get(key, 0)


class Group:
    """A master, how much of its log each replica has, and how much of it is on its disk.

    :ivar isolated: a former master that still takes writes from some processes, or None.
    """

    make_node = Node

    def __init__(self, replicas):
        self.master = self.make_node()
        self.replicas = [0] * replicas
        self.synced = 0
        self.isolated = None

    def replicate(self, index, writes):
        """Let a replica receive some writes."""
        self.replicas[index] = min(self.replicas[index] + writes, len(self.master.log))

    def sync(self):
        """Sync the master's disk."""
        self.synced = len(self.master.log)

    def state(self):
        """Return the master's state. Its disk counts as one more replica."""
        received = (*self.replicas, self.synced)
        return ServerState(self.master.history, len(self.master.log), received)

    def fail_over(self, index, *, isolate):
        """Promote a replica, with the writes that it has; the others follow it.

        They are on its disk: a promoted replica that also loses its last seconds is not covered.
        """
        if self.isolated is not None:
            self.heal()
        old, received = self.master, self.replicas[index]
        if isolate:
            self.isolated = old
        else:
            old.is_master = False
        self.master = self.make_node(old.log[:received])
        self.replicas = [min(it, received) for it in self.replicas]
        self.synced = received

    def restart(self):
        """Restart the master, which loses the writes that are not on its disk."""
        self.master.is_master = False
        self.master = self.make_node(self.master.log[: self.synced])
        self.replicas = [min(it, self.synced) for it in self.replicas]

    def heal(self):
        """Make the isolated master a replica, without its last writes."""
        if self.isolated is not None:
            self.isolated.is_master = False
            self.isolated = None


class Process:
    """A process with writers, a journal, and a connection."""

    def __init__(self, group, writers=2):
        self.group = group
        self.journal = Journal()
        self.tracker = SafetyTracker()
        self.batchers = [Batcher(journal=self.journal) for _ in range(writers)]
        self.is_isolated = False
        self.connection = group.master
        self.acknowledged = {}
        self.unknown = {}

    def reconnect(self):
        """Connect to the master that this process can reach."""
        isolated = self.group.isolated
        self.connection = isolated if self.is_isolated and isolated else self.group.master

    def hit(self, writer, key, amount, *, idempotency_key=None, lost_replies=0, on_loss=None):
        """Send one hit until it has an outcome, and return whether it is acknowledged.

        The first replies may be lost.

        :param on_loss: called after each lost reply.
        """
        hit = PendingHit(key, amount, idempotency_key, TIMEOUT)
        batcher = self.batchers[writer]
        batch = batcher.add(hit, 0.0)
        attempts = 0
        while not batch.done and attempts < 8:
            attempts += 1
            if self.connection not in (self.group.master, self.group.isolated):
                self.reconnect()
            replies = self.connection.execute(batch.commands(self.connection.history))
            if attempts <= lost_replies:
                batch.record_failure(SILENT)
                if on_loss is not None:
                    on_loss()
                self.reconnect()
                continue
            batch.apply_replies(replies)
            if any(is_behind(it) or _is_read_only(it) for it in replies):
                self.reconnect()
        batch.expire(math.inf)
        batcher.finish(batch)
        try:
            hit.result()
        except CounterError as error:
            is_acknowledged = False
            if error.outcome == "unknown":
                self.unknown[key] = self.unknown.get(key, 0) + amount
        else:
            is_acknowledged = True
            self.acknowledged[key] = self.acknowledged.get(key, 0) + amount
        return is_acknowledged

    def poll(self):
        """Do what the keeper's thread does."""
        node = self.group.master
        if self.is_isolated and self.group.isolated is not None:
            return  # the isolated master confirms nothing: its replicas are gone
        before, state = self.journal.now(), self.group.state()
        foreign = self.journal.foreign(node.history)
        replies = node.execute([entry.call.command() for entry in foreign])
        self.journal.apply_replies(foreign, replies, node.history)
        safe_before = self.tracker.observe(state, before, time.monotonic())
        self.journal.drop_safe(safe_before, node.history)


def _is_read_only(reply):
    return isinstance(reply, StoreRejectedError) and isinstance(reply.__cause__, ReadOnlyError)


def check_sums(group, processes, keys):
    """Check that each counter has the acknowledged hits, and at most the unknown ones besides."""
    group.heal()
    for process in processes:
        process.is_isolated = False
        process.reconnect()
        process.poll()
    for key in keys:
        acknowledged = sum(process.acknowledged.get(key, 0) for process in processes)
        unknown = sum(process.unknown.get(key, 0) for process in processes)
        assert acknowledged <= group.master.value(key) <= acknowledged + unknown
