"""Model tests: acknowledged hits survive moves of counters and failovers of a cluster's masters."""

import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from .cluster_model import Cluster, Process, check_sums

COUNTERS = ("a", "b", "c", "d")

counters = st.lists(st.sampled_from(COUNTERS), min_size=1, max_size=3, unique=True)


@settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
class Moves(RuleBasedStateMachine):
    """Processes that count on a cluster, with slot maps that may be old."""

    @initialize(shards=st.integers(2, 3))
    def begin(self, shards):
        """Start with two processes."""
        self.cluster = Cluster(shards, COUNTERS)
        self.processes = [Process(self.cluster) for _ in range(2)]
        self.numbers = itertools.count()
        # Hits with a key that are not acknowledged: counter, idempotency key, and the process among
        # whose unknown hits it is.
        self.unresolved = []

    @rule(
        which=st.integers(0, 1),
        writer=st.integers(0, 1),
        counters=counters,
        amount=st.integers(1, 5),
        lost_replies=st.sampled_from([0, 0, 0, 1, 2, 9]),
    )
    def hit(self, which, writer, counters, amount, lost_replies):
        """Count hits, with lost replies."""
        self.processes[which].hit(writer, counters, amount, lost_replies=lost_replies)

    @rule(
        which=st.integers(0, 1),
        counter=st.sampled_from(COUNTERS),
        lost_replies=st.sampled_from([0, 0, 1, 9]),
    )
    def hit_with_a_key(self, which, counter, lost_replies):
        """Count a hit with an idempotency key of its own."""
        process, own = self.processes[which], f"key {next(self.numbers)}"
        before = process.unknown[counter]
        if not process.hit(0, [counter], 1, idempotency_key=own, lost_replies=lost_replies):
            holder = process if process.unknown[counter] > before else None
            self.unresolved.append((counter, own, holder))

    @precondition(lambda self: self.unresolved)
    @rule(which=st.integers(0, 1), index=st.integers(0, 9))
    def repeat_with_a_key(self, which, index):
        """Repeat a hit with its idempotency key, in any process, until it is acknowledged."""
        one = self.unresolved.pop(index % len(self.unresolved))
        counter, own, holder = one
        process = self.processes[which]
        before = process.unknown[counter]
        if process.hit(0, [counter], 1, idempotency_key=own):
            if holder is not None:
                holder.unknown[counter] -= 1
            return
        if holder is None and process.unknown[counter] > before:
            holder = process
        else:
            process.unknown[counter] = before  # it is the same hit
        self.unresolved.append((counter, own, holder))

    @precondition(lambda self: len(self.cluster.moving) < len(COUNTERS))
    @rule(counter=st.sampled_from(COUNTERS), step=st.integers(1, 2))
    def begin_move(self, counter, step):
        """Begin to move a counter to another master."""
        shards = len(self.cluster.shards)
        target = (self.cluster.owners[counter] + step) % shards
        if counter not in self.cluster.moving and target != self.cluster.owners[counter]:
            self.cluster.moving[counter] = target

    @precondition(lambda self: self.cluster.moving)
    @rule(index=st.integers(0, 3), key=st.integers(0, 9))
    def move_key(self, index, key):
        """Move one key of a counter."""
        moving = sorted(self.cluster.moving)
        self.cluster.move_key(moving[index % len(moving)], key)

    @precondition(lambda self: self.cluster.moving)
    @rule(index=st.integers(0, 3))
    def finish_move(self, index):
        """Move the rest of a counter's keys, and its hash slot."""
        moving = sorted(self.cluster.moving)
        self.cluster.finish_move(moving[index % len(moving)])

    @rule(shard=st.integers(0, 2), writes=st.integers(1, 9))
    def replicate(self, shard, writes):
        """Let a replica receive some writes."""
        self.cluster.shards[shard % len(self.cluster.shards)].replicate(0, writes)

    @rule(shard=st.integers(0, 2))
    def sync(self, shard):
        """Sync a disk."""
        self.cluster.shards[shard % len(self.cluster.shards)].sync()

    @rule(shard=st.integers(0, 2), restarts=st.booleans())
    def lose_writes(self, shard, restarts):
        """Promote a replica, or restart a master without the tail of its file."""
        number = shard % len(self.cluster.shards)
        if self.cluster.is_moving(number):
            return  # Redis may lose whole counters then
        if restarts:
            self.cluster.shards[number].restart()
        else:
            self.cluster.shards[number].fail_over(0, isolate=False)

    @rule(which=st.integers(0, 1), shard=st.integers(0, 2))
    def poll(self, which, shard):
        """Let a process compare its journal with a master."""
        self.processes[which].poll(shard % len(self.cluster.shards))

    @rule(which=st.integers(0, 1))
    def learn(self, which):
        """Let a process read the slot map."""
        self.processes[which].learn()

    def teardown(self):
        """Reconcile all journals, and compare the sums."""
        if hasattr(self, "cluster"):
            check_sums(self.cluster, self.processes)


TestMoves = Moves.TestCase


def test_hit_on_a_moved_counter_is_counted_where_it_is():
    """A process with an old map is redirected; during the move its hits are not counted."""
    cluster = Cluster(2, COUNTERS)
    process = Process(cluster)
    assert process.hit(0, ["a"], 1)
    cluster.moving["a"] = 1
    assert process.hit(0, ["a"], 1)  # no key was moved yet
    cluster.move_key("a", 0)
    assert not process.hit(0, ["a"], 1)
    assert process.unknown["a"] == 0
    cluster.finish_move("a")
    assert process.map["a"] == 0
    assert process.hit(0, ["a"], 1)
    assert process.map["a"] == 1
    assert cluster.value("a") == 3
    check_sums(cluster, [process])


def test_hits_that_a_new_owner_loses_are_sent_again():
    """The journal follows a counter to its new master, and knows that master's history."""
    cluster = Cluster(2, COUNTERS)
    process = Process(cluster)
    assert process.hit(0, ["a"], 1)
    process.poll(0)
    cluster.moving["a"] = 1
    cluster.finish_move("a")
    assert process.hit(0, ["a"], 1)
    cluster.shards[1].fail_over(0, isolate=False)
    assert cluster.value("a") == 1
    process.poll(1)
    assert cluster.value("a") == 2
    check_sums(cluster, [process])


def test_lost_hits_wait_for_the_end_of_a_move():
    """Lost hits that are redirected when they are sent again stay in the journal."""
    cluster = Cluster(2, COUNTERS)
    process = Process(cluster)
    assert process.hit(0, ["a"], 1)
    cluster.shards[0].fail_over(0, isolate=False)
    cluster.moving["a"] = 1
    for _ in range(3):
        process.poll(0)
        cluster.shards[0].sync()
    assert len(process.journal) == 1
    cluster.finish_move("a")
    process.poll(0)
    process.poll(1)
    assert cluster.value("a") == 1
    check_sums(cluster, [process])
