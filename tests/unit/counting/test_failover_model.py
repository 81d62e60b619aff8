"""Model tests: acknowledged hits survive failovers, restarts and isolated masters."""

import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from .failover_model import Group, Process, check_sums

KEYS = ("a", "b")


@settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
class Failovers(RuleBasedStateMachine):
    """Processes that count, on a store that loses its last writes in all known ways."""

    @initialize(replicas=st.integers(1, 2))
    def begin(self, replicas):
        """Start with one process."""
        self.group = Group(replicas)
        self.processes = [Process(self.group)]
        self.numbers = itertools.count()
        # Hits with a key whose outcome is unknown: process, counter, and idempotency key.
        self.unresolved = []

    @precondition(lambda self: len(self.processes) < 3)
    @rule()
    def fork(self):
        """Start another process."""
        self.processes.append(Process(self.group))

    @rule(
        which=st.integers(0, 2),
        writer=st.integers(0, 1),
        key=st.sampled_from(KEYS),
        amount=st.integers(1, 5),
        lost_replies=st.sampled_from([0, 0, 0, 1, 2, 9]),
        promoted=st.sampled_from([None, None, 0]),
    )
    def hit(self, which, writer, key, amount, lost_replies, promoted):
        """Count a hit, with lost replies, and perhaps a failover after each of these."""
        process = self.processes[which % len(self.processes)]

        def fail_over():
            self.group.fail_over(promoted, isolate=False)

        on_loss = None if promoted is None else fail_over
        process.hit(writer, key, amount, lost_replies=lost_replies, on_loss=on_loss)

    @rule(
        which=st.integers(0, 2),
        key=st.sampled_from(KEYS),
        lost_replies=st.sampled_from([0, 0, 1, 9]),
    )
    def hit_with_a_key(self, which, key, lost_replies):
        """Count a hit with an idempotency key of its own."""
        process = self.processes[which % len(self.processes)]
        own = f"key {next(self.numbers)}"
        if not process.hit(0, key, 1, idempotency_key=own, lost_replies=lost_replies):
            self.unresolved.append((process, key, own))

    @precondition(lambda self: self.unresolved)
    @rule(which=st.integers(0, 2), index=st.integers(0, 9))
    def repeat_with_a_key(self, which, index):
        """Repeat a hit with its idempotency key, in any process, until its outcome is known."""
        first, key, own = self.unresolved[index % len(self.unresolved)]
        process = self.processes[which % len(self.processes)]
        if process.hit(0, key, 1, idempotency_key=own):
            self.unresolved.remove((first, key, own))
            first.unknown[key] -= 1

    @rule(index=st.integers(0, 1), writes=st.integers(1, 9))
    def replicate(self, index, writes):
        """Let a replica receive some writes."""
        self.group.replicate(index % len(self.group.replicas), writes)

    @rule()
    def sync(self):
        """Sync the disk."""
        self.group.sync()

    @rule(which=st.integers(0, 2))
    def poll(self, which):
        """Let a process compare its journal with the store."""
        self.processes[which % len(self.processes)].poll()

    @rule(index=st.integers(0, 1), isolate=st.booleans(), behind=st.sets(st.integers(0, 2)))
    def fail_over(self, index, isolate, behind):
        """Promote a replica; some processes may stay with the former master."""
        self.group.fail_over(index % len(self.group.replicas), isolate=isolate)
        for number, process in enumerate(self.processes):
            process.is_isolated = isolate and number in behind
            process.reconnect()

    @rule()
    def restart(self):
        """Restart the master without the tail of its file."""
        self.group.restart()

    @rule()
    def heal(self):
        """Reconnect the isolated master and its clients to the others."""
        self.group.heal()
        for process in self.processes:
            process.is_isolated = False

    def teardown(self):
        """Reconcile all journals, and compare the sums."""
        if hasattr(self, "group"):
            check_sums(self.group, self.processes, KEYS)


TestFailovers = Failovers.TestCase


def test_all_interleavings_of_a_small_failover():
    """Two writers, three calls and one failover, in each order, with each lag of the replica.

    The events are calls (of a writer, on one counter), a step of replication, a poll of the
    journal, and the failover with or without an isolated master.
    """
    walked = 0
    events = ["call 0", "call 0", "call 1", "replicate", "poll", "fail over"]
    for order in set(itertools.permutations(events)):
        for writes, isolate, lost in itertools.product((1, 2, 3), (False, True), (0, 1)):
            group = Group(1)
            process = Process(group)
            for event in order:
                if event.startswith("call"):
                    process.hit(int(event[-1]), "a", 1, lost_replies=lost)
                elif event == "replicate":
                    group.replicate(0, writes)
                elif event == "poll":
                    process.poll()
                else:
                    group.fail_over(0, isolate=isolate)
                    process.is_isolated = isolate
            assert process.acknowledged == {"a": 3}
            check_sums(group, [process], ["a"])
            assert group.master.value("a") == 3
            walked += 1
    assert walked == 360 * 12
