"""confirm: operations that wait until the replicas have what they wrote."""

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from flask_redis_counter import log_throttle
from flask_redis_counter.errors import (
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from flask_redis_counter.store.confirmation import Confirmation, confirm
from flask_redis_counter.store.operation import gather, run
from flask_redis_counter.store.replies import make_rejection

NO_RIGHT = make_rejection(NoPermissionError("this user has no permissions to run the command"))


def write(steps=1):
    """An operation that writes; returns the replies."""
    replies = []
    for step in range(steps):
        replies += yield [("SET", "key", step)]
    return replies


class FakeStore:
    """Replies to an operation.

    :param replicas: the states of the replicas.
    :param confirmed: replies to WAIT and WAITAOF, the last for all further ones.
    """

    def __init__(self, *replicas, confirmed=()):
        states = (
            f"slave{number}:ip=h,port={number},state={state},offset=1,lag=0\r\n"
            for number, state in enumerate(replicas)
        )
        self.info = "".join(states).encode()
        self.confirmed = list(confirmed)
        self.waits = []

    def send(self, commands):
        """Return the replies to commands."""
        return [self._reply(command) for command in commands]

    def _reply(self, command):
        if command[0] == "INFO":
            return self.info
        if command[0] in ("WAIT", "WAITAOF"):
            self.waits.append(command)
            return self.confirmed.pop(0) if len(self.confirmed) > 1 else self.confirmed[0]
        return b"OK"


@pytest.mark.parametrize(
    ("attempt_timeout", "milliseconds"), [(0.004, 2), (0.001, 1), (0.2, 80), (0.5, 380), (2, 1600)]
)
def test_wait_leaves_time_for_the_reply(attempt_timeout, milliseconds):
    """A server may notice a tenth of a second late that a wait has timed out; 0 is for ever."""
    for durability in ("replica", "fsync"):
        ((*_, waited),) = Confirmation(durability, attempt_timeout).commands
        assert waited == milliseconds


@pytest.mark.parametrize(
    ("durability", "replicas", "waits"),
    [
        ("memory", [], []),
        ("memory", ["online", "online"], [("WAIT", 2, 80)]),
        # A replica that gets its first copy cannot be promoted.
        ("memory", ["online", "wait_bgsave"], [("WAIT", 1, 80)]),
        ("replica:2", ["online"], [("WAIT", 2, 80)]),
        ("replica", ["online", "online", "online"], [("WAIT", 3, 80)]),
        ("fsync", ["online"], [("WAITAOF", 1, 0, 80), ("WAIT", 1, 80)]),
    ],
)
def test_confirm_waits_for_all_replicas(durability, replicas, waits):
    """An operation waits for each connected replica, for those of the durability, and its disk."""
    store = FakeStore(*replicas, confirmed=[[1, 0], 3] if durability == "fsync" else [3])
    assert run(confirm(write(), durability, 0.2), store.send) == [b"OK"]
    assert store.waits == waits


@pytest.mark.parametrize(
    ("durability", "replicas", "confirmed", "message"),
    [
        ("memory", 1, [0], "not on a replica within 80 ms"),
        ("memory", 2, [1], "not on 2 replicas, only on 1, within 80 ms"),
        ("replica:2", 0, [0], "not on 2 replicas, only on 0, within 80 ms"),
        ("fsync", 1, [[0, 0], 1], "not on the disk within 80 ms"),
        # The right to WAIT is missing: the durability cannot be kept.
        ("replica", 1, [NO_RIGHT], "not on a replica within 80 ms"),
        ("fsync", 0, [NO_RIGHT], "not on the disk within 80 ms"),
        ("fsync", 1, [[0, 0], NO_RIGHT], "not on the disk within 80 ms"),
    ],
)
def test_confirm_reports_what_is_not_confirmed(durability, replicas, confirmed, message):
    """An operation that is not confirmed in time has the outcome "unknown"."""
    store = FakeStore(*["online"] * replicas, confirmed=confirmed)
    with pytest.raises(OutcomeUnknownError, match=f"^done, but {message}: a failover may undo it"):
        run(confirm(write(), durability, 0.2), store.send)


def test_confirm_checks_each_step():
    """One step that is not confirmed is reported, also if the last one is."""
    store = FakeStore("online", confirmed=[0, 1])
    with pytest.raises(OutcomeUnknownError):
        run(confirm(write(steps=2), "memory", 0.2), store.send)
    assert len(store.waits) == 2
    store = FakeStore("online", confirmed=[1])
    both = confirm(gather(write(steps=2), write()), "memory", 0.2)
    assert run(both, store.send) == [[b"OK", b"OK"], [b"OK"]]
    assert len(store.waits) == 2


def test_confirm_without_the_right_to_wait_warns_once(caplog):
    """A user who may not run WAIT can change counters, and the log says that nothing waits."""
    log_throttle._warned.clear()
    for _ in range(2):
        store = FakeStore("online", confirmed=[NO_RIGHT])
        assert run(confirm(write(), "memory", 0.2), store.send) == [b"OK"]
    (line,) = caplog.messages
    assert "do not wait for replicas" in line


def test_confirm_without_the_right_to_ask_does_not_wait(caplog):
    """A user who may not run INFO can change counters, and the log says that nothing waits."""
    log_throttle._warned.clear()
    store = FakeStore()
    store.info = NO_RIGHT
    assert run(confirm(write(), "memory", 0.2), store.send) == [b"OK"]
    assert "do not wait for replicas" in caplog.text


def test_confirm_executes_nothing_if_the_replicas_are_not_known():
    """Another error reply to INFO is raised before the operation begins."""
    store = FakeStore()
    store.info = make_rejection(ResponseError("BUSY Redis is busy running a script"))
    with pytest.raises(StoreRejectedError, match="BUSY"):
        run(confirm(_never_begins(), "memory", 0.2), store.send)


def _never_begins():
    pytest.fail("not reached")
    yield []


def test_confirm_has_changed_nothing_if_its_question_is_lost():
    """No outcome is unknown before the operation has begun."""

    def lose(_):
        raise OutcomeUnknownError("no reply")

    with pytest.raises(StoreUnavailableError, match="no reply"):
        run(confirm(write(), "memory", 0.2), lose)
