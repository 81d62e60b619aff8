"""SafetyTracker: when replicas and disk have received a write."""

from flask_redis_counter.counting.safety import (
    REPLICA_MEMORY,
    SYNC_TIME,
    UNKNOWN_SAFE_AFTER,
    SafetyTracker,
)
from flask_redis_counter.store.server_state import ServerState


def replicated(offset, *replicas, history="one"):
    """Return the state of a master without an append-only file."""
    return ServerState(history, offset, replicas)


def on_disk(*, is_syncing=False):
    """Return the state of a server without replicas."""
    return ServerState("one", 0, (), has_append_only_file=True, is_syncing=is_syncing)


def test_writes_are_safe_when_all_replicas_have_them():
    """The slowest replica decides, by the offset that the master had before."""
    tracker = SafetyTracker()
    assert tracker.observe(replicated(100, 100, 90), 1.0, 1.1) == 0.0
    assert tracker.observe(replicated(200, 200, 99), 2.0, 2.1) == 0.0
    assert tracker.observe(replicated(300, 250, 100), 3.0, 3.1) == 1.0
    assert tracker.observe(replicated(300, 300, 300), 4.0, 4.1) == 4.0


def test_a_replica_that_has_gone_is_waited_for():
    """Nothing becomes safe while a replica is missing, which may be promoted, for ten minutes."""
    tracker = SafetyTracker()
    assert tracker.observe(replicated(100, 100, 100), 1.0, 1.1) == 1.0
    assert tracker.observe(replicated(200, 200), 2.0, 2.1) == 1.0
    late = 2.2 + REPLICA_MEMORY
    assert tracker.observe(replicated(300, 300), late, late) == late


def test_a_replica_that_has_gone_during_a_pause_is_waited_for():
    """The ten minutes begin when it is missed, also after a pause without observations."""
    tracker = SafetyTracker()
    assert tracker.observe(replicated(100, 100, 100), 1.0, 1.1) == 1.0
    late = 1.1 + 5 * REPLICA_MEMORY
    assert tracker.observe(replicated(200, 200), late, late) == 1.0
    assert tracker.observe(replicated(300, 300, 300), late + 1, late + 1) == late + 1


def test_after_a_failover_the_other_replicas_are_waited_for():
    """A new master has no replica at first; one of two was promoted, and one follows."""
    tracker = SafetyTracker()
    tracker.observe(replicated(100, 100, 100), 1.0, 1.1)
    assert tracker.observe(replicated(100, history="two"), 2.0, 2.1) == 0.0
    assert tracker.observe(replicated(120, 120, history="two"), 3.0, 3.1) == 3.0


def test_the_only_replica_is_not_waited_for_after_its_promotion():
    """A master whose only replica was promoted may stay alone."""
    tracker = SafetyTracker()
    tracker.observe(replicated(100, 100), 1.0, 1.1)
    state = ServerState("two", 100, (), has_append_only_file=True)
    assert tracker.observe(state, 2.0, 2.0) == 0.0
    assert tracker.observe(state, 2.3, 2.3) == 2.0 - SYNC_TIME


def test_writes_are_safe_after_two_observations_of_an_idle_disk():
    """A write is on disk if no sync runs 1.5 s later, nor 0.2 s after that."""
    tracker = SafetyTracker()
    assert tracker.observe(on_disk(), 10.0, 10.0) == 0.0
    assert tracker.observe(on_disk(), 10.1, 10.1) == 0.0
    assert tracker.observe(on_disk(), 10.2, 10.25) == 10.0 - SYNC_TIME
    assert tracker.observe(on_disk(is_syncing=True), 10.5, 10.5) == 10.0 - SYNC_TIME
    assert tracker.observe(on_disk(), 10.8, 10.8) == 10.0 - SYNC_TIME
    assert tracker.observe(on_disk(), 11.1, 11.1) == 10.8 - SYNC_TIME


def test_disk_and_replicas_are_both_needed():
    """The later of the two decides."""
    tracker = SafetyTracker()
    state = ServerState("one", 100, (100,), has_append_only_file=True, is_syncing=True)
    assert tracker.observe(state, 5.0, 5.0) == 0.0


def test_without_copies_writes_are_kept_for_some_seconds():
    """A store with neither replicas nor a file, or that does not say so, makes nothing safe."""
    tracker = SafetyTracker()
    for state in (replicated(100), ServerState("")):
        assert tracker.observe(state, 20.0, 20.0) == 20.0 - UNKNOWN_SAFE_AFTER
