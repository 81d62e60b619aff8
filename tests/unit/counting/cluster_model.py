"""A cluster whose counters move from one master to another, and processes with slot maps."""

import math
import time
from collections import Counter

from redis.exceptions import AskError, MovedError, TryAgainError

from flask_redis_counter.counting.batcher import Batcher
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.counting.journal import Journal
from flask_redis_counter.counting.safety import SafetyTracker
from flask_redis_counter.errors import CounterError, StoreRejectedError, StoreUnavailableError

from .failover_model import Group, Node
from .fake_server import SILENT, TIMEOUT, Server, make_refusal


class MovingServer(Server):
    """A server that gets and gives away keys."""

    def _execute(self, command):
        if command[0] not in ("RESTORE", "DEL"):
            return super()._execute(command)
        kind, name, *content = command[1:]
        place = getattr(self, kind)
        if content:
            [place[name]] = content
        else:
            del place[name]
        return b"OK"

    def keys_of(self, counter):
        """Return the keys of a counter's hash slot: their kinds and names."""
        keys = [("values", counter)] if counter in self.values else []
        return keys + [("records", name) for name in self.records if name.startswith(f"{counter}:")]


class ClusterNode(Node):
    """A node of a cluster."""

    make_server = MovingServer


class Shard(Group):
    """A master of a cluster with its replicas."""

    make_node = ClusterNode

    def change(self, command):
        """Move a key; the replicas and the disk have that at once.

        Redis does not promise it: a master that fails then may lose the key.
        """
        self.master.server.execute([command])
        self.master.log.append(command)
        self.replicas = [len(self.master.log)] * len(self.replicas)
        self.synced = len(self.master.log)


class Cluster:
    """Shards, and which of them has each counter. Each counter has a hash slot of its own."""

    def __init__(self, shards, counters):
        self.shards = [Shard(1) for _ in range(shards)]
        self.owners = {counter: number % shards for number, counter in enumerate(counters)}
        #: Counters that are being moved, and where to.
        self.moving = {}

    def is_moving(self, shard):
        """Return whether a shard gives or gets a counter."""
        return any(shard in (self.owners[it], target) for it, target in self.moving.items())

    def move_key(self, counter, index):
        """Move one of a counter's keys, if there are any left."""
        source = self.shards[self.owners[counter]]
        if keys := source.master.server.keys_of(counter):
            kind, name = keys[index % len(keys)]
            content = getattr(source.master.server, kind)[name]
            self.shards[self.moving[counter]].change(("RESTORE", kind, name, content))
            source.change(("DEL", kind, name))

    def finish_move(self, counter):
        """Move the rest of a counter's keys, and its hash slot."""
        while self.shards[self.owners[counter]].master.server.keys_of(counter):
            self.move_key(counter, 0)
        self.owners[counter] = self.moving.pop(counter)

    def execute(self, shard, commands):
        """Return the replies of a shard's master to a round trip."""
        return [
            self._redirect(shard, command) or self.shards[shard].master.execute([command])[0]
            for command in commands
        ]

    def value(self, counter):
        """Return a counter's value."""
        return self.shards[self.owners[counter]].master.value(counter)

    def _redirect(self, shard, command):
        if command[0] != "EVALSHA":
            return None
        counter, record = command[3:5]
        owner = self.owners[counter]
        if shard != owner:
            # Also where the slot is being moved to: batches do not send ASKING.
            return make_refusal(f"1 shard:{owner}", MovedError)
        if counter not in self.moving:
            return None
        server = self.shards[shard].master.server
        present = (counter in server.values) + (record in server.records)
        if present == 2:
            return None
        if present:
            return make_refusal("Multiple keys request during rehashing of slot", TryAgainError)
        return make_refusal(f"1 shard:{self.moving[counter]}", AskError)


class Process:
    """A process with a slot map, a journal, and a batcher for each writer and shard."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.journal = Journal()
        self.map = dict(cluster.owners)
        self.trackers = [SafetyTracker() for _ in cluster.shards]
        self.acknowledged = Counter()
        self.unknown = Counter()
        self._batchers = {}

    def hit(self, writer, counters, amount, *, idempotency_key=None, lost_replies=0):
        """Send hits of one lane in a batch; return whether all are acknowledged.

        The first replies may be lost.
        """
        lane = self.map[counters[0]]
        mine = [counter for counter in counters if self.map[counter] == lane]
        batcher = self._batchers.setdefault((writer, lane), Batcher(journal=self.journal))
        hits = [PendingHit(counter, amount, idempotency_key, TIMEOUT) for counter in mine]
        for hit in hits:
            try:
                batcher.add(hit, 0.0)
            except (
                StoreUnavailableError
            ) as error:  # one batch at a time probes a store that is down
                hit.error = error
        while batch := batcher.in_flight:
            self._send(batcher, batch, lost_replies)
        outcomes = [self._note_outcome(hit, amount) for hit in hits]
        return all(outcomes)

    def poll(self, shard):
        """Do what the keeper's thread does for a master."""
        group = self.cluster.shards[shard]
        before, state = self.journal.now(), group.state()
        foreign = self.journal.foreign(state.history, lambda counter: self.map[counter] == shard)
        replies = self.cluster.execute(shard, [entry.call.command() for entry in foreign])
        self._learn(foreign, replies)
        self.journal.apply_replies(foreign, replies, state.history)
        safe_before = self.trackers[shard].observe(state, before, time.monotonic())
        self.journal.drop_safe(
            safe_before, state.history, lambda counter: self.map[counter] == shard
        )

    def learn(self):
        """Read the slot map."""
        self.map = dict(self.cluster.owners)

    def _send(self, batcher, batch, lost_replies):
        attempts = 0
        while not batch.done and attempts < 8:
            attempts += 1
            shard = self.map[batch.near]
            history = self.cluster.shards[shard].master.history
            commands = batch.commands(history)
            replies = self.cluster.execute(shard, commands)
            if attempts <= lost_replies:
                batch.record_failure(SILENT)
                continue
            for command, reply in zip(commands, replies, strict=True):
                self._note_reply(command, reply)
            batch.apply_replies(replies)
        batch.expire(math.inf)
        batcher.finish(batch)

    def _learn(self, entries, replies):
        for entry, reply in zip(entries, replies, strict=True):
            self._note_reply(entry.call.command(), reply)

    def _note_reply(self, command, reply):
        error = reply.__cause__ if isinstance(reply, StoreRejectedError) else None
        if isinstance(error, MovedError):
            self.map[command[3]] = int(error.port)

    def _note_outcome(self, hit, amount):
        try:
            hit.result()
        except CounterError as error:
            self.unknown[hit.key] += amount * (error.outcome == "unknown")
            return False
        self.acknowledged[hit.key] += amount
        return True


def check_sums(cluster, processes):
    """Check that each counter has the acknowledged hits, and at most the unknown ones besides."""
    for counter in list(cluster.moving):
        cluster.finish_move(counter)
    for process in processes:
        process.learn()
        for shard in range(len(cluster.shards)):
            process.poll(shard)
    for counter in cluster.owners:
        acknowledged = sum(process.acknowledged[counter] for process in processes)
        unknown = sum(process.unknown[counter] for process in processes)
        assert acknowledged <= cluster.value(counter) <= acknowledged + unknown
