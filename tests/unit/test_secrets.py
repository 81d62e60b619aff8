"""What no error, no message and no log says: a password, wherever it was put."""

import logging
import traceback

import pytest
import redis
import redis.asyncio
from redis.exceptions import AuthenticationError, ResponseError

from flask_redis_counter import AsyncRedisCounter, RedisCounter, Spool
from flask_redis_counter.config.config import Config
from flask_redis_counter.doctor.checks import run_checks
from flask_redis_counter.errors import CounterError, InvalidAmountError, printable
from flask_redis_counter.store.replies import make_rejection
from flask_redis_counter.transfer.transfer import Transfer

SECRET = "s3cret"
URL = f"redis://:{SECRET}@h/0"
TARGETS = {
    "pool": lambda: redis.ConnectionPool.from_url(URL),
    "asynchronous pool": lambda: redis.asyncio.ConnectionPool.from_url(URL),
    "connection": lambda: redis.Connection(password=SECRET),
    "other kind": lambda: redis.asyncio.Redis.from_url(URL),
    "bytes": URL.encode,
    "dict": lambda: {"host": "h", "password": SECRET},
    "list": lambda: [URL],
    "scheme": lambda: f"http://:{SECRET}@h/0",
    "no scheme": lambda: f":{SECRET}@h/0",
    "no URL": lambda: f"redis://:[{SECRET}@h/0",
    "port": lambda: f"redis://:{SECRET}@h:port/0",
    "no port": lambda: f"redis://:pa#{SECRET}@h/0",
    "slash": lambda: f"redis://:pa/{SECRET}@h/0",
    "database": lambda: f"redis://:{SECRET}@h/zero",
    "option": lambda: f"redis://:{SECRET}@h/0?socket_timeout={SECRET}",
    "unknown option": lambda: f"redis://:{SECRET}@h/0?nothing={SECRET}",
    "flag": lambda: f"rediss://:{SECRET}@h/0?ssl_cert_reqs={SECRET}",
}


def told_of(error):
    """Return all that anybody may print of an error."""
    chain = "".join(traceback.format_exception(error))
    parts = [str(error), repr(error), chain]
    while error is not None:
        parts += [str(error), repr(error.args)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(parts)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("make", [RedisCounter, AsyncRedisCounter, Transfer])
def test_a_target_that_is_refused(make, kind, caplog):
    """Of a client, of bytes and of what else is no URL the type is named, and the remedy."""
    caplog.set_level(logging.DEBUG)
    target = TARGETS[kind]()
    if make is AsyncRedisCounter and kind == "other kind":
        target = redis.Redis.from_url(URL)
    with pytest.raises(CounterError) as caught:
        make(target)
    assert SECRET not in told_of(caught.value)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [("pool", "connection_pool=pool"), ("other kind", "AsyncRedisCounter"), ("bytes", "decode")],
)
def test_what_to_do_about_it(kind, remedy):
    """Each of the usual mistakes has its sentence."""
    with pytest.raises(CounterError, match=remedy):
        RedisCounter(TARGETS[kind]())


def test_a_client_of_valkey():
    """It is told to give its URL."""
    valkey = pytest.importorskip("valkey")
    with pytest.raises(CounterError, match=r"valkey\.client\.Valkey .* give its URL") as caught:
        RedisCounter(valkey.Valkey.from_url(f"valkey://:{SECRET}@h/0"))
    assert SECRET not in told_of(caught.value)


@pytest.mark.parametrize(
    "value", [URL, URL.encode(), {"password": SECRET}, redis.Redis.from_url(URL)]
)
def test_an_argument_that_is_refused(value, tmp_path):
    """Wherever a URL or a client was put by mistake."""
    counter = RedisCounter("redis://h/0")
    calls = [
        lambda: counter.hit(value),
        lambda: counter.hit("visits", value),
        lambda: counter.hit("visits", idempotency_key=value if value != URL else f"\n{URL}"),
        lambda: counter.value(value),
        lambda: counter.series("visits", unit=value),
        lambda: counter.series("visits", days=value),
        lambda: RedisCounter("redis://h/0", prefix=value),
        lambda: RedisCounter("redis://h/0", timeout=value),
        lambda: RedisCounter("redis://h/0", durability=value),
        lambda: Spool(tmp_path, megabytes=value),
    ]
    for call in calls:
        with pytest.raises(CounterError) as caught:
            call()
        assert SECRET not in told_of(caught.value)


SETTINGS = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD_FILE",
            "COUNTER_NAME", "COUNTER_PREFIX", "COUNTER_TIMEOUT", "COUNTER_DURABILITY",
            "COUNTER_ADMIN_KEY", "COUNTER_ADMIN_KEY_FILE", "COUNTER_METRICS_TOKEN",
            "COUNTER_METRICS_TOKEN_FILE", "COUNTER_TRUSTED_PROXIES", "COUNTER_TRUSTED_HOSTS",
            "COUNTER_CORS_ORIGINS", "COUNTER_RATE_LIMIT", "COUNTER_METRICS",
            "COUNTER_SPOOL_MAX_MB")  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_refused(name):
    """A secret in the wrong variable, or in place of its file, is not shown."""
    value = f"{SECRET} " if name.endswith(("KEY", "TOKEN")) else f"http://:{SECRET}@h/0"
    with pytest.raises(CounterError) as caught:
        Config.load({name: value})
    assert name in str(caught.value)
    assert SECRET not in told_of(caught.value)
    [finding] = [one for one in run_checks({name: value}) if one.status == "failure"]
    assert SECRET not in repr(finding)


@pytest.mark.parametrize(
    "name", ["REDIS_PASSWORD_FILE", "COUNTER_ADMIN_KEY_FILE", "COUNTER_METRICS_TOKEN_FILE"]
)
def test_a_secret_in_place_of_its_file(name):
    """It is not repeated."""
    with pytest.raises(CounterError, match="cannot be read: No such file") as caught:
        Config.load({name: SECRET})
    assert SECRET not in told_of(caught.value)


@pytest.mark.parametrize(
    "url", [f"redis://{SECRET}@h/0", f"redis://user:{SECRET}@h/0", f"redis://h/0?password={SECRET}"]
)
def test_the_address_that_is_shown(url):
    """Without a password, and without a name that may be one."""
    assert SECRET not in Config.load({"REDIS_URL": url}).redacted_url


@pytest.mark.parametrize("kind", [ResponseError, AuthenticationError])
def test_a_server_that_repeats_what_it_was_given(kind):
    """Of a command that it does not know, and that had the password."""
    said = f"unknown command 'AUTH', with args beginning with: 'default' '{SECRET}' "
    error = make_rejection(kind(said))
    assert "unknown command 'AUTH'" in str(error)
    assert SECRET not in told_of(error)


def test_what_is_shown():
    """Text and numbers, cut where they are long; credentials and other objects are not."""
    assert printable("a b") == "'a b'"
    assert printable(f"redis://user:pa/ss@{SECRET}@h/0") == "'redis://***@h/0'"
    assert len(printable("x" * 1000)) == 100
    assert printable(7) == "7"
    assert printable(None) == "None"
    assert printable(2**100_000) == "an integer of 100001 bits"
    assert printable(b"x") == "a bytes"
    with pytest.raises(InvalidAmountError, match="100001 bits"):
        RedisCounter("redis://h/0").hit("visits", 2**100_000)
