"""What became of hits, in numbers."""

import os
import signal
import threading
from pathlib import Path

import pytest

from flask_redis_counter.call import Call, PendingHit
from flask_redis_counter.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    SpooledError,
    StoreUnavailableError,
    TooOftenError,
)
from flask_redis_counter.meter import DURATIONS, OUTCOMES, SIZES, Meter

DEADLINE = 0.5


def call_of(*hits):
    """Return a call that was sent at 100, as the clock has it, for hits of some amounts."""
    pending = [PendingHit("counter:{a}", amount, None, 100 + DEADLINE) for amount in hits]
    call = Call.of(pending[0], "writer", 1, None)
    for hit in pending[1:]:
        call.join(hit)
    return call


def answered(meter, *amounts, took=0.0):
    """Let hits be answered together after so many seconds."""
    call = call_of(*amounts)
    call.settle(b"1000")
    meter.settled([call], 100 + took + DEADLINE)


def failed(meter, error, took=0.0):
    """Let a hit fail after so many seconds."""
    hit = PendingHit("counter:{a}", 1, None, 100 + DEADLINE)
    hit.error = error
    meter.failed(hit, 100 + took + DEADLINE)


def outcomes(meter):
    """Return the outcomes that there were."""
    return {name: count for name, count in meter.reading().outcomes.items() if count}


def test_nothing_became_of_no_hits():
    """All numbers are there, and 0."""
    reading = Meter().reading()
    assert list(reading.outcomes) == list(OUTCOMES)
    assert not any(reading.outcomes.values())
    assert reading.durations == (0,) * (len(DURATIONS) + 1)
    assert reading.sizes == (0,) * (len(SIZES) + 1)
    assert (reading.added, reading.seconds, reading.round_trips, reading.failed) == (0, 0, 0, 0)


def test_hits_that_were_answered_together():
    """They are one round trip; each has its amount and its time."""
    meter = Meter()
    answered(meter, 1, 5, 7, took=0.004)
    answered(meter, 2, took=0.002)
    reading = meter.reading()
    assert outcomes(meter) == {"counted": 4}
    assert reading.added == 15
    assert reading.seconds == pytest.approx(3 * 0.004 + 0.002, abs=1e-5)
    assert reading.durations == (0, 1, 3, *[0] * 8)
    assert (reading.round_trips, reading.carried) == (2, 4)
    assert reading.sizes == (1, 0, 1, *[0] * 8)


@pytest.mark.parametrize("took", [*DURATIONS, 1.5])
def test_a_bound_belongs_to_what_is_below_it(took):
    """As Prometheus has it: less than or equal."""
    meter = Meter()
    failed(meter, OutcomeUnknownError(""), took=took - 1e-9)
    assert meter.reading().durations.index(1) == (*DURATIONS, 1.5).index(took)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StoreUnavailableError(""), "not_counted"),
        (TooOftenError(1), "not_counted"),
        (OutcomeUnknownError(""), "unknown"),
        (SpooledError(""), "spooled"),
    ],
)
def test_hits_that_failed(error, outcome):
    """By what the error says of them; their time counts as well."""
    meter = Meter()
    failed(meter, error)
    assert outcomes(meter) == {outcome: 1}
    assert meter.reading().added == 0
    assert sum(meter.reading().durations) == 1


def test_a_hit_in_an_answered_batch_that_was_given_up_is_left_to_who_gave_it_up():
    """It was on its way, but is not counted twice."""
    meter = Meter()
    call = call_of(1, 1)
    call.hits[0].error = OutcomeUnknownError("in time")
    call.settle(b"2")
    meter.settled([call], 100 + DEADLINE)
    assert outcomes(meter) == {"counted": 1}
    assert meter.reading().carried == 2


def test_hits_that_need_not_have_counted():
    """Only what counted was added."""
    meter = Meter()
    call = call_of(1, 1, 1)
    call.settle(b"3")
    call.hits[0].replayed = True
    call.hits[1].counted = False
    meter.settled([call], 100 + DEADLINE)
    assert outcomes(meter) == {"replayed": 1, "left_out": 1, "counted": 1}
    assert meter.reading().added == 1


def test_round_trips_in_vain_and_hits_from_a_spool():
    """They are told apart from what counted at once."""
    meter = Meter()
    meter.failed_round_trip()
    meter.settled([], 100)
    meter.replayed(3, 2**63)
    reading = meter.reading()
    assert (reading.failed, reading.round_trips) == (2, 0)
    assert (reading.replayed, reading.added_later) == (3, 2**63)


def test_a_sum_begins_anew_beyond_64_bits(tmp_path):
    """A metric may begin anew; it must not break a hit."""
    for meter in (Meter(), Meter(tmp_path)):
        for _ in range(3):
            answered(meter, 2**63 - 1)
        assert meter.reading().added == 3 * (2**63 - 1) - 2**64


def test_threads_lose_no_number():
    """Each number is read and written by one thread at a time."""
    meter = Meter()

    def count():
        for _ in range(2000):
            answered(meter, 1)
            meter.failed_round_trip()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading = meter.reading()
    assert (reading.outcomes["counted"], reading.failed) == (8000, 8000)


def test_processes_that_share_a_folder_are_added_up_also_when_they_were_killed(tmp_path):
    """What a process counted is there at once, and stays."""
    meter = Meter(tmp_path)
    answered(meter, 1)
    for _ in range(2):
        child = os.fork()
        if child == 0:
            answered(Meter(tmp_path), 1, 1)
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    reading = meter.reading()
    assert reading.outcomes["counted"] == 5
    assert reading.round_trips == 3
    assert Meter(tmp_path).reading() == reading


def test_a_forked_child_has_a_meter_of_its_own(tmp_path):
    """Two processes that write one number lose some."""
    shared, alone = Meter(tmp_path), Meter()
    for meter in (shared, alone):
        answered(meter, 1)
    child = os.fork()
    if child == 0:
        answered(shared, 1)
        answered(alone, 1)
        os._exit(0 if alone.reading().added == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert shared.reading().added == 2
    assert alone.reading().added == 1
    assert len(list(tmp_path.glob("*.meter"))) == 2


def test_a_file_of_another_shape_is_left_out(tmp_path):
    """Another version has left it."""
    meter = Meter(tmp_path)
    answered(meter, 1)
    Path(tmp_path, "1-old.meter").write_bytes(bytes(8))
    assert meter.reading().added == 1


def test_a_folder_that_was_emptied(tmp_path):
    """What is known is told."""
    meter = Meter(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    answered(meter, 1)
    assert meter.reading().added == 1


def test_a_folder_that_cannot_be_used(tmp_path):
    """The error names the setting."""
    Path(tmp_path, "file").write_text("")
    with pytest.raises(ConfigurationError, match="COUNTER_METRICS_DIR"):
        Meter(tmp_path / "file")
