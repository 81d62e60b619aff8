"""HitMetrics: the outcomes, amounts and durations of hits."""

import errno
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from flask_redis_counter.counting.call import ScriptCall
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.counting.metrics import BATCH_SIZES, DURATIONS, OUTCOMES, HitMetrics
from flask_redis_counter.errors import (
    HitSpooledError,
    OutcomeUnknownError,
    RateLimitExceededError,
    StoreUnavailableError,
)

#: Monotonic time at which the hits of these tests started.
STARTED_AT = 100.0


def make_hit(amount=1):
    """Return a hit that started at :data:`STARTED_AT`."""
    hit = PendingHit("counter:{a}", amount, None)
    hit.started_at = STARTED_AT
    return hit


def call_of(*amounts):
    """Return a call for hits of some amounts."""
    pending = [make_hit(amount) for amount in amounts]
    call = ScriptCall.for_hit(pending[0], "writer", 1, None)
    for hit in pending[1:]:
        call.add(hit)
    return call


def record_answered(metrics, *amounts, took=0.0):
    """Record hits that were answered together after some seconds."""
    call = call_of(*amounts)
    call.resolve(b"1000")
    metrics.record_batch([call], STARTED_AT + took)


def record_failed(metrics, error, took=0.0):
    """Record a hit that failed after some seconds."""
    hit = make_hit()
    hit.error = error
    metrics.record_failure(hit, STARTED_AT + took)


def outcomes(metrics):
    """Return the outcomes that are not 0."""
    return {name: count for name, count in metrics.snapshot().outcomes.items() if count}


def test_snapshot_without_hits_is_zero():
    """A new snapshot has all numbers, each 0."""
    snapshot = HitMetrics().snapshot()
    assert list(snapshot.outcomes) == list(OUTCOMES)
    assert not any(snapshot.outcomes.values())
    assert snapshot.durations == (0,) * (len(DURATIONS) + 1)
    assert snapshot.batch_sizes == (0,) * (len(BATCH_SIZES) + 1)
    assert (
        snapshot.amount_total,
        snapshot.duration_total,
        snapshot.round_trips,
        snapshot.failed_round_trips,
    ) == (
        0,
        0,
        0,
        0,
    )


def test_record_batch_adds_each_hit():
    """A batch is one round trip; each hit adds its amount and its duration."""
    metrics = HitMetrics()
    record_answered(metrics, 1, 5, 7, took=0.004)
    record_answered(metrics, 2, took=0.002)
    snapshot = metrics.snapshot()
    assert outcomes(metrics) == {"counted": 4}
    assert snapshot.amount_total == 15
    assert snapshot.duration_total == pytest.approx(3 * 0.004 + 0.002, abs=1e-5)
    assert snapshot.durations == (0, 1, 3, *[0] * 8)
    assert (snapshot.round_trips, snapshot.batched_hits) == (2, 4)
    assert snapshot.batch_sizes == (1, 0, 1, *[0] * 8)


@pytest.mark.parametrize("took", [*DURATIONS, 1.5])
def test_bucket_includes_its_upper_bound(took):
    """A bucket counts durations less than or equal to its bound, as in Prometheus."""
    metrics = HitMetrics()
    record_failed(metrics, OutcomeUnknownError(""), took=took - 1e-9)
    assert metrics.snapshot().durations.index(1) == (*DURATIONS, 1.5).index(took)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StoreUnavailableError(""), "not_counted"),
        (RateLimitExceededError(1), "not_counted"),
        (OutcomeUnknownError(""), "unknown"),
        (HitSpooledError(""), "spooled"),
    ],
)
def test_record_failure_counts_by_outcome(error, outcome):
    """record_failure counts the outcome of the error, and the duration."""
    metrics = HitMetrics()
    record_failed(metrics, error)
    assert outcomes(metrics) == {outcome: 1}
    assert metrics.snapshot().amount_total == 0
    assert sum(metrics.snapshot().durations) == 1


def test_record_batch_skips_an_expired_hit():
    """A hit with an error is not counted by record_batch: its own thread records it."""
    metrics = HitMetrics()
    call = call_of(1, 1)
    call.hits[0].error = OutcomeUnknownError("in time")
    call.resolve(b"2")
    metrics.record_batch([call], STARTED_AT)
    assert outcomes(metrics) == {"counted": 1}
    assert metrics.snapshot().batched_hits == 2


def test_record_batch_adds_the_amounts_of_counted_hits_only():
    """Replayed and skipped hits do not add to the amount."""
    metrics = HitMetrics()
    call = call_of(1, 1, 1)
    call.resolve(b"3")
    call.hits[0].replayed = True
    call.hits[1].counted = False
    metrics.record_batch([call], STARTED_AT)
    assert outcomes(metrics) == {"replayed": 1, "skipped": 1, "counted": 1}
    assert metrics.snapshot().amount_total == 1


def test_failed_round_trips_and_replays_have_own_numbers():
    """Failed round trips and replayed spool rows are counted separately."""
    metrics = HitMetrics()
    metrics.record_failed_round_trip()
    metrics.record_batch([], STARTED_AT)
    metrics.record_replay(3, 2**63)
    snapshot = metrics.snapshot()
    assert (snapshot.failed_round_trips, snapshot.round_trips) == (2, 0)
    assert (snapshot.replayed_hits, snapshot.replayed_amount) == (3, 2**63)


def test_amount_total_wraps_beyond_64_bits(tmp_path):
    """A sum beyond 64 bits wraps around and does not fail a hit."""
    for metrics in (HitMetrics(), HitMetrics(tmp_path)):
        for _ in range(3):
            record_answered(metrics, 2**63 - 1)
        assert metrics.snapshot().amount_total == 3 * (2**63 - 1) - 2**64


def test_threads_do_not_lose_updates():
    """Several threads add to the same numbers without a lost update."""
    metrics = HitMetrics()

    def count():
        for _ in range(2000):
            record_answered(metrics, 1)
            metrics.record_failed_round_trip()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = metrics.snapshot()
    assert (snapshot.outcomes["counted"], snapshot.failed_round_trips) == (8000, 8000)


def test_snapshot_adds_up_the_processes_of_a_folder(tmp_path):
    """The sum has the numbers of all processes, also of killed ones."""
    metrics = HitMetrics(tmp_path)
    record_answered(metrics, 1)
    for _ in range(2):
        child = os.fork()
        if child == 0:
            record_answered(HitMetrics(tmp_path), 1, 1)
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    snapshot = metrics.snapshot()
    assert snapshot.outcomes["counted"] == 5
    assert snapshot.round_trips == 3
    assert HitMetrics(tmp_path).snapshot() == snapshot


def test_forked_child_has_its_own_slot(tmp_path):
    """A forked child writes another slot than its parent, so no update is lost."""
    shared, alone = HitMetrics(tmp_path), HitMetrics()
    for metrics in (shared, alone):
        record_answered(metrics, 1)
    child = os.fork()
    if child == 0:
        record_answered(shared, 1)
        record_answered(alone, 1)
        os._exit(0 if alone.snapshot().amount_total == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert shared.snapshot().amount_total == 2
    assert alone.snapshot().amount_total == 1
    assert len(list(tmp_path.glob("*.meter"))) == 2


def slots(folder):
    """Return the slot files in a folder."""
    return sorted(folder.glob("*.meter"))


def run_in_child(action):
    """Run an action in a forked child, which is then killed."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_slot_of_a_dead_process_is_reused(tmp_path):
    """A hundred recycled workers leave as many files as ran at once, and the sum has them all."""
    metrics = HitMetrics(tmp_path)
    record_answered(metrics, 1)
    for done in range(1, 101):
        run_in_child(lambda: record_answered(metrics, 1))
        assert metrics.snapshot().amount_total == 1 + done
    assert len(slots(tmp_path)) == 2


def test_slot_belongs_to_one_instance(tmp_path):
    """Two live instances do not share a slot, even in one process."""
    instances = [HitMetrics(tmp_path) for _ in range(5)]
    for metrics in instances:
        record_answered(metrics, 1)
    assert len(slots(tmp_path)) == 5
    assert {metrics.snapshot().amount_total for metrics in instances} == {5}


def test_unfinished_slot_is_ignored_and_reused(tmp_path):
    """A slot file that its process did not finish is not added up, and is reused."""
    metrics = HitMetrics(tmp_path)
    record_answered(metrics, 1)
    (path,) = slots(tmp_path)
    prefix = path.name.partition("-")[0]
    Path(tmp_path, f"{prefix}-0.meter").write_bytes(bytes(8))
    assert metrics.snapshot().amount_total == 1
    successor = HitMetrics(tmp_path)
    record_answered(successor, 1)
    assert metrics.snapshot().amount_total == 2
    assert len(slots(tmp_path)) == 2


def test_emptied_folder_is_refilled(tmp_path, monkeypatch):
    """Each process writes its numbers again, so that each snapshot has the whole sum."""
    monkeypatch.setattr("flask_redis_counter.counting.metrics.SLOT_CHECK_INTERVAL", 0)
    one, other = HitMetrics(tmp_path), HitMetrics(tmp_path)
    for metrics in (one, other):
        record_answered(metrics, 10)
    for path in tmp_path.iterdir():
        path.unlink()
    now = time.monotonic() + 1
    one.record_failure(PendingHit("counter:{a}", 1, None, now), now)
    other.record_failure(PendingHit("counter:{a}", 1, None, now), now)
    assert one.snapshot() == other.snapshot()
    assert one.snapshot().amount_total == 20
    assert one.snapshot().outcomes["not_counted"] == 2
    shutil.rmtree(tmp_path)
    assert one.snapshot().amount_total == 10, "the folder is made again"


def test_snapshot_has_the_slots_of_its_service_only(tmp_path):
    """Two services in one folder have separate slots and sums."""
    one, other = HitMetrics(tmp_path, service="one"), HitMetrics(tmp_path, service="other")
    record_answered(one, 1)
    record_answered(other, 2)
    assert (one.snapshot().amount_total, other.snapshot().amount_total) == (1, 2)
    assert HitMetrics(tmp_path, service="one").snapshot().amount_total == 1


def fail_with_full_disk(*_):
    """Raise the error of a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_does_not_fail_hits(tmp_path, monkeypatch, caplog):
    """On a full disk the numbers stay in memory, with one log line, and are written later."""
    first = HitMetrics(tmp_path)
    record_answered(first, 1)
    monkeypatch.setattr("flask_redis_counter.counting.metrics.SLOT_CHECK_INTERVAL", 0)
    with monkeypatch.context() as patch:
        patch.setattr("flask_redis_counter.counting.metrics_slots.os.pwrite", fail_with_full_disk)
        second = HitMetrics(tmp_path)
        for _ in range(3):
            record_answered(second, 2)
            assert second.snapshot().amount_total == first.snapshot().amount_total == 1, (
                "without the new hits"
            )
        assert len(slots(tmp_path)) == 1
        assert len(caplog.messages) == 1
        assert "COUNTER_METRICS_DIR cannot be used" in caplog.text
        assert "No space left" in caplog.text
    assert second.snapshot().amount_total == first.snapshot().amount_total == 7
    assert "can be used again" in caplog.text


def test_slot_is_reused_on_a_full_disk(tmp_path, monkeypatch):
    """The slot of a dead process can be reused on a full disk."""
    run_in_child(lambda: record_answered(HitMetrics(tmp_path), 1))
    monkeypatch.setattr("flask_redis_counter.counting.metrics_slots.os.pwrite", fail_with_full_disk)
    successor = HitMetrics(tmp_path)
    record_answered(successor, 1)
    assert successor.snapshot().amount_total == 2


def test_unusable_folder_is_logged(tmp_path, caplog):
    """The log names the setting, and the numbers stay in memory."""
    Path(tmp_path, "file").write_text("")
    metrics = HitMetrics(tmp_path / "file")
    record_answered(metrics, 1)
    assert metrics.snapshot().amount_total == 1
    assert "COUNTER_METRICS_DIR cannot be used" in caplog.text
