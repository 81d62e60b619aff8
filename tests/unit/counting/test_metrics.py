"""What became of hits, in numbers."""

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

#: When the hits of these tests started, by the monotonic clock.
STARTED_AT = 100.0


def hit_of(amount=1):
    """Return a hit that started at :data:`STARTED_AT`."""
    hit = PendingHit("counter:{a}", amount, None)
    hit.started_at = STARTED_AT
    return hit


def call_of(*amounts):
    """Return a call for hits of some amounts."""
    pending = [hit_of(amount) for amount in amounts]
    call = ScriptCall.for_hit(pending[0], "writer", 1, None)
    for hit in pending[1:]:
        call.add(hit)
    return call


def answered(metrics, *amounts, took=0.0):
    """Let hits be answered together after so many seconds."""
    call = call_of(*amounts)
    call.resolve(b"1000")
    metrics.record_batch([call], STARTED_AT + took)


def failed(metrics, error, took=0.0):
    """Let a hit fail after so many seconds."""
    hit = hit_of()
    hit.error = error
    metrics.record_failure(hit, STARTED_AT + took)


def outcomes(metrics):
    """Return the outcomes that there were."""
    return {name: count for name, count in metrics.snapshot().outcomes.items() if count}


def test_nothing_became_of_no_hits():
    """All numbers are there, and 0."""
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


def test_hits_that_were_answered_together():
    """They are one round trip; each has its amount and its time."""
    metrics = HitMetrics()
    answered(metrics, 1, 5, 7, took=0.004)
    answered(metrics, 2, took=0.002)
    snapshot = metrics.snapshot()
    assert outcomes(metrics) == {"counted": 4}
    assert snapshot.amount_total == 15
    assert snapshot.duration_total == pytest.approx(3 * 0.004 + 0.002, abs=1e-5)
    assert snapshot.durations == (0, 1, 3, *[0] * 8)
    assert (snapshot.round_trips, snapshot.batched_hits) == (2, 4)
    assert snapshot.batch_sizes == (1, 0, 1, *[0] * 8)


@pytest.mark.parametrize("took", [*DURATIONS, 1.5])
def test_a_bound_belongs_to_what_is_below_it(took):
    """As Prometheus has it: less than or equal."""
    metrics = HitMetrics()
    failed(metrics, OutcomeUnknownError(""), took=took - 1e-9)
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
def test_hits_that_failed(error, outcome):
    """By what the error says of them; their time counts as well."""
    metrics = HitMetrics()
    failed(metrics, error)
    assert outcomes(metrics) == {outcome: 1}
    assert metrics.snapshot().amount_total == 0
    assert sum(metrics.snapshot().durations) == 1


def test_a_hit_in_an_answered_batch_that_was_given_up_is_left_to_who_gave_it_up():
    """It was on its way, but is not counted twice."""
    metrics = HitMetrics()
    call = call_of(1, 1)
    call.hits[0].error = OutcomeUnknownError("in time")
    call.resolve(b"2")
    metrics.record_batch([call], STARTED_AT)
    assert outcomes(metrics) == {"counted": 1}
    assert metrics.snapshot().batched_hits == 2


def test_hits_that_need_not_have_counted():
    """Only what counted was added."""
    metrics = HitMetrics()
    call = call_of(1, 1, 1)
    call.resolve(b"3")
    call.hits[0].replayed = True
    call.hits[1].counted = False
    metrics.record_batch([call], STARTED_AT)
    assert outcomes(metrics) == {"replayed": 1, "skipped": 1, "counted": 1}
    assert metrics.snapshot().amount_total == 1


def test_round_trips_in_vain_and_hits_from_a_spool():
    """They are told apart from what counted at once."""
    metrics = HitMetrics()
    metrics.record_failed_round_trip()
    metrics.record_batch([], STARTED_AT)
    metrics.record_replay(3, 2**63)
    snapshot = metrics.snapshot()
    assert (snapshot.failed_round_trips, snapshot.round_trips) == (2, 0)
    assert (snapshot.replayed_hits, snapshot.replayed_amount) == (3, 2**63)


def test_a_sum_begins_anew_beyond_64_bits(tmp_path):
    """A metric may begin anew; it must not break a hit."""
    for metrics in (HitMetrics(), HitMetrics(tmp_path)):
        for _ in range(3):
            answered(metrics, 2**63 - 1)
        assert metrics.snapshot().amount_total == 3 * (2**63 - 1) - 2**64


def test_threads_lose_no_number():
    """Each number is read and written by one thread at a time."""
    metrics = HitMetrics()

    def count():
        for _ in range(2000):
            answered(metrics, 1)
            metrics.record_failed_round_trip()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = metrics.snapshot()
    assert (snapshot.outcomes["counted"], snapshot.failed_round_trips) == (8000, 8000)


def test_processes_that_share_a_folder_are_added_up_also_when_they_were_killed(tmp_path):
    """What a process counted is there at once, and stays."""
    metrics = HitMetrics(tmp_path)
    answered(metrics, 1)
    for _ in range(2):
        child = os.fork()
        if child == 0:
            answered(HitMetrics(tmp_path), 1, 1)
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    snapshot = metrics.snapshot()
    assert snapshot.outcomes["counted"] == 5
    assert snapshot.round_trips == 3
    assert HitMetrics(tmp_path).snapshot() == snapshot


def test_a_forked_child_has_a_meter_of_its_own(tmp_path):
    """Two processes that write one number lose some."""
    shared, alone = HitMetrics(tmp_path), HitMetrics()
    for metrics in (shared, alone):
        answered(metrics, 1)
    child = os.fork()
    if child == 0:
        answered(shared, 1)
        answered(alone, 1)
        os._exit(0 if alone.snapshot().amount_total == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert shared.snapshot().amount_total == 2
    assert alone.snapshot().amount_total == 1
    assert len(list(tmp_path.glob("*.meter"))) == 2


def slots(folder):
    """Return the slot files in a folder."""
    return sorted(folder.glob("*.meter"))


def in_a_child(action):
    """Run something in a forked child, which is then killed."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_successor_takes_over_the_slot_of_a_dead_process(tmp_path):
    """A hundred recycled workers leave as many files as ran at once, and the sum has them all."""
    metrics = HitMetrics(tmp_path)
    answered(metrics, 1)
    for done in range(1, 101):
        in_a_child(lambda: answered(metrics, 1))
        assert metrics.snapshot().amount_total == 1 + done
    assert len(slots(tmp_path)) == 2


def test_a_slot_is_one_live_process_alone(tmp_path):
    """Two instances never share one, also two of one process."""
    instances = [HitMetrics(tmp_path) for _ in range(5)]
    for metrics in instances:
        answered(metrics, 1)
    assert len(slots(tmp_path)) == 5
    assert {metrics.snapshot().amount_total for metrics in instances} == {5}


def test_a_file_that_was_never_finished_is_left_out_and_taken_over(tmp_path):
    """A process that died while it made it, or another version, has left it."""
    metrics = HitMetrics(tmp_path)
    answered(metrics, 1)
    (path,) = slots(tmp_path)
    prefix = path.name.partition("-")[0]
    Path(tmp_path, f"{prefix}-0.meter").write_bytes(bytes(8))
    assert metrics.snapshot().amount_total == 1
    successor = HitMetrics(tmp_path)
    answered(successor, 1)
    assert metrics.snapshot().amount_total == 2
    assert len(slots(tmp_path)) == 2


def test_a_folder_that_was_emptied_is_noticed(tmp_path, monkeypatch):
    """Each process puts its numbers back, so that the sum is whole again, whoever is asked."""
    monkeypatch.setattr("flask_redis_counter.counting.metrics.SLOT_CHECK_INTERVAL", 0)
    one, other = HitMetrics(tmp_path), HitMetrics(tmp_path)
    for metrics in (one, other):
        answered(metrics, 10)
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


def test_two_services_in_one_folder_are_not_added_up(tmp_path):
    """Each has slots of its own."""
    one, other = HitMetrics(tmp_path, service="one"), HitMetrics(tmp_path, service="other")
    answered(one, 1)
    answered(other, 2)
    assert (one.snapshot().amount_total, other.snapshot().amount_total) == (1, 2)
    assert HitMetrics(tmp_path, service="one").snapshot().amount_total == 1


def refuse(*_):
    """Be a disk that is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_stops_no_hit(tmp_path, monkeypatch, caplog):
    """The numbers are in memory, one line in the log says so, and later they join the others."""
    first = HitMetrics(tmp_path)
    answered(first, 1)
    monkeypatch.setattr("flask_redis_counter.counting.metrics.SLOT_CHECK_INTERVAL", 0)
    with monkeypatch.context() as patch:
        patch.setattr("flask_redis_counter.counting.metrics_slots.os.pwrite", refuse)
        second = HitMetrics(tmp_path)
        for _ in range(3):
            answered(second, 2)
            assert second.snapshot().amount_total == first.snapshot().amount_total == 1, (
                "as the others tell it"
            )
        assert len(slots(tmp_path)) == 1
        assert len(caplog.messages) == 1
        assert "COUNTER_METRICS_DIR cannot be used" in caplog.text
        assert "No space left" in caplog.text
    assert second.snapshot().amount_total == first.snapshot().amount_total == 7
    assert "can be used again" in caplog.text


def test_a_successor_needs_no_room(tmp_path, monkeypatch):
    """It takes over a slot also on a full disk."""
    in_a_child(lambda: answered(HitMetrics(tmp_path), 1))
    monkeypatch.setattr("flask_redis_counter.counting.metrics_slots.os.pwrite", refuse)
    successor = HitMetrics(tmp_path)
    answered(successor, 1)
    assert successor.snapshot().amount_total == 2


def test_a_folder_that_cannot_be_used(tmp_path, caplog):
    """The log names the setting, and the numbers are in memory."""
    Path(tmp_path, "file").write_text("")
    metrics = HitMetrics(tmp_path / "file")
    answered(metrics, 1)
    assert metrics.snapshot().amount_total == 1
    assert "COUNTER_METRICS_DIR cannot be used" in caplog.text
