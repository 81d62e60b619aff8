"""The connection pool: waiting for connections, errors, and connections that are dropped."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    ReadOnlyError,
    ResponseError,
)

from flask_redis_counter import RedisCounter
from flask_redis_counter.counting.call import ScriptCall
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from flask_redis_counter.store.connections import pack_commands
from flask_redis_counter.store.pool import MAX_CONNECTORS, ConnectionPool
from flask_redis_counter.testing import wait_until

HANG = OSError("hangs until the end of the test")


class ScriptedConnection:
    """A connection whose attempts to connect end as a test decides."""

    attempts: int
    decisions: list[Exception | None]
    decided: threading.Condition

    def __init__(self, **kwargs):
        self.disconnected = False

    def connect(self):
        """Wait for the test's decision: an error to raise, or None."""
        kind = type(self)
        with kind.decided:
            number = kind.attempts
            kind.attempts += 1
            kind.decided.wait_for(lambda: len(kind.decisions) > number, timeout=10)
            decision = kind.decisions[number]
        if decision is HANG:
            with kind.decided:
                kind.decided.wait_for(lambda: len(kind.decisions) >= 50, timeout=10)
            raise OSError("gave up at last")
        if decision is not None:
            raise decision

    @classmethod
    def decide(cls, *decisions):
        """Decide the next attempts."""
        with cls.decided:
            cls.decisions.extend(decisions)
            cls.decided.notify_all()

    def can_read(self, timeout):
        """Have nothing to read."""
        return False

    def pack_commands(self, commands):
        """Pack nothing."""
        return commands

    def send_packed_command(self, packed):
        """Send nothing."""

    def read_response(self):
        """Reply with this connection."""
        return self

    def disconnect(self):
        """Record the call."""
        self.disconnected = True


@pytest.fixture
def connection():
    """A new class of scripted connections."""
    kind = type(
        "Connection",
        (ScriptedConnection,),
        {"attempts": 0, "decisions": [], "decided": threading.Condition()},
    )
    yield kind
    kind.decide(*[OSError("over")] * 50)


@pytest.fixture
def store(connection):
    """A pool of scripted connections."""
    pool = redis.ConnectionPool(connection_class=connection)
    return ConnectionPool(redis.Redis(connection_pool=pool), timeout=2)


def send_ping(store):
    """Send one command and return its reply: the connection."""
    (answer,) = store.execute([("PING",)])
    return answer


def test_pool_makes_one_attempt_at_a_time(store, connection):
    """One connection is made at a time for all waiting callers, and its failure is that of all."""
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(send_ping, store)]
        wait_until(lambda: connection.attempts == 1, what="the first attempt")
        calls += [pool.submit(send_ping, store) for _ in range(7)]
        wait_until(lambda: len(store._waiters) == 8, what="eight waiters")
        assert connection.attempts == 1
        connection.decide(OSError("no"), OSError("no"))
        for call in calls:
            with pytest.raises(StoreUnavailableError, match="no"):
                call.result(5)
    assert connection.attempts == 2


def test_later_caller_gets_another_attempt(store, connection):
    """A caller that comes during an attempt does not fail with it."""
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(send_ping, store)
        wait_until(lambda: connection.attempts == 1, what="the first attempt")
        late = pool.submit(send_ping, store)
        wait_until(lambda: len(store._waiters) == 2, what="two waiters")
        connection.decide(OSError("still away"), None)
        with pytest.raises(StoreUnavailableError):
            early.result(5)
        assert isinstance(late.result(5), connection)


def test_one_caller_at_a_time_waits_during_an_outage(store, connection):
    """The other callers fail immediately, and all get connections when the store is back."""
    connection.decide(OSError("away"))
    with pytest.raises(StoreUnavailableError, match="away"):
        send_ping(store)
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(send_ping, store)
        wait_until(lambda: len(store._waiters) == 1, what="one waiter")
        begun = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="still down"):
            send_ping(store)
        assert time.monotonic() - begun < 0.5
        connection.decide(None)
        assert isinstance(trying.result(5), connection)
    assert isinstance(send_ping(store), connection)


def test_hanging_attempt_does_not_block_others(store, connection):
    """Another attempt starts if one hangs: a resolver may take many seconds to give up."""
    connection.decide(HANG, None)
    with pytest.raises(StoreUnavailableError):
        send_ping(store)
    assert isinstance(send_ping(store), connection)
    assert connection.attempts == 2


def test_hanging_attempt_reports_the_last_error(store, connection):
    """The error names the cause of the last failed attempt, also for callers that do not wait."""
    connection.decide(OSError("certificate has expired"), HANG)
    with pytest.raises(StoreUnavailableError, match="expired"):
        send_ping(store)
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(send_ping, store)
        wait_until(lambda: len(store._waiters) == 1, what="one waiter")
        with pytest.raises(StoreUnavailableError, match=r"still down: .* expired"):
            send_ping(store)
        with pytest.raises(StoreUnavailableError, match="expired"):
            trying.result(5)
    connection.decide(None)
    assert isinstance(send_ping(store), connection)
    assert store._last_error is None


def test_hanging_attempts_are_limited(connection):
    """An outage starts at most MAX_CONNECTORS threads."""
    pool = redis.ConnectionPool(connection_class=connection)
    store = ConnectionPool(redis.Redis(connection_pool=pool), timeout=0.02)
    connection.decide(*[HANG] * 49)
    for _ in range(30):
        with pytest.raises(StoreUnavailableError):
            send_ping(store)
    assert connection.attempts == MAX_CONNECTORS


def test_released_connection_goes_to_the_longest_waiter(store, connection):
    """A thread that releases a connection does not get it again before the waiting ones."""
    connection.decide(None)
    first = store._acquire(time.monotonic() + 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(send_ping, store)
        wait_until(lambda: len(store._waiters) == 1, what="one waiter")
        store._release(first)
        assert waiting.result(5) is first
    assert list(store._idle) == [first]


def test_timeout_removes_the_waiter(store, connection):
    """A timeout leaves no waiter behind, and a late connection becomes idle."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="800 ms"):
        send_ping(store)
    assert 0.7 < time.monotonic() - begun < 1.3
    assert not store._waiters
    connection.decide(None)
    wait_until(lambda: store._idle, what="the late connection")
    assert isinstance(send_ping(store), connection)
    assert connection.attempts == 1


def test_closed_connection_is_replaced(store, connection):
    """An idle connection that the server closed is dropped, and a new one is made."""
    connection.decide(None, None)
    first = send_ping(store)
    first.can_read = lambda timeout: True
    second = send_ping(store)
    assert second is not first
    assert first.disconnected


@pytest.mark.parametrize("error", [ValueError("zz"), RecursionError(), OSError("reset")])
def test_unreadable_reply_is_an_unknown_outcome(store, connection, error):
    """Any exception after sending means unknown, and the connection is not used again."""
    connection.decide(None)
    one = store._acquire(time.monotonic() + 1)
    store._release(one)
    one.read_response = lambda: (_ for _ in ()).throw(error)
    with pytest.raises(OutcomeUnknownError):
        send_ping(store)
    assert one.disconnected


def test_reply_that_is_not_an_integer_is_an_unknown_outcome(connection):
    """A hit's outcome is unknown if the reply is not an integer."""
    connection.decide(None)
    pool = redis.ConnectionPool(connection_class=connection)
    with pytest.raises(OutcomeUnknownError, match="malformed reply"):
        RedisCounter(redis.Redis(connection_pool=pool)).hit("visits")


def test_pool_without_threads_raises_a_store_error(store, connection, monkeypatch):
    """StoreUnavailableError is raised if no thread can be started, and no waiter is left."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(StoreUnavailableError, match="new thread"):
            send_ping(store)
    assert not store._waiters
    connection.decide(None)
    assert isinstance(send_ping(store), connection)


def test_broken_connection_closes_the_idle_ones(store, connection):
    """An error on one connection closes the idle ones, which are probably broken, too."""
    connection.decide(None, None)
    one, two = store._acquire(time.monotonic() + 1), store._acquire(time.monotonic() + 1)
    store._release(one)
    store._release(two)

    def broken():
        raise OSError("reset")

    two.read_response = broken
    with pytest.raises(Exception, match="reset"):
        send_ping(store)
    assert one.disconnected
    assert two.disconnected
    assert not store._idle


@pytest.mark.parametrize(
    "error",
    [
        ReadOnlyError("You can't write against a read only replica."),
        BusyLoadingError("Redis is loading the dataset in memory"),
        MasterDownError("Link with MASTER is down"),
        AuthenticationError("Authentication required."),
        ResponseError("UNBLOCKED force unblock from blocking operation"),
    ],
)
def test_rejecting_server_is_connected_to_again(store, connection, error):
    """All connections are dropped, and the commands are sent once on a new one."""
    connection.decide(None, None, None)
    one, two = store._acquire(time.monotonic() + 1), store._acquire(time.monotonic() + 1)
    store._release(one)
    store._release(two)

    def refuse():
        raise error

    two.read_response = refuse
    third = send_ping(store)
    assert third not in (one, two)
    assert one.disconnected
    assert two.disconnected
    third.read_response = refuse
    connection.decide(None)
    assert isinstance(send_ping(store), connection)


def test_rejection_after_reconnecting_is_raised(store, connection):
    """The commands are sent twice; then the rejection is raised."""

    def refuse(_):
        raise BusyLoadingError("Redis is loading the dataset in memory")

    connection.read_response = refuse
    connection.decide(None, None)
    with pytest.raises(StoreRejectedError, match="loading"):
        send_ping(store)
    assert connection.attempts == 2


@pytest.mark.parametrize("url", ["redis://host/zero", "redis://", "http://host", "redis://host:0"])
def test_pool_rejects_an_invalid_url(url):
    """ConnectionPool raises ConfigurationError: redis-py would use another database or host."""
    with pytest.raises(ConfigurationError, match="its value"):
        ConnectionPool(url, timeout=0.5)


def test_pack_commands_packs_hits_as_redis_py_does():
    """The bytes are equal, also for several hits, and for all characters of idempotency keys."""
    connection = redis.connection.Connection()
    idempotency_key = ScriptCall.for_hit(PendingHit("counter:{a}", 3, ' "~%{}'), "w", 1, ' "~%{}')
    plain = ScriptCall.for_hit(
        PendingHit("counter:{b}", 2**63 - 1, None, visitor="x"), "w", 1, None
    )
    for commands in ([idempotency_key.command()], [plain.command(), idempotency_key.command()]):
        assert pack_commands(connection, commands) == [b"".join(connection.pack_commands(commands))]
    others = [plain.command(), ("WAIT", 1, 100)]
    assert pack_commands(connection, others) == connection.pack_commands(others)
