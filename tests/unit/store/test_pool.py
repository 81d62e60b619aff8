"""Who gets a connection, and who is told that there is none."""

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
    """A connection whose attempts to connect a test decides upon."""

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
        """Let the next attempts end."""
        with cls.decided:
            cls.decisions.extend(decisions)
            cls.decided.notify_all()

    def can_read(self, timeout):
        """Be fresh."""
        return False

    def pack_commands(self, commands):
        """Pack nothing."""
        return commands

    def send_packed_command(self, packed):
        """Send nothing."""

    def read_response(self):
        """Answer who answers."""
        return self

    def disconnect(self):
        """Remember it."""
        self.disconnected = True


@pytest.fixture
def connection():
    """A class of connections of this test's own."""
    kind = type(
        "Connection",
        (ScriptedConnection,),
        {"attempts": 0, "decisions": [], "decided": threading.Condition()},
    )
    yield kind
    kind.decide(*[OSError("over")] * 50)


@pytest.fixture
def store(connection):
    """A store that uses them."""
    pool = redis.ConnectionPool(connection_class=connection)
    return ConnectionPool(redis.Redis(connection_pool=pool), timeout=2)


def ask(store):
    """Send one command and return its answer."""
    (answer,) = store.execute([("PING",)])
    return answer


def test_one_attempt_at_a_time(store, connection):
    """However many wait, one connection is made at a time, and one failure answers them all."""
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(ask, store)]
        wait_until(lambda: connection.attempts == 1, what="the first attempt")
        calls += [pool.submit(ask, store) for _ in range(7)]
        wait_until(lambda: len(store._waiters) == 8, what="eight in line")
        assert connection.attempts == 1
        connection.decide(OSError("no"), OSError("no"))
        for call in calls:
            with pytest.raises(StoreUnavailableError, match="no"):
                call.result(5)
    assert connection.attempts == 2


def test_who_comes_later_gets_an_attempt_of_its_own(store, connection):
    """A failure that began before a caller came says nothing about now."""
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(ask, store)
        wait_until(lambda: connection.attempts == 1, what="the first attempt")
        late = pool.submit(ask, store)
        wait_until(lambda: len(store._waiters) == 2, what="two in line")
        connection.decide(OSError("still away"), None)
        with pytest.raises(StoreUnavailableError):
            early.result(5)
        assert isinstance(late.result(5), connection)


def test_in_an_outage_one_at_a_time_waits(store, connection):
    """The others are answered at once, and all are served when the store is back."""
    connection.decide(OSError("away"))
    with pytest.raises(StoreUnavailableError, match="away"):
        ask(store)
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(ask, store)
        wait_until(lambda: len(store._waiters) == 1, what="one in line")
        begun = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="still down"):
            ask(store)
        assert time.monotonic() - begun < 0.5
        connection.decide(None)
        assert isinstance(trying.result(5), connection)
    assert isinstance(ask(store), connection)


def test_an_attempt_that_hangs_does_not_keep_others_from_trying(store, connection):
    """A resolver may take many seconds to give up; the store may be back long before."""
    connection.decide(HANG, None)
    with pytest.raises(StoreUnavailableError):
        ask(store)
    assert isinstance(ask(store), connection)
    assert connection.attempts == 2


def test_an_attempt_that_hangs_tells_why_the_last_one_failed(store, connection):
    """It says more than that nothing answers; and so does who need not wait."""
    connection.decide(OSError("certificate has expired"), HANG)
    with pytest.raises(StoreUnavailableError, match="expired"):
        ask(store)
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(ask, store)
        wait_until(lambda: len(store._waiters) == 1, what="one in line")
        with pytest.raises(StoreUnavailableError, match=r"still down: .* expired"):
            ask(store)
        with pytest.raises(StoreUnavailableError, match="expired"):
            trying.result(5)
    connection.decide(None)
    assert isinstance(ask(store), connection)
    assert store._last_error is None


def test_attempts_that_hang_are_bounded(connection):
    """An outage does not pile up threads."""
    pool = redis.ConnectionPool(connection_class=connection)
    store = ConnectionPool(redis.Redis(connection_pool=pool), timeout=0.02)
    connection.decide(*[HANG] * 49)
    for _ in range(30):
        with pytest.raises(StoreUnavailableError):
            ask(store)
    assert connection.attempts == MAX_CONNECTORS


def test_a_connection_that_comes_back_goes_to_who_waits_longest(store, connection):
    """A thread that has just finished does not take it again past the others."""
    connection.decide(None)
    first = store._acquire(time.monotonic() + 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, store)
        wait_until(lambda: len(store._waiters) == 1, what="one in line")
        store._release(first)
        assert waiting.result(5) is first
    assert list(store._idle) == [first]


def test_who_gives_up_leaves_the_line(store, connection):
    """A deadline that passes leaves nobody in line, and a late connection is kept for others."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="800 ms"):
        ask(store)
    assert 0.7 < time.monotonic() - begun < 1.3
    assert not store._waiters
    connection.decide(None)
    wait_until(lambda: store._idle, what="the late connection")
    assert isinstance(ask(store), connection)
    assert connection.attempts == 1


def test_a_connection_that_is_not_fresh_is_not_used(store, connection):
    """What the server closed meanwhile is dropped, and a new connection is made."""
    connection.decide(None, None)
    first = ask(store)
    first.can_read = lambda timeout: True
    second = ask(store)
    assert second is not first
    assert first.disconnected


@pytest.mark.parametrize("error", [ValueError("zz"), RecursionError(), OSError("reset")])
def test_an_answer_that_cannot_be_read_is_none(store, connection, error):
    """Whatever it raises, it was sent: unknown, and the connection is not used again."""
    connection.decide(None)
    one = store._acquire(time.monotonic() + 1)
    store._release(one)
    one.read_response = lambda: (_ for _ in ()).throw(error)
    with pytest.raises(OutcomeUnknownError):
        ask(store)
    assert one.disconnected


def test_an_answer_that_is_no_integer_is_no_success(connection):
    """A hit's value is an integer, or the outcome is unknown."""
    connection.decide(None)
    pool = redis.ConnectionPool(connection_class=connection)
    with pytest.raises(OutcomeUnknownError, match="no integer"):
        RedisCounter(redis.Redis(connection_pool=pool)).hit("visits")


def test_no_thread_to_spare(store, connection, monkeypatch):
    """A store error like any other, that leaves nobody in line."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(StoreUnavailableError, match="new thread"):
            ask(store)
    assert not store._waiters
    connection.decide(None)
    assert isinstance(ask(store), connection)


def test_an_error_closes_the_idle_connections(store, connection):
    """What broke one connection has probably broken all."""
    connection.decide(None, None)
    one, two = store._acquire(time.monotonic() + 1), store._acquire(time.monotonic() + 1)
    store._release(one)
    store._release(two)

    def broken():
        raise OSError("reset")

    two.read_response = broken
    with pytest.raises(Exception, match="reset"):
        ask(store)
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
def test_a_connection_whose_server_serves_nothing_any_more(store, connection, error):
    """It and the idle ones are dropped, and the commands go out on a new one, once."""
    connection.decide(None, None, None)
    one, two = store._acquire(time.monotonic() + 1), store._acquire(time.monotonic() + 1)
    store._release(one)
    store._release(two)

    def refuse():
        raise error

    two.read_response = refuse
    third = ask(store)
    assert third not in (one, two)
    assert one.disconnected
    assert two.disconnected
    third.read_response = refuse
    connection.decide(None)
    assert isinstance(ask(store), connection)


def test_a_server_that_goes_on_serving_nothing(store, connection):
    """It is asked once more, and then its answer is the error."""

    def refuse(_):
        raise BusyLoadingError("Redis is loading the dataset in memory")

    connection.read_response = refuse
    connection.decide(None, None)
    with pytest.raises(StoreRejectedError, match="loading"):
        ask(store)
    assert connection.attempts == 2


@pytest.mark.parametrize("url", ["redis://host/zero", "redis://", "http://host", "redis://host:0"])
def test_a_url_that_names_no_store(url):
    """Also without Flask: redis-py would count in another database, or on another host."""
    with pytest.raises(ConfigurationError, match="its value"):
        ConnectionPool(url, timeout=0.5)


def test_a_hit_goes_out_as_redis_py_would_pack_it():
    """To the byte, also with several at once and with what a token may hold."""
    connection = redis.connection.Connection()
    idempotency_key = ScriptCall.for_hit(PendingHit("counter:{a}", 3, ' "~%{}'), "w", 1, ' "~%{}')
    plain = ScriptCall.for_hit(
        PendingHit("counter:{b}", 2**63 - 1, None, visitor="x"), "w", 1, None
    )
    for commands in ([idempotency_key.command()], [plain.command(), idempotency_key.command()]):
        assert pack_commands(connection, commands) == [b"".join(connection.pack_commands(commands))]
    others = [plain.command(), ("WAIT", 1, 100)]
    assert pack_commands(connection, others) == connection.pack_commands(others)
